#include "remote/hosted_session.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "base/errors.h"
#include "client_graph.h"
#include "remote/update.h"

namespace rain::remote {
namespace {

using graph::InvalidGraph;
using graph::TaskRef;
using graph::TaskState;
using tasklib::base::ByteView;

class HostedSessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ExecutorSpec spec;
    spec.name = "p";
    spec.argv = {PLAIN_EXECUTOR, "p", "cbor-2"};
    GovernorOptions options;
    options.executors = {spec};
    options.cpus = 2;
    options.memory_bytes = 256u << 20;
    options.launcher_program = RAIN_LAUNCHER;
    governor = std::make_shared<Governor>(options);
    session = std::make_unique<HostedSession>(governor, "of a client");
  }
  void TearDown() override {
    session.reset();
    if (governor) {
      EXPECT_TRUE(governor->holdings().objects.empty());
    }
  }

  using Data = std::unordered_map<std::int32_t, HostedSession::Supplied>;
  std::uint64_t submit(const Part& part, Data data = {}) {
    return session->submit(ByteView(std::string_view(part.batch)), std::move(data));
  }
  /// All tasks of `client`, which then are none any more.
  std::uint64_t submit_all(ClientGraph& client, Data data = {}) {
    const std::uint64_t number = submit(client.part(), std::move(data));
    client.submitted();
    return number;
  }
  /// Takes updates until the batch is said to be over.
  void wait_for(std::uint64_t batch) {
    while (std::ranges::find(ended, batch) == ended.end()) {
      pollfd readable{session->fd(), POLLIN, 0};
      ASSERT_EQ(::poll(&readable, 1, 60'000), 1) << "batch " << batch << " does not end";
      take();
    }
  }
  void take() {
    const auto taken = session->take_updates();
    ended.insert(ended.end(), taken.ended.begin(), taken.ended.end());
    if (taken.bytes.empty()) return;
    auto said = decode_updates(ByteView(std::string_view(taken.bytes)));
    for (auto& update : said.ends) updates[update.id] = std::move(update);
    started.insert(said.started.begin(), said.started.end());
  }
  std::string text(const graph::ObjectRef& object) {
    const auto view = session->view(object->id.id);
    return view ? std::string(view->bytes.text()) : "<nothing>";
  }
  HostedSession::Supplied put(const std::string& bytes) {
    return {governor->put(ByteView(std::string_view(bytes))), {}};
  }

  std::shared_ptr<Governor> governor;
  std::unique_ptr<HostedSession> session;
  std::map<std::int32_t, TaskUpdate> updates;
  std::set<std::int32_t> started;
  std::vector<std::uint64_t> ended;
};

TEST_F(HostedSessionTest, runs_a_batch_and_tells_of_its_end) {
  ClientGraph client;
  const auto upper = client.task("p/upper", {client.constant("hello")}, 1);
  const auto echo = client.task("p/echo", {upper->outputs[0]}, 1);
  echo->outputs[0]->kept = true;
  wait_for(submit_all(client));

  const auto& first = updates.at(upper->id.id);
  EXPECT_EQ(first.state, TaskState::finished);
  EXPECT_EQ(first.attempts, 1u);
  EXPECT_GT(first.pid, 0);
  EXPECT_GT(first.executor, 0u);
  ASSERT_EQ(first.outputs.size(), 1u);
  EXPECT_EQ(first.outputs[0].id, upper->outputs[0]->id.id);
  EXPECT_EQ(first.outputs[0].size_bytes, 5u);
  EXPECT_EQ(first.outputs[0].info.content_type, "text");
  EXPECT_FALSE(first.outputs[0].content) << "nobody kept it";
  const auto& second = updates.at(echo->id.id);
  EXPECT_EQ(second.outputs.at(0).content, "HELLO");
  EXPECT_EQ(text(upper->outputs[0]), "<nothing>");
  EXPECT_EQ(text(echo->outputs[0]), "HELLO");
  EXPECT_EQ(session->info(echo->outputs[0]->id.id).content_type, "text");
  session->unkeep({echo->outputs[0]->id.id, 12345});
  EXPECT_EQ(text(echo->outputs[0]), "<nothing>");
}

TEST_F(HostedSessionTest, tells_which_tasks_run) {
  ClientGraph client;
  const auto slow = client.task("p/slow", {}, 0);  // until it is cancelled
  const auto waiting = client.task("p/slow", {client.task("p/slow", {}, 1)->outputs[0]}, 0);
  const auto batch = submit_all(client);
  const auto number_of = [](const TaskRef& task) { return task->id.id; };
  while (!started.contains(number_of(slow))) {
    pollfd readable{session->fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&readable, 1, 60'000), 1) << "nothing is said of a task that runs";
    take();
  }
  EXPECT_FALSE(started.contains(number_of(waiting)));
  EXPECT_TRUE(updates.empty());
  session->cancel_all();
  wait_for(batch);
}

TEST_F(HostedSessionTest, large_data_stay_until_they_are_fetched) {
  ClientGraph client;
  const auto big = client.task("p/big", {}, 1);
  big->outputs[0]->kept = true;
  wait_for(submit_all(client));
  const auto& output = updates.at(big->id.id).outputs.at(0);
  EXPECT_EQ(output.size_bytes, 1u << 20);
  EXPECT_FALSE(output.content);
  EXPECT_EQ(text(big->outputs[0]), std::string(1 << 20, 'b'));
}

TEST_F(HostedSessionTest, what_others_need_stays_and_does_not_ride_along) {
  ClientGraph client;
  const auto upper = client.task("p/upper", {client.constant("hello")}, 1);
  client.task("p/echo", {upper->outputs[0]}, 1);
  const auto id = upper->outputs[0]->id.id;
  wait_for(submit(client.part({0}, {id})));
  EXPECT_FALSE(updates.at(upper->id.id).outputs.at(0).content);
  EXPECT_EQ(text(upper->outputs[0]), "HELLO");
  wait_for(submit(client.part({1}, {id})));  // finds it here
  EXPECT_EQ(text(upper->outputs[0]), "HELLO") << "until unkeep";
  session->unkeep({id});
  EXPECT_EQ(text(upper->outputs[0]), "<nothing>");
}

TEST_F(HostedSessionTest, later_batches_take_what_earlier_ones_make) {
  ClientGraph client;
  const auto slow = client.task("p/slow", {}, 0);  // until it is cancelled
  const auto kept = client.task("p/upper", {client.constant("a")}, 1);
  kept->outputs[0]->kept = true;
  const auto first = submit_all(client);
  const auto echo = client.task("p/echo", {kept->outputs[0]}, 1);
  echo->outputs[0]->kept = true;
  wait_for(submit_all(client));
  EXPECT_EQ(updates.at(echo->id.id).outputs.at(0).content, "A");
  EXPECT_EQ(std::ranges::count(ended, first), 0);
  EXPECT_EQ(session->states()[static_cast<std::size_t>(TaskState::finished)], 2u);
  session->cancel({slow->id.id, 12345});
  wait_for(first);
  EXPECT_FALSE(updates.contains(slow->id.id)) << "the client knows what it cancelled";
}

TEST_F(HostedSessionTest, inputs_come_apart_and_are_sent_once) {
  ClientGraph client;
  const std::string bytes(100'000, 'x');
  const auto large = client.constant(std::static_pointer_cast<rain::Data>(
      governor->put(ByteView(std::string_view(bytes)))));  // as if in the client's own store
  const auto first = client.task("p/upper", {large}, 1);
  const Part part = client.part();
  ASSERT_EQ(part.uploads.size(), 1u);
  EXPECT_THROW(submit(part), InvalidGraph) << "its data are not here";
  EXPECT_TRUE(governor->holdings().tasks.empty());
  wait_for(submit(part, {{large->id.id, put(bytes)}}));
  EXPECT_EQ(updates.at(first->id.id).outputs.at(0).size_bytes, bytes.size());
  client.submitted();

  client.task("p/upper", {large}, 1);
  wait_for(submit_all(client));  // the governor has it
  session->unkeep({large->id.id});
  client.task("p/upper", {large}, 1);
  EXPECT_THROW(submit_all(client), InvalidGraph) << "not any more";
}

TEST_F(HostedSessionTest, what_is_known_of_supplied_data_reaches_their_consumers) {
  ClientGraph client;
  const auto elsewhere = client.object();
  const auto echo = client.task("p/echo", {elsewhere}, 1);
  echo->outputs[0]->kept = true;
  auto supplied = put("data");
  supplied.info.content_type = "json";
  wait_for(submit_all(client, {{elsewhere->id.id, supplied}}));
  EXPECT_EQ(updates.at(echo->id.id).outputs.at(0).info.content_type, "json");
}

TEST_F(HostedSessionTest, what_will_never_come_leaves_out_its_consumers_alone) {
  ClientGraph client;
  const auto lost = client.object();
  const auto consumer = client.task("p/echo", {lost}, 1);
  const auto next = client.task("p/echo", {consumer->outputs[0]}, 1);
  const auto other = client.task("p/upper", {client.constant("a")}, 1);
  wait_for(submit_all(client, {{lost->id.id, {}}}));
  EXPECT_EQ(updates.at(other->id.id).state, TaskState::finished);
  EXPECT_FALSE(updates.contains(consumer->id.id));
  EXPECT_FALSE(updates.contains(next->id.id));

  client.task("p/echo", {lost}, 1);
  wait_for(submit_all(client, {{lost->id.id, {}}}));  // of which nothing is left
}

TEST_F(HostedSessionTest, a_task_that_ended_may_come_again) {
  ClientGraph client;
  const auto upper = client.task("p/upper", {client.constant("hello")}, 1);
  upper->outputs[0]->kept = true;
  const Part part = client.part();
  wait_for(submit(part));
  updates.clear();
  wait_for(submit(part));
  EXPECT_EQ(updates.at(upper->id.id).state, TaskState::finished);
  EXPECT_EQ(text(upper->outputs[0]), "HELLO");
  EXPECT_EQ(governor->holdings().objects.size(), 1u) << "the new data took the old ones' place";
}

TEST_F(HostedSessionTest, a_task_that_is_at_work_may_not) {
  ClientGraph client;
  client.task("p/slow", {}, 0);
  const Part part = client.part();
  submit(part);
  EXPECT_THROW(submit(part), InvalidGraph);
  EXPECT_EQ(governor->holdings().tasks.size(), 1u);
}

TEST_F(HostedSessionTest, a_task_that_was_cancelled_may_come_again_at_once) {
  ClientGraph client;
  const auto slow = client.task("p/slow", {}, 0);
  const Part part = client.part();
  const auto first = submit(part);
  session->cancel({slow->id.id});
  const auto second = submit(part);
  wait_for(first);
  session->cancel({slow->id.id});
  wait_for(second);
  EXPECT_EQ(std::ranges::count(ended, first), 1);
}

TEST_F(HostedSessionTest, failures_are_told_with_all_that_is_known) {
  ClientGraph client;
  const auto fail = client.task("p/fail", {}, 1);
  fail->extras = std::make_unique<graph::TaskExtras>();
  fail->extras->retries = 1;
  const auto child = client.task("p/echo", {fail->outputs[0]}, 1);
  const auto crash = client.task("p/crash", {}, 0);
  wait_for(submit_all(client));
  const auto& update = updates.at(fail->id.id);
  EXPECT_EQ(update.state, TaskState::failed);
  EXPECT_EQ(update.attempts, 2u);
  ASSERT_TRUE(update.failure);
  EXPECT_EQ(update.failure->origin.id, fail->id.id);
  EXPECT_NE(update.failure->message.find("it \"failed\""), std::string::npos);
  EXPECT_EQ(update.failure->debug, "debug line");
  EXPECT_EQ(update.failure->attempts.size(), 2u);
  EXPECT_EQ(updates.at(child->id.id).state, TaskState::aborted);
  const auto& crashed = *updates.at(crash->id.id).failure;
  EXPECT_EQ(crashed.kind, graph::FailureKind::executor);
  EXPECT_NE((crashed.message + crashed.report).find("SIGSEGV"), std::string::npos)
      << crashed.message << crashed.report;
}

TEST_F(HostedSessionTest, a_failure_ends_only_what_depends_on_it_and_more_may_come) {
  ClientGraph client;
  const auto slow = client.task("p/slow", {}, 1);
  const auto after_slow = client.task("p/echo", {slow->outputs[0]}, 1);
  const auto fail = client.task("p/fail", {}, 1);
  const auto after_fail = client.task("p/echo", {fail->outputs[0]}, 1);
  const auto first = submit_all(client);
  const auto upper = client.task("p/upper", {client.constant("a")}, 1);
  wait_for(submit_all(client));
  EXPECT_EQ(updates.at(upper->id.id).state, TaskState::finished);
  session->cancel({slow->id.id});
  wait_for(first);
  EXPECT_EQ(updates.at(fail->id.id).state, TaskState::failed);
  EXPECT_EQ(updates.at(after_fail->id.id).state, TaskState::aborted);
  EXPECT_EQ(updates.at(after_fail->id.id).failure->origin.id, fail->id.id);
  EXPECT_FALSE(updates.contains(after_slow->id.id)) << "as that which was cancelled";
}

TEST_F(HostedSessionTest, what_nothing_took_stays_for_a_later_batch) {
  ClientGraph client;
  const auto unused = client.task("p/upper", {client.constant("a")}, 1);
  const auto used = client.task("p/upper", {client.constant("b")}, 1);
  client.task("p/echo", {used->outputs[0]}, 0);
  wait_for(submit_all(client));
  EXPECT_FALSE(updates.at(unused->id.id).outputs.at(0).content) << "nobody keeps it";
  EXPECT_EQ(text(used->outputs[0]), "<nothing>");
  client.task("p/echo", {unused->outputs[0]}, 1)->outputs[0]->kept = true;
  const auto echo = client.submission.tasks.back();
  wait_for(submit_all(client));
  EXPECT_EQ(updates.at(echo->id.id).outputs.at(0).content, "A");
  session->unkeep({unused->outputs[0]->id.id, echo->outputs[0]->id.id});
  EXPECT_EQ(text(unused->outputs[0]), "<nothing>");
}

TEST_F(HostedSessionTest, what_the_governor_refuses_is_refused_whole) {
  ClientGraph client;
  client.task("p/upper", {client.constant("a")}, 1);
  client.task("q/other", {}, 0);
  try {
    submit_all(client);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("Executor 'q' is not registered"), std::string::npos)
        << error.what();
  }
  client.submitted();
  client.task("p/upper", {client.constant("a")}, 1);
  client.task("p/upper", {client.constant("b")}, 1)->cpus = 3;
  try {
    submit_all(client);
    FAIL();
  } catch (const InvalidGraph& error) {
    EXPECT_NE(std::string(error.what()).find("needs 3 cpus"), std::string::npos) << error.what();
  }
  EXPECT_THROW(session->submit(ByteView(std::string_view("nonsense")), {}),
               tasklib::base::ProtocolError);
  EXPECT_TRUE(governor->holdings().tasks.empty());
  EXPECT_TRUE(governor->holdings().objects.empty());
}

TEST_F(HostedSessionTest, an_empty_batch_is_over_at_once) {
  ClientGraph client;
  wait_for(submit_all(client));
}

TEST_F(HostedSessionTest, a_directory_is_taken_over) {
  const auto source = std::filesystem::path(governor->run_directory()) / "incoming";
  std::filesystem::create_directory(source);
  std::ofstream(source / "file") << "content";
  ClientGraph client;
  const auto tree = client.constant(std::make_shared<DirectoryData>(
      std::make_shared<ReleaseQueue>(), "/nowhere", 0));  // the client's own
  ClientGraph::annex(tree).data_type = tasklib::wire::DataType::directory;
  const auto echo = client.task("p/echo", {tree}, 1);
  echo->outputs[0]->kept = true;
  ClientGraph::annex(echo->outputs[0]).data_type = tasklib::wire::DataType::directory;
  wait_for(submit_all(client, {{tree->id.id, {governor->take_directory(source), {}}}}));
  EXPECT_TRUE(updates.at(echo->id.id).outputs.at(0).is_directory);
  EXPECT_EQ(updates.at(echo->id.id).outputs.at(0).size_bytes, 7u);
  EXPECT_FALSE(std::filesystem::exists(source));
  const auto view = session->view(echo->outputs[0]->id.id);
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->directory);
  EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(view->path) / "file"));
  EXPECT_THROW(governor->take_directory("/nowhere"), tasklib::base::SystemError);
  EXPECT_THROW(governor->take_directory("/etc/passwd"), tasklib::base::Error);
}

TEST_F(HostedSessionTest, closing_ends_everything_and_wakes_the_reader) {
  ClientGraph client;
  client.task("p/slow", {}, 0);
  client.task("p/upper", {client.constant("a")}, 1)->outputs[0]->kept = true;
  submit_all(client);
  session->close();
  pollfd readable{session->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, 60'000), 1);
  EXPECT_TRUE(session->take_updates().bytes.empty());
  EXPECT_TRUE(session->closed());
  EXPECT_TRUE(governor->holdings().tasks.empty());
  client.task("p/slow", {}, 0);
  EXPECT_THROW(submit_all(client), InvalidGraph);
}

TEST_F(HostedSessionTest, after_the_governor_each_call_says_so) {
  ClientGraph client;
  client.task("p/slow", {}, 0);
  submit_all(client);
  governor->close();
  client.task("p/slow", {}, 0);
  EXPECT_THROW(submit_all(client), UsageError);
  governor.reset();
  client.task("p/slow", {}, 0);
  EXPECT_THROW(submit_all(client), UsageError);
  EXPECT_THROW(session->cancel_all(), UsageError);
}

}  // namespace
}  // namespace rain::remote
