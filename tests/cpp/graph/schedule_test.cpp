// What runs where: cpus, reuse and start of executors, order, fairness.

#include <gtest/gtest.h>

#include "fixture.h"
#include "graph/executors.h"

namespace rain::graph {
namespace {

using ScheduleTest = CoreTest;
using Tasks = std::vector<TaskRecord*>;

TEST_F(ScheduleTest, nothing_starts_before_a_task_needs_it) {
  EXPECT_FALSE(core->busy());
  EXPECT_TRUE(take().all.empty());
}

TEST_F(ScheduleTest, an_executor_is_started_and_gets_the_call_when_it_registered) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  const Asked first = take();
  ASSERT_EQ(first.spawned.size(), 1u);
  EXPECT_TRUE(first.sent.empty());
  EXPECT_TRUE(core->busy());
  ready(first.spawned[0]);
  const Asked second = take();
  ASSERT_EQ(second.sent.size(), 1u);
  EXPECT_EQ(second.sent[0].first, first.spawned[0]);
  EXPECT_EQ(a->state, TaskState::assigned);
  EXPECT_EQ(a->sequence, 1u);
  done(a);
  EXPECT_FALSE(core->busy());
}

TEST_F(ScheduleTest, an_idle_executor_is_reused) {
  start_with_cpus(4);
  const SessionRef s = session();
  for (int i = 0; i < 5; ++i) {
    const TaskRef a = task(s);
    submit(s, {a});
    const Asked asked = settle();
    EXPECT_EQ(asked.spawned.size(), i == 0 ? 1u : 0u);
    EXPECT_EQ(asked.sent.size(), 1u);
    done(a);
  }
}

TEST_F(ScheduleTest, no_more_start_than_tasks_are_ready) {
  start_with_cpus(4);
  const SessionRef s = session();
  submit(s, {task(s), task(s)});
  EXPECT_EQ(take().spawned.size(), 2u);
  submit(s, {task(s)});
  EXPECT_EQ(take().spawned.size(), 1u);
}

TEST_F(ScheduleTest, no_more_work_at_once_than_there_are_cpus) {
  start_with_cpus(3);
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 10; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  const Asked asked = settle();
  EXPECT_EQ(asked.spawned.size(), 3u);
  EXPECT_EQ(asked.sent.size(), 3u);
  EXPECT_EQ(core->busy_executors(), 3u);
}

TEST_F(ScheduleTest, a_task_takes_the_cpus_it_asks_for) {
  start_with_cpus(4);
  const SessionRef s = session();
  const TaskRef a = task(s, {}, {0, 0, 3}), b = task(s, {}, {0, 0, 3}), c = task(s);
  submit(s, {a, b});
  EXPECT_EQ(settle().sent_tasks(), Tasks{a.get()});
  done(a);
  EXPECT_EQ(settle().sent_tasks(), Tasks{b.get()});
  submit(s, {c});
  EXPECT_EQ(settle().sent_tasks(), Tasks{c.get()});
}

TEST_F(ScheduleTest, small_tasks_do_not_starve_a_large_one) {
  start_with_cpus(2);
  const SessionRef s = session();
  std::vector<TaskRef> small;
  for (int i = 0; i < 50; ++i) small.push_back(task(s));
  submit(s, small);
  Tasks at_work = settle().sent_tasks();
  const TaskRef large = task(s, {}, {0, 0, 2});
  submit(s, {large});
  for (int i = 0; i < 10 && large->state != TaskState::assigned; ++i) {
    for (TaskRecord* each : std::exchange(at_work, {})) done(*each);
    at_work = settle().sent_tasks();
  }
  EXPECT_EQ(large->state, TaskState::assigned);
}

TEST_F(ScheduleTest, executor_types_take_turns) {
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (TypeIndex type = 0; type < 2; ++type)
    for (int i = 0; i < 10; ++i) tasks.push_back(task(s, {}, {type}));
  submit(s, tasks);
  int of_type[2] = {0, 0};
  for (int i = 0; i < 10; ++i)
    for (TaskRecord* each : settle().sent_tasks()) {
      ++of_type[each->type];
      done(*each);
    }
  EXPECT_EQ(of_type[0], 5);
  EXPECT_EQ(of_type[1], 5);
}

TEST_F(ScheduleTest, a_type_with_deep_queues_leaves_another_its_share) {
  teach(0, Duration(10'000));
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 1000; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  Tasks at_work = settle().sent_tasks();
  EXPECT_EQ(at_work.size(), 100u);
  const TaskRef other = task(s, {}, {1});
  submit(s, {other});
  std::size_t before_other = 0;
  while (other->state != TaskState::assigned && !at_work.empty()) {
    TaskRecord* first = at_work.front();
    at_work.erase(at_work.begin());
    done(*first);
    ++before_other;
    for (TaskRecord* each : settle(1, 512).sent_tasks()) at_work.push_back(each);
  }
  EXPECT_EQ(other->state, TaskState::assigned);
  EXPECT_LE(before_other, 100u);
}

TEST_F(ScheduleTest, sessions_take_turns) {
  const SessionRef s = session(), t = session();
  std::vector<TaskRef> of_s, of_t;
  for (int i = 0; i < 10; ++i) of_s.push_back(task(s)), of_t.push_back(task(t));
  submit(s, of_s);
  submit(t, of_t);
  int count_s = 0;
  for (int i = 0; i < 10; ++i)
    for (TaskRecord* each : settle().sent_tasks()) {
      count_s += each->session == s.get();
      done(*each);
    }
  EXPECT_EQ(count_s, 5);
}

TEST_F(ScheduleTest, deeper_tasks_go_first_then_submit_order) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s), after_a = task(s, {out(a)}), c = task(s);
  submit(s, {a, b, after_a, c});
  Tasks order;
  for (int i = 0; i < 4; ++i)
    for (TaskRecord* each : settle().sent_tasks()) {
      order.push_back(each);
      done(*each);
    }
  EXPECT_EQ(order, (Tasks{a.get(), after_a.get(), b.get(), c.get()}));
}

TEST_F(ScheduleTest, a_thousand_chains_are_run_one_after_the_other) {
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 100; ++i) {
    const TaskRef a = task(s), b = task(s, {out(a)});
    tasks.push_back(a);
    tasks.push_back(b);
  }
  submit(s, tasks);
  std::size_t most_held = 0;
  for (int i = 0; i < 200; ++i) {
    for (TaskRecord* each : settle().sent_tasks()) done(*each);
    most_held = std::max(most_held, s->holding.size());
  }
  EXPECT_EQ(s->unfinished_tasks, 0u);
  EXPECT_EQ(most_held, 1u);
}

