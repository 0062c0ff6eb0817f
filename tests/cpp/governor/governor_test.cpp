#include "governor.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace rain {
namespace {

using graph::FailureKind;
using graph::ObjectRecord;
using graph::ObjectRef;
using graph::OnError;
using graph::SessionRef;
using graph::TaskRecord;
using graph::TaskRef;
using graph::TaskState;
using tasklib::base::ByteView;

std::size_t open_fds() {
  std::size_t count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory)) ++count;
  ::closedir(directory);
  return count;
}

ExecutorSpec plain(std::string name, std::string protocol, std::string trick = "") {
  ExecutorSpec spec;
  spec.name = name;
  spec.argv = {PLAIN_EXECUTOR, name, std::move(protocol)};
  if (!trick.empty()) spec.argv.push_back(std::move(trick));
  return spec;
}

class GovernorTest : public ::testing::Test {
 protected:
  void SetUp() override { fds_before_ = open_fds(); }
  void TearDown() override {
    const std::string run_directory = governor ? governor->run_directory() : "";
    governor.reset();
    EXPECT_EQ(open_fds(), fds_before_);
    if (!run_directory.empty()) {
      EXPECT_NE(::access(run_directory.c_str(), F_OK), 0);
    }
  }

  void start(std::vector<ExecutorSpec> executors, std::uint32_t cpus = 2,
             std::uint64_t memory_bytes = 256u << 20, bool spill = true) {
    GovernorOptions options;
    options.executors = std::move(executors);
    options.cpus = cpus;
    options.memory_bytes = memory_bytes;
    options.spill = spill;
    options.launcher_program = RAIN_LAUNCHER;
    governor = std::make_unique<Governor>(options);
  }

  ObjectRef object(const SessionRef& session, bool kept = true) {
    ObjectRef ref(new ObjectRecord);
    ref->id = {session->id, ++last_id_};
    ref->session = session.get();
    ref->kept = kept;
    return ref;
  }
  ObjectRef constant(const SessionRef& session, const std::string& text) {
    auto ref = object(session, false);
    ref->data = governor->put(ByteView(std::string_view(text)));
    return ref;
  }
  TaskRef task(const SessionRef& session, const std::string& type, std::vector<ObjectRef> inputs,
               std::size_t outputs) {
    TaskRef ref(new TaskRecord);
    ref->id = {session->id, ++last_id_};
    ref->session = session.get();
    const auto method = governor->intern_method(type);
    ref->type = method.type;
    ref->method = method.method;
    ref->inputs = std::move(inputs);
    for (std::size_t i = 0; i < outputs; ++i) {
      auto output = object(session);
      output->producer = ref.get();
      ref->outputs.push_back(output);
    }
    return ref;
  }
  void submit(const SessionRef& session, const std::vector<TaskRef>& tasks) {
    std::vector<ObjectRef> objects;
    for (const auto& task : tasks) {
      for (const auto& input : task->inputs) {
        if (!input->producer && input->state == graph::ObjectState::draft &&
            std::find(objects.begin(), objects.end(), input) == objects.end()) {
          objects.push_back(input);
        }
      }
      for (const auto& output : task->outputs) objects.push_back(output);
    }
    governor->submit(session, tasks, objects);
  }
  void wait(const std::vector<TaskRef>& tasks) {
    while (governor->wait(tasks, {}, {}) != Governor::Wait::done) {
    }
  }
  std::string text(const ObjectRef& object) {
    auto view = governor->view(object);
    return view ? std::string(view->bytes.text()) : "<nothing>";
  }
  /// Runs one task of `type` and returns it, terminal.
  TaskRef run_one(const std::string& type, std::size_t outputs = 0) {
    auto session = governor->new_session("one", OnError::continue_);
    auto one = task(session, type, {}, outputs);
    submit(session, {one});
    wait({one});
    return one;
  }
  std::string message(const TaskRef& task) {
    auto failure = governor->failure(task);
    return failure ? failure->message + "\n" + failure->report : "<no failure>";
  }

