#include <cmath>
#include <limits>

#include "fixture.h"

namespace rain::builtin {
namespace {

TEST_F(BuiltinTest, an_unknown_type_is_refused_with_the_known_ones) {
  try {
    governor->intern_method("buildin/nothing");
    FAIL() << "it was accepted";
  } catch (const UsageError& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find("Unknown task type buildin/nothing"), 0u) << text;
    EXPECT_NE(text.find("buildin/concat"), std::string::npos) << text;
  }
}

TEST_F(BuiltinTest, concat_joins_small_blobs) {
  auto joined =
      run("buildin/concat", {constant("one "), constant(""), constant("two")}, {}, {object()});
  EXPECT_EQ(error(joined), "");
  EXPECT_EQ(text(joined->outputs[0]), "one two");
  EXPECT_EQ(joined->copied_bytes, 7u);
}

TEST_F(BuiltinTest, concat_of_nothing_is_empty) {
  auto none = run("buildin/concat", {}, {}, {object()});
  EXPECT_EQ(error(none), "");
  EXPECT_EQ(text(none->outputs[0]), "");
  auto empties = run("buildin/concat", {constant(""), constant("")}, {}, {object()});
  EXPECT_EQ(error(empties), "");
  EXPECT_EQ(text(empties->outputs[0]), "");
}

TEST_F(BuiltinTest, concat_copies_each_byte_of_large_blobs_once) {
  const std::string a(300'000, 'a'), b(5'000'000, 'b');
  auto joined = run("buildin/concat", {constant(a), constant("-"), constant(b)}, {}, {object()});
  EXPECT_EQ(error(joined), "");
  EXPECT_EQ(text(joined->outputs[0]), a + "-" + b);
  EXPECT_EQ(joined->copied_bytes, a.size() + b.size() + 1);
  EXPECT_EQ(joined->output_bytes, a.size() + b.size() + 1);
}

TEST_F(BuiltinTest, concat_of_one_blob_that_is_not_empty_copies_nothing) {
  auto input = constant(std::string(200'000, 'x'));
  auto joined = run("buildin/concat", {constant(""), input}, {}, {object()});
  EXPECT_EQ(text(joined->outputs[0]), std::string(200'000, 'x'));
  EXPECT_EQ(joined->copied_bytes, 0u);
}

TEST_F(BuiltinTest, concat_into_a_full_store_fails_with_store_full) {
  start(2, 4u << 20, false);
  auto a = constant(std::string(3u << 20, 'a'));
  auto full = run("buildin/concat", {a, a, a}, {}, {object()});
  ASSERT_EQ(full->state, TaskState::failed);
  EXPECT_EQ(governor->failure(full)->kind, FailureKind::store_full) << error(full);
}

TEST_F(BuiltinTest, concat_that_finds_no_room_in_memory_is_written_to_disk) {
  start(2, 4u << 20);
  auto a = constant(std::string(3u << 20, 'a'));
  auto joined = run("buildin/concat", {a, a, a}, {}, {object()});
  ASSERT_EQ(joined->state, TaskState::finished) << error(joined);
  const auto view = governor->view(joined->outputs[0]);
  EXPECT_EQ(view->bytes.size, 9u << 20);
  EXPECT_EQ(view->bytes.text(), std::string(9u << 20, 'a'));
}

TEST_F(BuiltinTest, too_many_declared_outputs_are_an_error) {
  auto two = run("buildin/concat", {constant("x")}, {}, {object(), object()});
  EXPECT_EQ(error(two), "Some of outputs were not produced");
  auto directory = run("buildin/concat", {constant("x")}, {}, {object(DataType::directory, "out")});
  EXPECT_EQ(error(directory),
            "Output 'out' (content_type=) expects type dir, but blob is provided");
}

TEST_F(BuiltinTest, sleep_gives_its_input_back_after_the_time) {
  const auto before = std::chrono::steady_clock::now();
  auto input = constant(std::string(100'000, 'z'));
  auto slept = run("buildin/sleep", {input}, number(0.05), {object()});
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(50));
  EXPECT_EQ(error(slept), "");
  EXPECT_EQ(text(slept->outputs[0]), std::string(100'000, 'z'));
  EXPECT_EQ(slept->copied_bytes, 0u);
  EXPECT_GE(slept->run_time, std::chrono::milliseconds(50));
  auto none = run("buildin/sleep", {constant("0")}, number(0), {object()});
  EXPECT_EQ(error(none), "");
}

TEST_F(BuiltinTest, sleep_refuses_what_is_no_time) {
  const auto sleep = [&](RawValue config) {
    return error(run("buildin/sleep", {constant("x")}, std::move(config), {object()}));
  };
  EXPECT_EQ(sleep({}), "Task config is empty, but non-empty config is expected");
  for (const double seconds : {-1.0, std::nan(""), std::numeric_limits<double>::infinity(), 1e10}) {
    EXPECT_EQ(sleep(number(seconds)).find("Cannot parse task config: expected seconds"), 0u)
        << seconds << ": " << sleep(number(seconds));
  }
  EXPECT_EQ(sleep(string("1")).find("Cannot parse task config: "), 0u) << sleep(string("1"));
  EXPECT_EQ(sleep(number(1) + number(2)).find("Cannot parse task config: "), 0u);
  EXPECT_EQ(error(run("buildin/sleep", {}, number(1), {object()})),
            "Invalid number of arguments, expected: 1");
}

TEST_F(BuiltinTest, a_cancelled_sleep_ends_at_once_and_frees_its_cpu) {
  start(1);
  auto endless = task("buildin/sleep", {constant("x")}, number(1e6), {object()});
  auto next = task("buildin/sleep", {constant("y")}, number(0.01), {object()});
  submit({endless, next});
  ASSERT_EQ(endless->state, TaskState::assigned);
  governor->cancel({endless});
  wait({endless, next});
  EXPECT_EQ(endless->state, TaskState::cancelled);
  EXPECT_EQ(next->state, TaskState::finished) << error(next);
}

TEST_F(BuiltinTest, a_sleep_beyond_its_timeout_fails_and_its_cpu_is_free) {
  start(1);
  auto endless = task("buildin/sleep", {constant("x")}, number(1e6), {object()});
  endless->extras = std::make_unique<graph::TaskExtras>();
  endless->extras->timeout = std::chrono::milliseconds(20);
  auto next = task("buildin/sleep", {constant("y")}, number(0.01), {object()});
  submit({endless, next});
  wait({endless, next});
  ASSERT_EQ(endless->state, TaskState::failed);
  EXPECT_EQ(governor->failure(endless)->kind, FailureKind::timeout) << error(endless);
  EXPECT_EQ(next->state, TaskState::finished) << error(next);
}

TEST_F(BuiltinTest, sleeps_without_cpus_pass_at_the_same_time) {
  start(1);
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 40; ++i) {
    tasks.push_back(task("buildin/sleep", {constant("x")}, number(1e6), {object()}));
    tasks.back()->cpus = 0;
  }
  submit(tasks);
  for (const auto& each : tasks) EXPECT_EQ(each->state, TaskState::assigned);
  governor->cancel(tasks);
  wait(tasks);
}

TEST_F(BuiltinTest, closing_a_session_or_the_client_ends_sleeps) {
  auto endless = task("buildin/sleep", {constant("x")}, number(1e6), {object()});
  submit({endless});
  governor->close_session(session);
  EXPECT_EQ(endless->state, TaskState::cancelled);
  session = governor->new_session("next", OnError::fail);
  endless = task("buildin/sleep", {constant("x")}, number(1e6), {object()});
  submit({endless});
  governor->close();
  EXPECT_EQ(endless->state, TaskState::cancelled);
}

TEST_F(BuiltinTest, closing_while_large_blobs_are_joined_waits_for_nobody) {
  std::vector<ObjectRef> inputs(20, constant(std::string(1u << 20, 'x')));
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 10; ++i) tasks.push_back(task("buildin/concat", inputs, {}, {object()}));
  submit(tasks);
  governor->close();
  for (const auto& each : tasks) EXPECT_TRUE(graph::is_terminal(each->state));
}

TEST_F(BuiltinTest, a_burst_of_small_tasks_runs_and_is_reported) {
#ifdef NDEBUG
  constexpr int kTasks = 20'000;
#else
  constexpr int kTasks = 500;  // invariants are walked after each event
#endif
  governor->record_reports(true);
  auto a = constant("a"), b = constant("b");
  std::vector<TaskRef> tasks;
  for (int i = 0; i < kTasks; ++i) tasks.push_back(task("buildin/concat", {a, b}, {}, {object()}));
  submit(tasks);
  wait(tasks);
  for (const auto& each : tasks) ASSERT_EQ(each->state, TaskState::finished) << error(each);
  EXPECT_EQ(text(tasks.back()->outputs[0]), "ab");
  const auto reports = governor->take_reports();
  ASSERT_EQ(reports.size(), tasks.size());
  EXPECT_EQ(reports[0].executor_type, "buildin");
  EXPECT_EQ(reports[0].task_type, "buildin/concat");
  EXPECT_EQ(reports[0].copied_bytes, 2u);
}

}  // namespace
}  // namespace rain::builtin