TEST_F(ScheduleTest, an_executor_with_threads_gets_a_call_for_each_as_far_as_cpus_reach) {
  start_with_cpus(3);
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 10; ++i) tasks.push_back(task(s));
  submit(s, {tasks[0]});
  const Asked first = settle(4, 16);
  ASSERT_EQ(first.spawned.size(), 1u);
  submit(s, {tasks.begin() + 1, tasks.end()});
  const Asked second = settle(4, 16);
  EXPECT_TRUE(second.spawned.empty());
  EXPECT_EQ(second.sent.size(), 2u);
  EXPECT_EQ(second.sent[0].first, first.spawned[0]);
}

TEST_F(ScheduleTest, queues_ahead_only_what_needs_the_same_cpus) {
  start_with_cpus(2);
  teach(0, Duration(1000));
  const SessionRef s = session();
  const TaskRef two = task(s, {}, {0, 0, 2}), two_more = task(s, {}, {0, 0, 2}), one = task(s);
  submit(s, {two, one});
  Asked asked = settle(1, 512);
  EXPECT_EQ(asked.sent.size(), 1u);
  TaskRecord* at_work = asked.sent[0].second;
  submit(s, {two_more});
  asked = settle(1, 512);
  for (TaskRecord* each : asked.sent_tasks()) EXPECT_EQ(each->cpus, at_work->cpus);
}

TEST_F(ScheduleTest, unmeasured_methods_are_not_queued_ahead) {
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 10; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  EXPECT_EQ(settle(1, 512).sent.size(), 1u);
}

TEST_F(ScheduleTest, short_methods_are_queued_ahead_up_to_queue_ahead) {
  teach(0, Duration(100'000));  // queue_ahead is 1 ms
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 100; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  EXPECT_EQ(settle(1, 512).sent.size(), 10u);
}

TEST_F(ScheduleTest, no_more_than_max_in_flight) {
  teach(0, Duration(10), 7);
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 100; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  EXPECT_EQ(settle().sent.size(), 7u);
}

TEST_F(ScheduleTest, long_methods_are_not_queued_ahead_behind_short_ones) {
  teach(0, Duration(1000));
  teach(1, Duration(50'000'000));
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s, {}, {0, 1}), c = task(s);
  submit(s, {a, b});
  EXPECT_EQ(settle().sent_tasks(), Tasks{a.get()});
  done(a);
  EXPECT_EQ(settle().sent_tasks(), Tasks{b.get()});
  submit(s, {c});
  EXPECT_TRUE(settle().sent.empty());
}

TEST_F(ScheduleTest, a_slow_start_is_forgotten) {
  teach(0, Duration(50'000'000));
  for (int i = 0; i < 200; ++i) teach(0, Duration(1000));
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 100; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  EXPECT_GT(settle().sent.size(), 10u);
}

TEST_F(ScheduleTest, short_calls_are_spread_over_idle_executors_first) {
  start_with_cpus(2);
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s);
  submit(s, {a, b});
  settle(1, 512);
  done(a);
  done(b);
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 10; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  const Asked asked = settle();
  ASSERT_EQ(asked.sent.size(), 10u);
  EXPECT_EQ(std::count_if(asked.sent.begin(), asked.sent.end(),
                          [](const auto& sent) { return sent.first.value == 1; }),
            5);
}