  std::unique_ptr<Governor> governor;
  std::int32_t last_id_ = 9;
  std::size_t fds_before_ = 0;
};

class BothProtocols : public GovernorTest, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Protocols, BothProtocols, ::testing::Values("cbor-1", "cbor-2"));

TEST_P(BothProtocols, runs_a_task_and_gives_its_result) {
  start({plain("p", GetParam())});
  auto session = governor->new_session("s", OnError::fail);
  auto upper = task(session, "p/upper", {constant(session, "hello")}, 1);
  submit(session, {upper});
  wait({upper});
  EXPECT_EQ(upper->state, TaskState::finished) << message(upper);
  EXPECT_EQ(text(upper->outputs[0]), "HELLO");
}

TEST_P(BothProtocols, runs_a_chain_and_many_tasks) {
  start({plain("p", GetParam())});
  auto session = governor->new_session("s", OnError::fail);
  std::vector<TaskRef> tasks;
  auto input = constant(session, "x");
  for (int i = 0; i < 300; ++i) tasks.push_back(task(session, "p/upper", {input}, 1));
  auto chained = input;
  for (int i = 0; i < 50; ++i) {
    tasks.push_back(task(session, "p/echo", {chained}, 1));
    chained = tasks.back()->outputs[0];
  }
  submit(session, tasks);
  while (governor->wait_session(session, {}) != Governor::Wait::done) {
  }
  for (const auto& one : tasks) EXPECT_EQ(one->state, TaskState::finished) << message(one);
  EXPECT_EQ(text(chained), "x");
}

TEST_P(BothProtocols, a_failing_task_gives_its_text_and_its_executor_stays) {
  start({plain("p", GetParam())}, 1);
  auto failed = run_one("p/fail");
  EXPECT_EQ(failed->state, TaskState::failed);
  EXPECT_EQ(governor->failure(failed)->message, "it \"failed\"\n\nTask failed in executor");
  EXPECT_EQ(governor->failure(failed)->debug, "debug line");
  const auto pids = governor->executor_pids();
  EXPECT_EQ(run_one("p/none")->state, TaskState::finished);
  EXPECT_EQ(governor->executor_pids(), pids);
}

TEST_P(BothProtocols, a_dying_executor_is_reported_and_replaced) {
  start({plain("p", GetParam())}, 1);
  auto crashed = run_one("p/crash");
  EXPECT_EQ(crashed->state, TaskState::failed);
  EXPECT_EQ(governor->failure(crashed)->kind, FailureKind::executor);
  EXPECT_NE(message(crashed).find("SIGSEGV"), std::string::npos) << message(crashed);
  EXPECT_NE(message(crashed).find("plain executor says hello"), std::string::npos);
  auto stopped = run_one("p/stop");
  EXPECT_NE(message(stopped).find("exit code: 3"), std::string::npos) << message(stopped);
  EXPECT_EQ(run_one("p/none")->state, TaskState::finished);
}

TEST_P(BothProtocols, nonsense_costs_that_executor_only) {
  start({plain("p", GetParam())}, 1);
  auto wrong = run_one("p/wrong");
  EXPECT_NE(message(wrong).find("sent a result for task"), std::string::npos) << message(wrong);
  auto garbage = run_one("p/garbage");
  EXPECT_EQ(garbage->state, TaskState::failed);
  EXPECT_EQ(run_one("p/none")->state, TaskState::finished);
}

TEST_P(BothProtocols, takes_a_file_over_and_refuses_one_from_outside) {
  start({plain("p", GetParam())}, 1);
  auto file = run_one("p/file", 1);
  ASSERT_EQ(file->state, TaskState::finished) << message(file);
  EXPECT_EQ(text(file->outputs[0]), "from a file");
  auto outside = run_one("p/outside", 1);
  EXPECT_NE(message(outside).find("Path of dataobject is not in executor dir"), std::string::npos)
      << message(outside);
  auto few = run_one("p/few_outputs", 1);
  EXPECT_EQ(governor->failure(few)->message, "Some of outputs were not produced");
}

