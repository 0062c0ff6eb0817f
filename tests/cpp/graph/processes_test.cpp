// Which processes there are besides those that work: prestarted, limited, idle, outdated.

#include <gtest/gtest.h>

#include "fixture.h"

namespace rain::graph {
namespace {

using std::chrono::seconds;

class ProcessesTest : public CoreTest {
 protected:
  void start_with(TypeOptions type, std::uint32_t cpus = 4) {
    Core::Options options;
    options.cpus = cpus;
    options.types = {type};
    start(options);
  }
  /// One task that is done.
  void run_one() {
    const SessionRef s = session();
    const TaskRef a = task(s);
    submit(s, {a});
    settle();
    done(a);
    core->on_close_session(s, now);
  }
};

TEST_F(ProcessesTest, prestarted_ones_use_no_cpus_and_take_the_first_tasks) {
  start_with({2, 0, Duration(0)}, 2);
  core->on_prestart(0, 2, now);
  const auto prestarted = take().spawned;
  ASSERT_EQ(prestarted.size(), 2u);
  EXPECT_FALSE(core->busy());
  const SessionRef s = session();
  submit(s, {task(s), task(s)});
  EXPECT_TRUE(take().spawned.empty());
  EXPECT_EQ(core->busy_executors(), 2u);
  for (const auto executor : prestarted) ready(executor);
  EXPECT_EQ(take().sent.size(), 2u);
}

TEST_F(ProcessesTest, a_prestarted_one_that_does_not_start_fails_no_task) {
  start_with({1, 0, Duration(0)});
  core->on_prestart(0, 1, now);
  const auto prestarted = take().spawned;
  core->on_executor_lost(prestarted[0], fake_failure(), {}, now);
  EXPECT_TRUE(take().spawned.empty());
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  settle();
  EXPECT_EQ(a->state, TaskState::assigned);
}

TEST_F(ProcessesTest, a_prestarted_one_that_died_after_work_is_replaced) {
  start_with({1, 0, Duration(0)});
  core->on_prestart(0, 1, now);
  run_one();
  take();
  core->on_executor_lost(ExecutorId{1}, fake_failure(), {}, now);
  EXPECT_EQ(take().spawned.size(), 1u);
}

TEST_F(ProcessesTest, a_prestarted_one_that_died_before_work_is_not_replaced) {
  start_with({1, 0, Duration(0)});
  core->on_prestart(0, 1, now);
  settle();
  core->on_executor_lost(ExecutorId{1}, fake_failure(), {}, now);
  EXPECT_TRUE(take().spawned.empty());
}

TEST_F(ProcessesTest, no_more_processes_than_allowed) {
  start_with({0, 2, Duration(0)});
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  const Asked asked = settle();
  EXPECT_EQ(asked.spawned.size(), 2u);
  EXPECT_EQ(asked.sent.size(), 2u);
  done(tasks[0]);
  EXPECT_EQ(settle().sent_tasks(), std::vector<TaskRecord*>{tasks[2].get()});
}

TEST_F(ProcessesTest, a_limited_type_does_not_keep_others_from_the_cpus) {
  start_with({0, 1, Duration(0)});
  const SessionRef s = session();
  submit(s, {task(s), task(s), task(s, {}, {1}), task(s, {}, {1})});
  const Asked asked = settle();
  EXPECT_EQ(asked.spawned.size(), 3u);
  EXPECT_EQ(asked.sent.size(), 3u);
}

TEST_F(ProcessesTest, tasks_of_different_cpus_take_turns_on_the_only_process) {
  start_with({0, 1, Duration(0)});
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s, {}, {0, 0, 2}), c = task(s);
  submit(s, {a, b, c});
  for (int i = 0; i < 3; ++i) {
    const Asked asked = settle(1, 512);
    ASSERT_EQ(asked.sent.size(), 1u);
    done(*asked.sent[0].second);
  }
  EXPECT_EQ(c->state, TaskState::finished);
}

TEST_F(ProcessesTest, an_idle_one_ends_when_its_time_is_over) {
  start_with({0, 0, seconds(60)});
  run_one();
  take();
  ASSERT_TRUE(core->next_tick());
  EXPECT_EQ(*core->next_tick(), now + seconds(60));
  pass(seconds(59));
  core->on_tick(now);
  EXPECT_TRUE(take().ended.empty());
  pass(seconds(1));
  core->on_tick(now);
  EXPECT_EQ(take().ended, std::vector<ExecutorId>{ExecutorId{1}});
  EXPECT_FALSE(core->next_tick());
}

TEST_F(ProcessesTest, one_that_is_ending_gets_no_call) {
  start_with({0, 0, seconds(60)});
  run_one();
  pass(seconds(60));
  core->on_tick(now);
  take();
  const SessionRef s = session();
  submit(s, {task(s)});
  EXPECT_EQ(take().spawned, std::vector<ExecutorId>{ExecutorId{2}});
  core->on_executor_lost(ExecutorId{1}, fake_failure(), {}, now);
  EXPECT_TRUE(take().spawned.empty());
}

TEST_F(ProcessesTest, as_many_as_are_prestarted_stay) {
  start_with({1, 0, seconds(60)});
  const SessionRef s = session();
  std::vector<TaskRef> tasks{task(s), task(s), task(s)};
  submit(s, tasks);
  settle();
  for (const TaskRef& each : tasks) done(each);
  pass(seconds(60));
  core->on_tick(now);
  EXPECT_EQ(take().ended.size(), 2u);
  EXPECT_FALSE(core->next_tick());
}

TEST_F(ProcessesTest, an_outdated_idle_one_ends_at_once) {
  start_with({});
  run_one();
  take();
  core->on_executor_outdated(ExecutorId{1}, now);
  EXPECT_EQ(take().ended, std::vector<ExecutorId>{ExecutorId{1}});
  const SessionRef s = session();
  submit(s, {task(s)});
  EXPECT_EQ(take().spawned, std::vector<ExecutorId>{ExecutorId{2}});
}

TEST_F(ProcessesTest, an_outdated_busy_one_ends_after_its_calls) {
  start_with({}, 1);
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s);
  submit(s, {a});
  settle();
  core->on_executor_outdated(a->executor, now);
  submit(s, {b});
  EXPECT_TRUE(take().ended.empty());
  done(a);
  const Asked asked = take();
  EXPECT_EQ(asked.ended, std::vector<ExecutorId>{a->executor});
  EXPECT_EQ(asked.spawned.size(), 1u);
  EXPECT_EQ(a->state, TaskState::finished);
  EXPECT_EQ(b->state, TaskState::ready);
}

TEST_F(ProcessesTest, one_outdated_while_it_starts_gets_no_call) {
  start_with({});
  const SessionRef s = session();
  submit(s, {task(s)});
  const auto first = take().spawned;
  core->on_executor_outdated(first[0], now);
  ready(first[0]);
  const Asked asked = take();
  EXPECT_EQ(asked.ended, first);
  EXPECT_EQ(asked.spawned.size(), 1u);
  EXPECT_TRUE(asked.sent.empty());
}

TEST_F(ProcessesTest, an_outdated_one_is_replaced_within_the_limit_once_it_is_gone) {
  start_with({1, 1, Duration(0)});
  core->on_prestart(0, 1, now);
  settle();
  core->on_executor_outdated(ExecutorId{1}, now);
  const SessionRef s = session();
  submit(s, {task(s)});
  EXPECT_TRUE(take().spawned.empty());
  core->on_executor_lost(ExecutorId{1}, fake_failure(), {}, now);
  EXPECT_EQ(take().spawned, std::vector<ExecutorId>{ExecutorId{2}});
}

}  // namespace
}  // namespace rain::graph
