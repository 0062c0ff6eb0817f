#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "../wire/frames.h"
#include "executor/access.h"
#include "fake_governor.h"
#include "wire/codec.h"

namespace tasklib::executor::test {
namespace {

using wire::Protocol;

struct Unprintable {};

class Cbor1 : public ::testing::Test {
 protected:
  Cbor1() {
    Executor& executor = governor.executor;
    executor.add_task("hello", [](Context& ctx, auto& inputs, auto& outputs) {
      if (!ctx.check_n_args(1)) return;
      outputs.push_back(
          std::make_unique<MemDataInstance>("Hello " + inputs[0]->read_as_string() + "!"));
    });
    executor.add_task("fail", [](Context& ctx, auto& inputs, auto&) {
      ctx.set_error(inputs[0]->read_as_string());
    });
    executor.add_task("echo", [](Context&, auto& inputs, auto& outputs) {
      for (auto& input : inputs) outputs.push_back(std::move(input));
    });
  }

  FakeGovernor governor{Protocol::cbor1};
};

std::string error_of(const wire::Result& result) {
  EXPECT_FALSE(result.success);
  EXPECT_TRUE(result.outputs.empty());
  return result.info.error;
}

TEST_F(Cbor1, registers_with_the_value_of_its_id) {
  governor.start();
  EXPECT_EQ(governor.registration.executor_id, 4711);
  EXPECT_EQ(governor.registration.executor_type, "tester");
  // Reference 1.4: protocol, executor_id, executor_type.
  EXPECT_EQ(wire::test::to_hex(governor.registration_frame),
            "82687265676973746572"
            "a368"
            "70726f746f636f6c6663626f722d31"
            "6b6578656375746f725f6964191267"
            "6d6578656375746f725f7479706566746573746572");
}

TEST_F(Cbor1, runs_a_task_in_the_classic_form) {
  governor.start();
  const auto result = governor.run("hello", {memory("world")});
  EXPECT_TRUE(result.success);
  EXPECT_EQ(result.info.error, "");
  ASSERT_EQ(result.outputs.size(), 1u);
  EXPECT_EQ(governor.bytes_of(result.outputs[0].location), "Hello world!");
  EXPECT_TRUE(result.cached_objects.empty());
}

TEST_F(Cbor1, runs_one_call_after_another_until_the_governor_closes) {
  governor.start();
  for (int i = 0; i < 100; ++i) {
    const std::string text = std::to_string(i);
    const auto result = governor.run("hello", {memory(text)});
    EXPECT_EQ(governor.bytes_of(result.outputs.at(0).location), "Hello " + text + "!");
  }
  EXPECT_EQ(governor.end_by_closing(), "");
}

TEST_F(Cbor1, tells_wrong_numbers_of_arguments_and_outputs) {
  governor.start();
  EXPECT_EQ(error_of(governor.run("hello", {})),
            "Invalid number of arguments, expected = 1, but got = 0");
  EXPECT_EQ(error_of(governor.run("hello", {memory("x")}, 3)),
            "Task produced 1 outputs, but expected 3");
}

TEST_F(Cbor1, sends_set_error_without_quotes) {
  governor.start();
  EXPECT_EQ(error_of(governor.run("fail", {memory("say \"hi\"")})), "say \"hi\"");
  EXPECT_EQ(error_of(governor.run("fail", {memory("")})), "");
}

TEST_F(Cbor1, names_the_known_methods_when_one_is_unknown) {
  governor.start();
  EXPECT_EQ(error_of(governor.run("helo")),
            "Method 'tester/helo' not found in executor 'tester'; it has: echo, fail, hello");
}

TEST_F(Cbor1, refuses_task_types_of_other_executors) {
  governor.start();
  wire::Call call = governor.call("hello");
  call.spec.task_type = "other/hello";
  EXPECT_EQ(error_of(governor.run(call)),
            "Task type 'other/hello' is for executor 'other', but this is executor 'tester'");
  call.spec.task_type = "tester2/hello";
  EXPECT_NE(error_of(governor.run(call)).find("is for executor 'tester2'"), std::string::npos);
  call.spec.task_type = "tester";
  EXPECT_EQ(error_of(governor.run(call)),
            "Task type 'tester' has no '/': it must be 'tester/<method>'");
}

TEST_F(Cbor1, any_exception_is_the_error_of_its_task_and_nothing_else) {
  Executor& executor = governor.executor;
  executor.add_task("std", [](Context&, auto&, auto&) { throw std::runtime_error("a reason"); });
  executor.add_task("int", [](Context&, auto&, auto&) { throw 42; });
  executor.add_task("text", [](Context&, auto&, auto&) { throw "plain text"; });
  executor.add_task("string", [](Context&, auto&, auto&) { throw std::string("a string"); });
  executor.add_task("struct", [](Context&, auto&, auto&) { throw Unprintable(); });
  executor.add_task("memory", [](Context&, auto&, auto&) { throw std::bad_alloc(); });
  governor.start();
  EXPECT_EQ(error_of(governor.run("std")),
            "a reason\nC++ exception of type std::runtime_error left the task 'tester/std'");
  EXPECT_NE(error_of(governor.run("int")).find("C++ exception of type int left"),
            std::string::npos);
  EXPECT_EQ(error_of(governor.run("text")).substr(0, 11), "plain text\n");
  EXPECT_EQ(error_of(governor.run("string")).substr(0, 9), "a string\n");
  EXPECT_NE(error_of(governor.run("struct")).find("Unprintable left"), std::string::npos);
  EXPECT_NE(error_of(governor.run("memory")).find("std::bad_alloc"), std::string::npos);
  EXPECT_TRUE(governor.run("hello", {memory("x")}).success);
}

TEST_F(Cbor1, empty_inputs_and_outputs_are_data_like_any_other) {
  governor.executor.add_task("sizes", [](Context&, auto& inputs, auto& outputs) {
    EXPECT_EQ(inputs[0]->get_size(), 0u);
    EXPECT_NE(inputs[0]->get_ptr(), nullptr);
    EXPECT_EQ(inputs[0]->read_as_string(), "");
    outputs.push_back(std::make_unique<MemDataInstance>(std::string()));
    outputs.push_back(std::make_unique<MemDataInstance>(std::vector<unsigned char>()));
  });
  governor.start();
  const auto result = governor.run("sizes", {memory("")}, 2);
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_EQ(governor.bytes_of(result.outputs[0].location), "");
  EXPECT_EQ(governor.bytes_of(result.outputs[1].location), "");
}

TEST_F(Cbor1, reads_inputs_that_come_as_files_even_empty_ones) {
  governor.executor.add_task("concat", [](Context&, auto& inputs, auto& outputs) {
    std::string all;
    for (auto& input : inputs) {
      EXPECT_NE(input->get_path(), "");
      EXPECT_FALSE(input->is_directory());
      all += input->read_as_string();
    }
    outputs.push_back(std::make_unique<MemDataInstance>(all));
  });
  governor.start();
  const std::string full = governor.directory() + "/full", empty = governor.directory() + "/empty";
  std::ofstream(full) << "content";
  std::ofstream(empty).flush();
  const auto result = governor.run("concat", {wire::Path{full}, wire::Path{empty}});
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_EQ(governor.bytes_of(result.outputs[0].location), "content");
}

TEST_F(Cbor1, a_directory_has_a_path_and_no_bytes) {
  governor.executor.add_task("look", [](Context&, auto& inputs, auto& outputs) {
    EXPECT_TRUE(inputs[0]->is_directory());
    outputs.push_back(std::make_unique<MemDataInstance>(inputs[0]->get_path()));
    inputs[0]->get_ptr();
  });
  governor.start();
  wire::Call call = governor.call("look", {wire::Path{governor.directory()}});
  call.inputs[0].spec.data_type = wire::DataType::directory;
  EXPECT_NE(error_of(governor.run(call)).find(governor.directory() + " is a directory"),
            std::string::npos);
}

TEST_F(Cbor1, passes_inputs_through_without_a_copy) {
  governor.executor.add_task("twice", [](Context&, auto& inputs, auto& outputs) {
    outputs.push_back(inputs[0]->share());
    outputs.push_back(std::move(inputs[0]));
  });
  governor.start();
  wire::Call call = governor.call("twice", {memory("x")}, 2);
  call.inputs[0].info->content_type = "json";
  const auto result = governor.run(call);
  ASSERT_TRUE(result.success) << result.info.error;
  for (const wire::ObjectOut& output : result.outputs) {
    EXPECT_EQ(std::get<wire::OtherObject>(output.location).id, call.inputs[0].spec.id);
    EXPECT_EQ(output.info.content_type, "json");
  }
}

TEST_F(Cbor1, an_instance_moved_twice_is_an_error_that_says_how_to_do_it) {
  governor.executor.add_task("twice", [](Context&, auto& inputs, auto& outputs) {
    outputs.push_back(std::move(inputs[0]));
    outputs.push_back(std::move(inputs[0]));
  });
  governor.start();
  EXPECT_NE(error_of(governor.run("twice", {memory("x")}, 2)).find("output 1 is null"),
            std::string::npos);
}

TEST_F(Cbor1, sends_files_by_path_after_a_look_at_them) {
  const std::string path = governor.directory() + "/made";
  governor.executor.add_task("make", [path](Context&, auto&, auto& outputs) {
    std::ofstream(path) << "made";
    outputs.push_back(std::make_unique<FileDataInstance>(path));
  });
  governor.executor.add_task("missing", [](Context&, auto&, auto& outputs) {
    outputs.push_back(std::make_unique<FileDataInstance>("/no/such/file"));
  });
  governor.executor.add_task("relative", [](Context&, auto&, auto& outputs) {
    outputs.push_back(std::make_unique<FileDataInstance>("file"));
  });
  governor.start();
  const auto result = governor.run("make");
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_EQ(std::get<wire::Path>(result.outputs[0].location).path, path);
  EXPECT_NE(error_of(governor.run("missing")).find("stat(/no/such/file)"), std::string::npos);
  EXPECT_NE(error_of(governor.run("relative")).find("not absolute"), std::string::npos);
}

TEST_F(Cbor1, what_exceeds_a_frame_goes_into_a_file) {
  constexpr std::size_t kBytes = 70u << 20;
  governor.executor.add_task("large", [](Context& ctx, auto&, auto& outputs) {
    for (int i = 0; i < 2; ++i) {
      auto blob = ctx.alloc(kBytes);
      std::memset(blob.data(), 'a' + i, kBytes);
      outputs.push_back(std::move(blob).seal());
    }
  });
  governor.start();
  const auto result = governor.run("large", {}, 2);
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_TRUE(std::holds_alternative<wire::Memory>(result.outputs[0].location));
  EXPECT_TRUE(std::holds_alternative<wire::Path>(result.outputs[1].location));
  EXPECT_EQ(governor.bytes_of(result.outputs[0].location), std::string(kBytes, 'a'));
  EXPECT_EQ(governor.bytes_of(result.outputs[1].location), std::string(kBytes, 'b'));
}

TEST_F(Cbor1, long_error_texts_are_cut) {
  governor.executor.add_task(
      "talk", [](Context& ctx, auto&, auto&) { ctx.set_error(std::string(3u << 20, 'e')); });
  governor.start();
  const std::string error = error_of(governor.run("talk"));
  EXPECT_LT(error.size(), 2u << 20);
  EXPECT_NE(error.find("more bytes)"), std::string::npos);
}

TEST_F(Cbor1, ignores_drop_cached) {
  governor.start();
  governor.send(wire::DropCached{{{1, 10}}});
  EXPECT_TRUE(governor.run("hello", {memory("x")}).success);
}

TEST_F(Cbor1, attributes_labels_and_content_types_reach_the_task_and_come_back) {
  governor.executor.add_task("look", [](Context& ctx, auto& inputs, auto& outputs) {
    EXPECT_EQ(ctx.task_id().get_session_id(), 1);
    EXPECT_EQ(ctx.task_type(), "tester/look");
    EXPECT_EQ(ctx.name(), "a/name");
    EXPECT_EQ(ctx.cpus(), 3u);
    EXPECT_EQ(ctx.n_inputs(), 1u);
    EXPECT_EQ(ctx.n_outputs(), 1u);
    EXPECT_EQ(ctx.config()["n"].as_int(), 5);
    EXPECT_EQ(ctx.config().to_json(), "{\"n\":5,\"x\":[0.5,null]}");
    EXPECT_EQ(ctx.get_attribute("t"), Value("task"));
    EXPECT_EQ(ctx.get_attributes().size(), 1u);
    EXPECT_EQ(inputs[0]->get_label(), "mine");
    EXPECT_EQ(inputs[0]->get_content_type(), "text");
    EXPECT_EQ(inputs[0]->get_attribute("both"), Value(2));
    EXPECT_EQ(inputs[0]->get_attribute("spec"), Value(true));
    EXPECT_TRUE(inputs[0]->get_attribute("none").is_null());
    EXPECT_EQ(inputs[0]->get_spec_attributes().at("both"), Value(1));
    EXPECT_TRUE(inputs[0]->get_id().is_valid());
    EXPECT_EQ(ctx.output_spec(0).label, "out");
    EXPECT_EQ(ctx.output_spec(0).content_type, "json");
    EXPECT_EQ(ctx.output_spec(0).attributes.at("o"), Value(1.5));
    EXPECT_TRUE(ctx.output_spec(0).is_directory);
    EXPECT_THROW(ctx.output_spec(1), std::out_of_range);
    EXPECT_FALSE(ctx.cancelled());
    ctx.set_attribute("told", Value::Map{{"n", 1}});
    ctx.set_attribute("told", Value::Map{{"n", 2}});
    ctx.debug("one");
    ctx.debug("two");
    outputs.push_back(std::make_unique<MemDataInstance>(std::string("x")));
    EXPECT_FALSE(outputs[0]->get_id().is_valid());
    outputs[0]->set_content_type("user/x");
    outputs[0]->set_attribute("made", "yes");
  });
  governor.start();
  wire::Call call = governor.call("look", {memory("x")});
  call.spec.name = "a/name";
  call.spec.cpus = 3;
  call.spec.config = encode_value(Value::Map{{"n", 5}, {"x", Value::Array{0.5, nullptr}}});
  call.spec.user = {{"t", encode_value("task")}};
  call.spec.inputs[0].label = "mine";
  call.inputs[0].spec.label = "const";
  call.inputs[0].spec.content_type = "text";
  call.inputs[0].spec.user = {{"both", encode_value(1)}, {"spec", encode_value(true)}};
  call.inputs[0].info->user = {{"both", encode_value(2)}};
  call.outputs[0].spec.label = "out";
  call.outputs[0].spec.content_type = "json";
  call.outputs[0].spec.data_type = wire::DataType::directory;
  call.outputs[0].spec.user = {{"o", encode_value(1.5)}};
  const auto result = governor.run(call);
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_EQ(result.info.debug, "one\ntwo");
  ASSERT_EQ(result.info.user.size(), 1u);
  EXPECT_EQ(decode_value(base::ByteView(result.info.user[0].second)), (Value::Map{{"n", 2}}));
  EXPECT_EQ(result.outputs[0].info.content_type, "user/x");
  ASSERT_EQ(result.outputs[0].info.user.size(), 1u);
  EXPECT_EQ(decode_value(base::ByteView(result.outputs[0].info.user[0].second)), Value("yes"));
}

TEST_F(Cbor1, a_failed_task_keeps_its_debug_lines_and_attributes) {
  governor.executor.add_task("both", [](Context& ctx, auto&, auto&) {
    ctx.debug("before");
    ctx.set_attribute("k", 1);
    throw std::runtime_error("after");
  });
  governor.start();
  const auto result = governor.run("both");
  EXPECT_EQ(error_of(result).substr(0, 6), "after\n");
  EXPECT_EQ(result.info.debug, "before");
  EXPECT_EQ(result.info.user.size(), 1u);
}

TEST_F(Cbor1, malformed_frames_end_start_with_a_clear_error) {
  for (const std::string& bytes :
       {std::string("\x03\0\0\0abc", 7), std::string("\0\0\0\0", 4),
        std::string("\xff\xff\xff\xff", 4), std::string("\x01\0\0\0\xa0", 5),
        std::string("\x05\0\0\0\x82\x62hi\xa0", 9)}) {
    FakeGovernor other{Protocol::cbor1};
    other.start();
    other.send_bytes(bytes);
    EXPECT_NE(other.wait_for_end().find("executor 'tester' (id 4711): "), std::string::npos);
  }
}

TEST_F(Cbor1, a_connection_closed_within_a_frame_is_an_error) {
  governor.start();
  governor.send_bytes(std::string("\x10\0\0\0abc", 7));
  EXPECT_NE(governor.end_by_closing().find("in the middle of a frame"), std::string::npos);
}

TEST_F(Cbor1, inputs_that_were_never_offered_to_cache_are_an_error) {
  governor.start();
  governor.send(governor.call("hello", {wire::Cached{}}));
  EXPECT_NE(governor.wait_for_end().find("input 0 of task 1/11 has no data"), std::string::npos);
}

TEST(Cbor1LongPath, connects_to_sockets_with_paths_longer_than_sun_path) {
  FakeGovernor governor(Protocol::cbor1, "tester",
                        "/" + std::string(100, 'a') + "/" + std::string(100, 'b'));
  governor.executor.add_task("f", [](Context&, auto&, auto& outputs) {
    outputs.push_back(std::make_unique<MemDataInstance>(std::string("x")));
  });
  governor.start();
  EXPECT_TRUE(governor.run("f").success);
}

TEST(Cbor1Golden, answers_what_the_older_library_answered_but_for_the_quotes) {
  FakeGovernor governor(Protocol::cbor1, "cpptester");
  governor.executor.add_task("hello", [](Context& ctx, auto& inputs, auto& outputs) {
    if (!ctx.check_n_args(1)) return;
    outputs.push_back(
        std::make_unique<MemDataInstance>("Hello " + inputs[0]->read_as_string() + "!"));
  });
  governor.executor.add_task("fail", [](Context& ctx, auto& inputs, auto&) {
    ctx.set_error(inputs[0]->read_as_string());
  });
  governor.start();
  int compared = 0;
  const auto frames = wire::test::golden_frames();
  for (const auto& call : frames) {
    if (call.name.rfind("cpp_call_", 0) != 0) continue;
    const auto expected = std::find_if(frames.begin(), frames.end(), [&](const auto& each) {
      return each.name == "cpp_result_" + call.name.substr(9);
    });
    const std::string type = call.decoded[1]["spec"]["task_type"];
    if (expected == frames.end() || type.rfind("cpptester", 0) != 0) continue;
    SCOPED_TRACE(call.name);
    governor.send_bytes(call.frame);
    const auto result = governor.receive_result();
    const auto old = std::get<wire::Result>(
        wire::decode_to_governor(wire::test::payload_of(expected->frame), Protocol::cbor1));
    EXPECT_EQ(result.task, old.task);
    EXPECT_EQ(result.success, old.success);
    if (!old.success) {
      const std::string text = old.info.error.substr(1, old.info.error.size() - 2);
      if (type == "cpptester")
        EXPECT_NE(result.info.error.find("has no '/'"), std::string::npos);
      else
        EXPECT_EQ(result.info.error.substr(0, text.size()), text);
    } else {
      ASSERT_EQ(result.outputs.size(), old.outputs.size());
      for (std::size_t i = 0; i < old.outputs.size(); ++i)
        EXPECT_EQ(governor.bytes_of(result.outputs[i].location),
                  governor.bytes_of(old.outputs[i].location));
    }
    ++compared;
  }
  EXPECT_GE(compared, 9);
}

}  // namespace
}  // namespace tasklib::executor::test