TEST_P(BothProtocols, a_cancelled_task_that_hangs_is_killed) {
  start({plain("p", GetParam())}, 1);
  auto session = governor->new_session("s", OnError::fail);
  auto hang = task(session, "p/hang", {}, 0);
  auto next = task(session, "p/none", {}, 0);
  submit(session, {hang, next});
  governor->cancel({hang});
  wait({hang, next});
  EXPECT_EQ(hang->state, TaskState::cancelled);
  EXPECT_EQ(next->state, TaskState::finished) << message(next);
}

struct Trick {
  const char* name;
  const char* says;
};
class BadStart : public GovernorTest, public ::testing::WithParamInterface<Trick> {};
INSTANTIATE_TEST_SUITE_P(
    Tricks, BadStart,
    ::testing::Values(Trick{"exit_at_once", "exit code: 7"},
                      Trick{"close_at_once", "exit code: 0 before it registered"},
                      Trick{"close_and_stay", "Closed connection without registration"},
                      Trick{"wrong_protocol", "registered with invalid protocol"},
                      Trick{"wrong_id", "registered with invalid id"},
                      Trick{"wrong_type", "registered with invalid type"},
                      Trick{"garbage", "at byte"}, Trick{"oversize", "frame"},
                      Trick{"empty_frame", "frame"}, Trick{"truncated", "middle"},
                      Trick{"never_connect", "did not register within"},
                      Trick{"never_register", "did not register within"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(BadStart, is_the_tasks_error_with_the_reason) {
  auto spec = plain("p", "cbor-2", GetParam().name);
  spec.start_deadline = std::chrono::milliseconds(500);
  start({spec, plain("good", "cbor-2")});
  auto bad = run_one("p/none");
  EXPECT_EQ(bad->state, TaskState::failed);
  EXPECT_EQ(governor->failure(bad)->kind, FailureKind::executor);
  EXPECT_NE(message(bad).find(GetParam().says), std::string::npos) << message(bad);
  EXPECT_EQ(run_one("good/none")->state, TaskState::finished);
}

TEST_F(GovernorTest, a_registration_with_the_number_of_digits_is_accepted_with_a_warning) {
  start({plain("p", "cbor-1", "digits_id"), plain("q", "cbor-1")}, 1);
  for (int i = 0; i < 10; ++i) run_one("q/stop");
  EXPECT_TRUE(governor->take_warnings().empty());
  EXPECT_EQ(run_one("p/none")->state, TaskState::finished);
  EXPECT_EQ(governor->take_warnings().size(), 1u);
}

TEST_F(GovernorTest, registering_twice_ends_that_executor) {
  start({plain("p", "cbor-2", "register_twice")}, 1);
  auto one = run_one("p/none");
  EXPECT_NE(message(one).find("registered twice"), std::string::npos) << message(one);
}

TEST_F(GovernorTest, a_missing_program_is_the_tasks_error) {
  ExecutorSpec spec;
  spec.name = "p";
  spec.argv = {"/nonexistent/program"};
  start({spec});
  EXPECT_NE(message(run_one("p/none")).find("/nonexistent/program"), std::string::npos);
}

TEST_F(GovernorTest, big_blobs_go_through_shared_memory_without_a_copy) {
  start({plain("p", "cbor-2")}, 1);
  auto session = governor->new_session("s", OnError::fail);
  auto big = task(session, "p/big", {}, 1);
  auto upper = task(session, "p/upper", {big->outputs[0]}, 1);
  upper->outputs[0]->producer = upper.get();
  submit(session, {big, upper});
  wait({big, upper});
  ASSERT_EQ(big->state, TaskState::finished) << message(big);
  EXPECT_EQ(big->copied_bytes, 0u);
  EXPECT_EQ(text(big->outputs[0]), std::string(1 << 20, 'b'));
  EXPECT_EQ(text(upper->outputs[0]), std::string(1 << 20, 'B'));
  EXPECT_GE(governor->store_usage().blobs, 2u);
  governor->close_session(session);
  EXPECT_EQ(governor->store_usage().blobs, 0u);
}

TEST_F(GovernorTest, a_view_outlives_session_and_governor) {
  start({plain("p", "cbor-2")}, 1);
  auto session = governor->new_session("s", OnError::fail);
  auto big = task(session, "p/big", {}, 1);
  submit(session, {big});
  wait({big});
  auto view = governor->view(big->outputs[0]);
  ASSERT_TRUE(view);
  governor->close();
  EXPECT_EQ(view->bytes.data[(1 << 20) - 1], 'b');
  view.reset();
}

TEST_F(GovernorTest, a_full_store_is_the_tasks_error_and_ends_when_there_is_room) {
  start({plain("p", "cbor-2")}, 1, 2u << 20, false);
  auto session = governor->new_session("s", OnError::continue_);
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 4; ++i) {
    tasks.push_back(task(session, "p/big", {}, 1));
    submit(session, {tasks.back()});
    wait({tasks.back()});
  }
  EXPECT_EQ(tasks.front()->state, TaskState::finished) << message(tasks.front());
  EXPECT_EQ(tasks.back()->state, TaskState::failed);
  EXPECT_EQ(governor->failure(tasks.back())->kind, FailureKind::store_full);
  for (const auto& one : tasks) {
    if (one->state == TaskState::finished) governor->unkeep({one->outputs[0]});
  }
  auto again = task(session, "p/big", {}, 1);
  submit(session, {again});
  wait({again});
  EXPECT_EQ(again->state, TaskState::finished) << message(again);
}

TEST_F(GovernorTest, lies_about_blobs_cost_that_executor_only) {
  start({plain("p", "cbor-2", "out_of_range"), plain("q", "cbor-2", "foreign_region"),
         plain("good", "cbor-2")});
  EXPECT_EQ(run_one("p/big", 1)->state, TaskState::failed);
  EXPECT_EQ(run_one("q/big", 1)->state, TaskState::failed);
  EXPECT_EQ(run_one("good/big", 1)->state, TaskState::finished);
}

TEST_F(GovernorTest, a_running_task_can_stop_when_asked) {
  start({plain("p", "cbor-2")}, 1);
  auto session = governor->new_session("s", OnError::fail);
  auto first = task(session, "p/none", {}, 0);
  submit(session, {first});
  wait({first});
  const auto pids = governor->executor_pids();
  auto slow = task(session, "p/slow", {}, 0);
  submit(session, {slow});
  governor->cancel({slow});
  wait({slow});
  EXPECT_EQ(slow->state, TaskState::cancelled);
  auto next = task(session, "p/none", {}, 0);
  submit(session, {next});
  wait({next});
  EXPECT_EQ(governor->executor_pids(), pids);
}

TEST_F(GovernorTest, unknown_executors_are_named_with_a_suggestion) {
  start({plain("example1", "cbor-2"), plain("py", "cbor-2")});
  const auto says = [&](const std::string& type) -> std::string {
    try {
      governor->intern_method(type);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "nothing";
  };
  EXPECT_EQ(says("exampel1/hello"),
            "Executor 'exampel1' is not registered (task type 'exampel1/hello'); did you mean "
            "'example1'? registered: example1, py; register it with Client(config=...) or "
            "Client(executors=...), of a service with --config of its governors");
  EXPECT_NE(says("hello").find("has no '/'"), std::string::npos);
}

TEST_F(GovernorTest, waits_end_at_their_deadline) {
  start({plain("p", "cbor-2")}, 1);
  auto session = governor->new_session("s", OnError::fail);
  auto hang = task(session, "p/hang", {}, 0);
  submit(session, {hang});
  auto result = Governor::Wait::interrupted;
  const auto deadline = tasklib::base::Clock::now() + std::chrono::milliseconds(30);
  while (result == Governor::Wait::interrupted) result = governor->wait({hang}, {}, deadline);
  EXPECT_EQ(result, Governor::Wait::timed_out);
}

TEST_F(GovernorTest, an_eventfd_is_written_when_the_task_ends_though_nobody_waits) {
  start({plain("p", "cbor-2")}, 1);
  auto session = governor->new_session("s", OnError::fail);
  auto one = task(session, "p/none", {}, 0);
  const auto queue = std::make_shared<CompletionQueue>();
  pollfd readable{queue->fd(), POLLIN, 0};
  submit(session, {one});
  governor->watch({one}, queue);
  EXPECT_EQ(::poll(&readable, 1, -1), 1);  // until the background thread did it
  EXPECT_EQ(one->state, TaskState::finished);
  EXPECT_EQ(queue->take(), std::vector<TaskRef>{one});
  EXPECT_EQ(::poll(&readable, 1, 0), 0);
  governor->watch({one}, queue);
  EXPECT_EQ(::poll(&readable, 1, 0), 1);
  EXPECT_EQ(queue->take(), std::vector<TaskRef>{one});
}

TEST_F(GovernorTest, a_completion_queue_gets_each_watched_task_once_however_it_ends) {
  start({plain("p", "cbor-2")}, 1);
  auto session = governor->new_session("s", OnError::continue_);
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 50; ++i) tasks.push_back(task(session, "p/none", {}, 0));
  tasks.push_back(task(session, "p/fail", {}, 0));
  tasks.push_back(task(session, "p/hang", {}, 0));
  submit(session, tasks);
  const auto queue = std::make_shared<CompletionQueue>();
  auto gone = std::make_shared<CompletionQueue>();
  governor->watch(tasks, queue);
  governor->watch(tasks, gone);
  gone.reset();  // a listener may leave
  governor->cancel({tasks.back()});
  std::vector<TaskRef> heard;
  while (heard.size() < tasks.size()) {
    while (governor->wait(*queue, {}) == Governor::Wait::interrupted) {
    }
    for (auto& one : queue->take()) heard.push_back(one);
  }
  for (const auto& one : tasks) {
    EXPECT_EQ(std::count(heard.begin(), heard.end(), one), 1);
    EXPECT_TRUE(graph::is_terminal(one->state));
  }
  EXPECT_TRUE(queue->empty());
  EXPECT_EQ(governor->wait(*queue, tasklib::base::Clock::now()), Governor::Wait::timed_out);
}

TEST_F(GovernorTest, close_ends_what_a_completion_queue_waits_for) {
  start({plain("p", "cbor-2")}, 1);
  auto session = governor->new_session("s", OnError::continue_);
  auto hang = task(session, "p/hang", {}, 0);
  submit(session, {hang});
  const auto queue = std::make_shared<CompletionQueue>();
  governor->watch({hang}, queue);
  governor->close();
  EXPECT_EQ(governor->wait(*queue, {}), Governor::Wait::done);
  EXPECT_EQ(queue->take(), std::vector<TaskRef>{hang});
  governor->watch({hang}, queue);
  EXPECT_FALSE(queue->empty());
}

TEST_F(GovernorTest, use_after_close_is_a_usage_error) {
  start({plain("p", "cbor-2")}, 1);
  auto session = governor->new_session("s", OnError::fail);
  auto hang = task(session, "p/hang", {}, 0);
  submit(session, {hang});
  governor->close();
  governor->close();
  EXPECT_EQ(hang->state, TaskState::cancelled);
  EXPECT_EQ(governor->wait({hang}, {}, {}), Governor::Wait::done);
  EXPECT_THROW(governor->new_session("t", OnError::fail), UsageError);
}

TEST_F(GovernorTest, an_executor_killed_from_outside_is_replaced) {
  start({plain("p", "cbor-2")}, 1);
  run_one("p/none");
  const auto pids = governor->executor_pids();
  ASSERT_EQ(pids.size(), 1u);
  ::kill(pids[0], SIGKILL);
  EXPECT_EQ(run_one("p/none")->state, TaskState::finished);
}

TEST_F(GovernorTest, reports_name_process_and_bytes) {
  start({plain("p", "cbor-2")}, 1);
  governor->record_reports(true);
  run_one("p/big", 1);
  auto reports = governor->take_reports();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].task_type, "p/big");
  EXPECT_EQ(reports[0].output_bytes, 1u << 20);
  EXPECT_GT(reports[0].pid, 0);
}

}  // namespace
}  // namespace rain