TEST_F(ScheduleTest, sequences_in_flight_differ_modulo_the_boards_slots) {
  teach(0, Duration(100), 512, 1);
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 1200; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  std::vector<TaskRecord*> out_now = settle().sent_tasks();
  TaskRecord* stays = out_now.front();  // results in any order: this one comes last
  out_now.erase(out_now.begin());
  while (!out_now.empty()) {
    done(*out_now.back(), Duration(100));
    out_now.pop_back();
    for (TaskRecord* each : settle().sent_tasks()) {
      EXPECT_NE(each->sequence % kSequenceSlots, stays->sequence % kSequenceSlots);
      out_now.push_back(each);
    }
  }
  EXPECT_EQ(s->unfinished_tasks, 1u);
}

/// Two executors of type 0 that know method 0 as short, and nothing to do.
class BalanceTest : public CoreTest {
 protected:
  void SetUp() override {
    start_with_cpus(2);
    s = session();
    const TaskRef a = task(s), b = task(s);
    submit(s, {a, b});
    settle(1, 512);
    done(a, Duration(10'000));
    done(b, Duration(10'000));
    take();
  }
  /// Both get calls; those of one are all done, but not the first of the other. Returns the
  /// calls of the latter.
  std::vector<TaskRecord*> pile_up(int calls_each) {
    std::vector<TaskRef> tasks;
    for (int i = 0; i < 2 * calls_each; ++i) tasks.push_back(task(s));
    submit(s, tasks);
    std::vector<TaskRecord*> stuck, finished;
    for (const auto& [executor, each] : settle().sent)
      (executor.value == 1 ? stuck : finished).push_back(each);
    for (TaskRecord* each : finished) done(*each, Duration(10'000));
    return stuck;
  }
  SessionRef s;
};

TEST_F(BalanceTest, an_idle_executor_gets_half_of_what_another_has_queued) {
  const auto stuck = pile_up(50);
  const Asked asked = take();
  ASSERT_EQ(asked.retracts.size(), 25u);
  for (const auto& [executor, each] : asked.retracts) {
    EXPECT_EQ(executor, ExecutorId{1});
    EXPECT_GE(each->sequence, stuck[25]->sequence) << "the last of them";
  }
  for (const auto& [executor, each] : asked.retracts) core->on_retracted(executor, *each, now);
  for (const auto& [executor, each] : take().sent) {
    EXPECT_EQ(executor, ExecutorId{2});
    EXPECT_EQ(each->crashes, 0);
  }
}

TEST_F(BalanceTest, nothing_more_is_asked_back_while_answers_are_out) {
  pile_up(50);
  const Asked asked = take();
  core->on_retracted(asked.retracts[0].first, *asked.retracts[0].second, now);
  EXPECT_TRUE(take().retracts.empty());
}

TEST_F(BalanceTest, a_refused_call_is_not_asked_for_again) {
  pile_up(50);
  const Asked asked = take();
  for (const auto& [executor, each] : asked.retracts)
    core->on_retract_refused(executor, *each, now);
  pass(std::chrono::seconds(1));
  core->on_tick(now);
  const Asked again = take();
  for (const auto& [executor, each] : again.retracts)
    for (const auto& [e, before] : asked.retracts) EXPECT_NE(each, before);
}

TEST_F(BalanceTest, little_work_is_moved_only_when_its_executor_is_stuck) {
  const auto stuck = pile_up(3);
  EXPECT_TRUE(take().retracts.empty());
  ASSERT_TRUE(core->next_tick().has_value());
  now = *core->next_tick();
  core->on_tick(now);
  EXPECT_EQ(take().retracts.size(), 1u);
}

TEST_F(BalanceTest, nothing_moves_while_tasks_are_ready_or_no_cpu_is_free) {
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 1000; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  const Asked asked = settle();
  pass(std::chrono::seconds(1));
  core->on_tick(now);
  for (std::size_t i = 0; i < 20; ++i) done(*asked.sent[i].second);
  EXPECT_TRUE(take().retracts.empty());
}

TEST_F(BalanceTest, an_executor_is_started_for_calls_stuck_behind_another) {
  start_with_cpus(2);
  teach(0, Duration(10'000));
  const SessionRef t = session();
  submit(t, {task(t), task(t), task(t)});
  EXPECT_EQ(settle().sent.size(), 3u);
  while (core->next_tick() && now < TimePoint(std::chrono::seconds(1))) {
    now = *core->next_tick();
    core->on_tick(now);
    const Asked asked = settle(1, 512);
    if (asked.spawned.empty()) continue;
    EXPECT_EQ(asked.retracts.size(), 1u);
    return;
  }
  FAIL() << "no executor was started";
}

}  // namespace
}  // namespace rain::graph
