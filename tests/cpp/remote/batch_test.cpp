#include "remote/batch.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/errors.h"
#include "client_graph.h"
#include "wire/codec.h"

namespace rain::remote {
namespace {

using graph::ObjectRef;
using graph::TaskRef;
using tasklib::base::ByteView;
using tasklib::base::ProtocolError;
using tasklib::wire::DataType;
using tasklib::wire::Writer;

/// A session that takes batches and knows no governor.
struct Host {
  Host() { session.id = 3; }

  Batch decode(const std::string& bytes) {
    Home home;
    home.session = &session;
    home.method = [this](const std::string& type) {
      return Governor::Method{0, methods.intern(type)};
    };
    home.known = [this](std::int32_t id, bool) {
      asked.push_back(id);
      const auto found = known.find(id);
      return found == known.end() ? ObjectRef() : found->second;
    };
    // In a block of its exact size, so that a sanitizer sees a read beyond.
    const std::vector<char> exact(bytes.begin(), bytes.end());
    return decode_batch(ByteView(exact.data(), exact.size()), home);
  }
  std::string problem(const std::string& bytes) {
    try {
      decode(bytes);
    } catch (const ProtocolError& error) {
      return error.what();
    }
    return "<no problem>";
  }

  graph::SessionRecord session;
  MethodTable methods;
  std::map<std::int32_t, ObjectRef> known;
  std::vector<std::int32_t> asked;
};

std::string text_of(const ObjectRef& object) {
  return std::string(static_cast<const Data&>(*object->data).bytes().text());
}

TEST(Batch, a_plain_task_comes_back) {
  ClientGraph client;
  const auto input = client.constant("hello");
  const auto task = client.task("example/upper", {input, input}, 2);
  const Part part = client.part();
  EXPECT_EQ(part.task_ids, std::vector{task->id.id});
  EXPECT_EQ(part.executors, std::vector<std::string>{"example"});
  EXPECT_EQ(part.max_cpus, 1u);
  EXPECT_TRUE(part.uploads.empty());
  EXPECT_TRUE(part.inputs.empty());
  EXPECT_EQ(part.outputs, (std::vector{task->outputs[0]->id.id, task->outputs[1]->id.id}))
      << "a later submit may take them";

  Host host;
  const Batch batch = host.decode(part.batch);
  ASSERT_EQ(batch.tasks.size(), 1u);
  const auto& got = *batch.tasks[0];
  EXPECT_EQ(got.id.to_string(), "3/" + std::to_string(task->id.id));
  EXPECT_EQ(got.session, &host.session);
  EXPECT_EQ(host.methods.name(got.method), "example/upper");
  EXPECT_EQ(got.cpus, 1u);
  EXPECT_FALSE(got.annex);
  EXPECT_FALSE(got.extras);
  EXPECT_EQ(got.state, graph::TaskState::draft);
  ASSERT_EQ(got.inputs.size(), 2u);
  EXPECT_EQ(got.inputs[0], got.inputs[1]);
  ASSERT_EQ(batch.objects.size(), 1u);
  EXPECT_EQ(got.inputs[0], batch.objects[0]);
  EXPECT_EQ(batch.objects[0]->id.id, input->id.id);
  EXPECT_EQ(text_of(batch.objects[0]), "hello");
  ASSERT_EQ(got.outputs.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(got.outputs[i]->id.id, task->outputs[i]->id.id);
    EXPECT_EQ(got.outputs[i]->producer, &got);
    EXPECT_EQ(got.outputs[i]->session, &host.session);
    EXPECT_TRUE(got.outputs[i]->kept);
  }
  EXPECT_EQ(batch.lent, part.outputs);
  EXPECT_TRUE(task->outputs[0]->lent);
}

TEST(Batch, all_that_a_task_can_have_comes_back) {
  ClientGraph client;
  const auto first = client.constant("a");
  const auto second = client.constant("b");
  const auto task = client.task("example/all", {first, second}, 1);
  task->cpus = 3;
  auto& annex = ClientGraph::annex(task);
  annex.name = "näme";
  annex.config = ClientGraph::number(-5);
  annex.user = {{"key", ClientGraph::number(1)}, {"other", ClientGraph::number(2)}};
  annex.input_labels = {"", "right"};
  task->extras = std::make_unique<graph::TaskExtras>();
  task->extras->retries = 4;
  task->extras->timeout = std::chrono::milliseconds(1500);
  task->extras->memory_bytes = 1u << 30;
  task->extras->resources = {{"gpu", 20'000}, {"license", 5'000}};

  const Part part = client.part();
  EXPECT_EQ(part.max_cpus, 3u);
  ASSERT_EQ(part.resources.size(), 3u);
  EXPECT_EQ(part.resources[0].name, "gpu");
  EXPECT_EQ(part.resources[0].amount, 20'000u);
  EXPECT_EQ(part.resources[2].name, "memory");

  const Batch batch = Host().decode(part.batch);
  const auto& got = *batch.tasks.at(0);
  EXPECT_EQ(got.cpus, 3u);
  ASSERT_TRUE(got.annex);
  const TaskAnnex& own = *annex_of(got);
  EXPECT_EQ(own.name, annex.name);
  EXPECT_EQ(own.config, annex.config);
  EXPECT_EQ(own.user, annex.user);
  EXPECT_EQ(own.input_labels, annex.input_labels);
  ASSERT_TRUE(got.extras);
  EXPECT_EQ(got.extras->retries, 4u);
  EXPECT_EQ(got.extras->timeout, task->extras->timeout);
  EXPECT_EQ(got.extras->memory_bytes, 1u << 30);
  ASSERT_EQ(got.extras->resources.size(), 2u);
  EXPECT_EQ(got.extras->resources[1].name, "license");
  EXPECT_EQ(got.extras->resources[1].amount, 5'000u);
}

TEST(Batch, all_that_an_object_can_have_comes_back) {
  ClientGraph client;
  const auto input = client.constant("x");
  auto& given = ClientGraph::annex(input);
  given.label = "in";
  given.content_type = "text";
  given.user = {{"k", ClientGraph::number(9)}};
  const auto earlier = client.object();  // made by a submit before this one
  earlier->state = graph::ObjectState::finished;
  auto result = std::make_unique<ObjectResult>();
  result->info.content_type = "py";
  result->info.size = 77;
  result->info.user = {{"spread", ClientGraph::number(3)}};
  earlier->result = std::move(result);
  const auto task = client.task("e/t", {input, earlier}, 2);
  task->outputs[0]->kept = true;
  auto& directory = ClientGraph::annex(task->outputs[1]);
  directory.label = "out";
  directory.data_type = DataType::directory;
  directory.user = {{"u", ClientGraph::number(8)}};
  client.task("e/t", {task->outputs[1]}, 0);

  const Part part = client.part();
  EXPECT_EQ(part.inputs, std::vector{earlier->id.id});
  EXPECT_EQ(part.outputs, std::vector{task->outputs[0]->id.id});
  const Batch batch = Host().decode(part.batch);
  ASSERT_EQ(batch.objects.size(), 2u);
  const ObjectAnnex& in = *annex_of(*batch.objects[0]);
  EXPECT_EQ(in.label, "in");
  EXPECT_EQ(in.content_type, "text");
  EXPECT_EQ(in.user, given.user);
  EXPECT_FALSE(batch.objects[1]->data);
  ASSERT_TRUE(result_of(*batch.objects[1]));
  EXPECT_EQ(result_of(*batch.objects[1])->content_type, "py");
  EXPECT_EQ(result_of(*batch.objects[1])->size, 77u);
  EXPECT_EQ(result_of(*batch.objects[1])->user.at(0).first, "spread");
  const auto& outputs = batch.tasks.at(0)->outputs;
  EXPECT_TRUE(outputs.at(0)->kept);
  EXPECT_FALSE(outputs.at(0)->annex);
  EXPECT_FALSE(outputs.at(1)->kept);
  const ObjectAnnex& out = *annex_of(*outputs[1]);
  EXPECT_EQ(out.label, "out");
  EXPECT_EQ(out.data_type, DataType::directory);
  EXPECT_EQ(out.user, directory.user);
}

/// Data whose bytes are no inline data, as of a blob in a store.
struct LargeData final : Data {
  LargeData() { size_bytes = 1 << 20; }
  ByteView bytes() const override { return {}; }
};

TEST(Batch, what_comes_apart_is_said_by_the_part) {
  ClientGraph client;
  const auto large = client.constant(std::make_shared<LargeData>());
  const auto produce = client.task("e/produce", {}, 1);
  const auto consume = client.task("f/consume", {large, produce->outputs[0]}, 1);
  client.task("f/more", {consume->outputs[0], large}, 1)->outputs[0]->kept = true;

  const std::unordered_set<std::int32_t> shared{produce->outputs[0]->id.id};
  const Part first = client.part({0}, shared);
  EXPECT_EQ(first.outputs, std::vector{produce->outputs[0]->id.id});
  EXPECT_TRUE(first.uploads.empty());
  const Part second = client.part({1, 2}, shared);
  EXPECT_EQ(second.inputs, std::vector{produce->outputs[0]->id.id});
  ASSERT_EQ(second.uploads.size(), 1u);
  EXPECT_EQ(second.uploads[0].first, large->id.id);
  EXPECT_EQ(second.uploads[0].second, client.submission.constants[large->id.id]);
  EXPECT_EQ(second.executors, std::vector<std::string>{"f"});

  const Batch producer = Host().decode(first.batch);
  EXPECT_TRUE(producer.tasks.at(0)->outputs.at(0)->kept) << "others need it";
  EXPECT_EQ(producer.lent, first.outputs);
  const Batch consumer = Host().decode(second.batch);
  EXPECT_TRUE(consumer.lent.empty()) << "one is used here, the other the client's";
  ASSERT_EQ(consumer.objects.size(), 2u);
  EXPECT_TRUE(consumer.objects[0]->kept) << "a constant that was sent apart, until unkeep";
  EXPECT_FALSE(consumer.objects[1]->kept);
}

TEST(Batch, inputs_that_are_known_are_linked) {
  ClientGraph client;
  const auto earlier = client.object();
  ClientGraph::annex(earlier).label = "of the client";
  client.task("e/t", {earlier}, 0);
  Host host;
  const ObjectRef here(new graph::ObjectRecord);
  here->state = graph::ObjectState::finished;
  host.known[earlier->id.id] = here;
  const Batch batch = host.decode(client.part().batch);
  EXPECT_EQ(batch.tasks.at(0)->inputs.at(0), here);
  EXPECT_TRUE(batch.objects.empty());
  EXPECT_FALSE(here->annex);
}

TEST(Batch, consumers_may_come_before_producers) {
  ClientGraph client;
  const auto produce = client.task("e/produce", {}, 1);
  const auto consume = client.task("e/consume", {produce->outputs[0]}, 0);
  const Batch batch = Host().decode(client.part({1, 0}).batch);
  ASSERT_EQ(batch.tasks.size(), 2u);
  EXPECT_EQ(batch.tasks[0]->id.id, consume->id.id);
  EXPECT_EQ(batch.tasks[0]->inputs.at(0), batch.tasks[1]->outputs.at(0));
}

TEST(Batch, strings_that_repeat_are_written_once) {
  ClientGraph client;
  const std::string type = "example/a_method_with_a_long_name";
  for (int i = 0; i < 1000; ++i) {
    const auto task = client.task(type, {client.constant("x")}, 1);
    task->outputs[0]->kept = true;
    ClientGraph::annex(task->outputs[0]).label = "a label that all of them have";
  }
  const std::string batch = client.part().batch;
  EXPECT_EQ(batch.find(type), batch.rfind(type));
  EXPECT_LT(batch.size(), 1000 * 60u);
}

TEST(Batch, another_version_is_refused_with_what_to_do) {
  ClientGraph client;
  client.task("e/t", {}, 0);
  std::string bytes = client.part().batch;
  bytes[1] = static_cast<char>(kBatchVersion + 1);
  const std::string problem = Host().problem(bytes);
  EXPECT_NE(problem.find("client and governor are of different versions"), std::string::npos)
      << problem;
}

std::string rich_batch() {
  ClientGraph client;
  const auto input = client.constant("some bytes");
  ClientGraph::annex(input).label = "label";
  const auto task = client.task("e/t", {input}, 2);
  ClientGraph::annex(task).config = ClientGraph::number(5);
  ClientGraph::annex(task).input_labels = {"in"};
  task->extras = std::make_unique<graph::TaskExtras>();
  task->extras->resources = {{"gpu", 1}};
  ClientGraph::annex(task->outputs[1]).content_type = "text";
  client.task("e/u", {task->outputs[0]}, 1)->outputs[0]->kept = true;
  return client.part().batch;
}

TEST(Batch, each_truncation_is_refused) {
  const std::string bytes = rich_batch();
  EXPECT_EQ(Host().problem(bytes), "<no problem>");
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW(Host().decode(bytes.substr(0, size)), ProtocolError) << size;
  EXPECT_THROW(Host().decode(bytes + bytes), ProtocolError);
}

TEST(Batch, each_changed_byte_gives_a_batch_or_an_error) {
  const std::string bytes = rich_batch();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(value);
      Host().problem(changed);
    }
  }
}

/// A batch of one task whose parts are given as they are.
std::string raw(const std::function<void(Writer&)>& objects,
                const std::function<void(Writer&)>& tasks) {
  std::string bytes;
  Writer writer(bytes);
  writer.array(4);
  writer.uinteger(kBatchVersion);
  writer.array(1);
  writer.text("e/t");
  objects(writer);
  tasks(writer);
  return bytes;
}

void no_objects(Writer& writer) { writer.array(0); }

void add_task(Writer& writer, int id, int type, const std::vector<int>& inputs,
              const std::vector<int>& outputs) {
  writer.array(4);
  writer.integer(id);
  writer.integer(type);
  writer.array(inputs.size());
  for (const int input : inputs) writer.integer(input);
  writer.array(outputs.size());
  for (const int output : outputs) writer.integer(output);
}

TEST(Batch, ids_that_lie_are_refused) {
  const auto problem = [](auto objects, auto tasks) { return Host().problem(raw(objects, tasks)); };
  const auto one = [](int id, int type, std::vector<int> inputs, std::vector<int> outputs) {
    return [=](Writer& writer) {
      writer.array(1);
      add_task(writer, id, type, inputs, outputs);
    };
  };
  EXPECT_EQ(problem(no_objects, one(10, 0, {}, {11})), "<no problem>");
  EXPECT_NE(problem(no_objects, one(10, 1, {}, {})).find("string 1 of 1"), std::string::npos);
  EXPECT_NE(problem(no_objects, one(10, 0, {12}, {})).find("input 12 is neither"),
            std::string::npos);
  EXPECT_NE(problem(no_objects, one(-1, 0, {}, {})).find("expected an unsigned integer"),
            std::string::npos);
  EXPECT_NE(problem(no_objects, one(10, 0, {}, {11, 11})).find("object 11 occurs twice"),
            std::string::npos);
  EXPECT_NE(problem(no_objects,
                    [](Writer& writer) {
                      writer.array(2);
                      add_task(writer, 10, 0, {}, {});
                      add_task(writer, 10, 0, {}, {});
                    })
                .find("a task occurs twice"),
            std::string::npos);
  EXPECT_NE(problem(
                [](Writer& writer) {
                  writer.array(1);
                  writer.array(2);
                  writer.integer(11);
                  writer.bytes(ByteView(std::string_view("x")));
                },
                one(10, 0, {11}, {11}))
                .find("object 11 occurs twice"),
            std::string::npos);
}

TEST(Batch, an_object_between_governors_keeps_its_info) {
  tasklib::wire::ObjectInfo info;
  info.content_type = "py";
  info.user = {{"k", ClientGraph::number(1)}};
  const auto back = decode_info(ByteView(std::string_view(encode_info(info))));
  EXPECT_EQ(back.content_type, "py");
  EXPECT_EQ(back.user, info.user);
  EXPECT_THROW(decode_info({}), ProtocolError);
}

}  // namespace
}  // namespace rain::remote
