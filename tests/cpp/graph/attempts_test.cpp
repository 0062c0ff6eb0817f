// Retries and timeouts: what is tried again, what each attempt leaves, when a call's time is over.

#include <gtest/gtest.h>

#include "fixture.h"

namespace rain::graph {
namespace {

using Tasks = std::vector<TaskRecord*>;
constexpr Duration kSecond{1'000'000'000};

class RetriesTest : public CoreTest {
 protected:
  TaskRef retried(const SessionRef& in, std::uint32_t retries) {
    TaskRef made = task(in, {}, {0, 0, 1, 1, true});
    extras(made).retries = retries;
    return made;
  }
};

TEST_F(RetriesTest, a_failed_task_runs_again_and_may_finish) {
  const SessionRef s = session();
  const TaskRef a = retried(s, 2), b = task(s, {out(a)});
  submit(s, {a, b});
  settle();
  failed(a, fake_failure("first"));
  EXPECT_EQ(settle().sent_tasks(), Tasks{a.get()});
  EXPECT_EQ(out(a)->state, ObjectState::unfinished);
  done(a);
  EXPECT_EQ(a->state, TaskState::finished);
  EXPECT_EQ(a->failure, nullptr);
  EXPECT_FALSE(s->failed);
  EXPECT_EQ(settle().sent_tasks(), Tasks{b.get()});
}

TEST_F(RetriesTest, the_failure_lists_every_attempt) {
  const SessionRef s = session(OnError::continue_);
  const TaskRef a = retried(s, 2), child = task(s, {out(a)});
  submit(s, {a, child});
  core->on_executor_ready(take().spawned.at(0), {1, 1, 4711}, now);
  for (const char* text : {"first", "second", "third"}) {
    ASSERT_EQ(a->state, TaskState::assigned) << text;
    failed(a, fake_failure(text));
  }
  EXPECT_EQ(a->state, TaskState::failed);
  EXPECT_EQ(a->failure->message, "third");
  ASSERT_EQ(a->failure->attempts.size(), 3u);
  const Attempt& second = a->failure->attempts[1];
  EXPECT_EQ(second.message, "second");
  EXPECT_EQ(second.kind, FailureKind::task);
  EXPECT_EQ(second.pid, 4711);
  EXPECT_EQ(second.executor, a->executor);
  EXPECT_EQ(second.duration, Duration(1000));
  EXPECT_EQ(child->failure->attempts.size(), 3u) << "those of the task that failed first";
}

TEST_F(RetriesTest, without_retries_the_failure_has_one_attempt) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  settle();
  failed(a, fake_failure("only"));
  ASSERT_EQ(a->failure->attempts.size(), 1u);
  EXPECT_EQ(a->failure->attempts[0].message, "only");
}

TEST_F(RetriesTest, the_death_of_the_executor_under_a_begun_call_is_an_attempt) {
  const SessionRef s = session();
  const TaskRef a = retried(s, 1);
  submit(s, {a});
  settle();
  core->on_executor_lost(a->executor, fake_failure("died", FailureKind::executor), {a.get()}, now);
  EXPECT_EQ(a->state, TaskState::ready);
  EXPECT_EQ(a->crashes, 0) << "it is not innocent";
  settle();
  core->on_executor_lost(a->executor, fake_failure("again", FailureKind::executor), {a.get()}, now);
  EXPECT_EQ(a->state, TaskState::failed);
  ASSERT_EQ(a->failure->attempts.size(), 2u);
  EXPECT_EQ(a->failure->attempts[0].kind, FailureKind::executor);
}

TEST_F(RetriesTest, an_innocent_call_is_sent_again_without_using_a_retry) {
  const SessionRef s = session();
  const TaskRef a = retried(s, 1);
  submit(s, {a});
  settle();
  core->on_executor_lost(a->executor, fake_failure("died"), {}, now);
  EXPECT_TRUE(a->extras->attempts.empty());
  EXPECT_EQ(a->crashes, 1);
}

TEST_F(RetriesTest, cancelled_and_aborted_tasks_are_not_tried_again) {
  const SessionRef s = session(OnError::continue_);
  const TaskRef bad = task(s), child = task(s, {out(bad)}), a = retried(s, 5);
  extras(child).retries = 5;
  submit(s, {bad, child, a});
  settle();
  failed(bad);
  EXPECT_EQ(child->state, TaskState::aborted);
  settle();
  core->on_cancel({a}, now);
  EXPECT_EQ(a->state, TaskState::cancelled);
  core->on_task_cancelled(a->executor, *a, now);
  EXPECT_EQ(a->state, TaskState::cancelled);
}

TEST_F(RetriesTest, what_never_starts_is_not_tried_again) {
  const SessionRef s = session();
  const TaskRef a = retried(s, 5);
  submit(s, {a});
  core->on_executor_lost(take().spawned.at(0), fake_failure("no such program"), {}, now);
  EXPECT_EQ(a->state, TaskState::failed);
  EXPECT_EQ(a->failure->attempts.size(), 1u);
}

class TimeoutTest : public CoreTest {
 protected:
  TaskRef timed(const SessionRef& in, Duration timeout, std::uint32_t method = 0) {
    TaskRef made = task(in, {}, {0, method});
    extras(made).timeout = timeout;
    return made;
  }
  /// The executor says that the call has begun, as it does when asked for it back.
  void refuse(const TaskRef& task) { core->on_retract_refused(task->executor, *task, now); }
};

TEST_F(TimeoutTest, counts_from_the_call_and_asks_then_kills) {
  const SessionRef s = session();
  const TaskRef a = timed(s, kSecond);
  submit(s, {a});
  pass(5 * kSecond);  // the executor starts
  settle();
  ASSERT_TRUE(core->next_tick());
  EXPECT_EQ(*core->next_tick(), now + kSecond);
  pass(kSecond);
  core->on_tick(now);
  ASSERT_EQ(take().retracts.size(), 1u);
  refuse(a);
  EXPECT_EQ(take().stops.size(), 1u);
  EXPECT_EQ(a->state, TaskState::assigned) << "until its call is over";
  pass(Duration(100'000'000));
  core->on_tick(now);
  ASSERT_EQ(take().killed.size(), 1u);
  core->on_executor_lost(a->executor, fake_failure("killed"), {a.get()}, now);
  EXPECT_EQ(a->state, TaskState::failed);
  EXPECT_EQ(a->failure->kind, FailureKind::timeout);
  EXPECT_TRUE(contains(a->failure->message, "timeout is 1 s"));
  EXPECT_FALSE(core->next_tick());
}

TEST_F(TimeoutTest, names_the_task_type_the_limit_and_the_time) {
  Core::Options options;
  options.method_name = [](std::uint32_t method) { return "type/" + std::to_string(method); };
  start(options);
  const SessionRef s = session();
  const TaskRef a = timed(s, kSecond / 2, 7);
  submit(s, {a});
  settle();
  pass(kSecond);
  core->on_tick(now);
  refuse(a);
  core->on_task_cancelled(a->executor, *a, now);
  EXPECT_EQ(a->failure->message, "the task 'type/7' was stopped after 1 s: its timeout is 0.5 s");
}

TEST_F(TimeoutTest, a_result_after_the_deadline_is_too_late) {
  const SessionRef s = session();
  const TaskRef a = timed(s, kSecond);
  submit(s, {a});
  settle();
  pass(kSecond);
  core->on_tick(now);
  done(a);
  EXPECT_EQ(a->state, TaskState::failed);
  EXPECT_EQ(a->failure->kind, FailureKind::timeout);
  EXPECT_EQ(out(a)->data, nullptr);
}

TEST_F(TimeoutTest, a_result_in_time_ends_the_deadline) {
  const SessionRef s = session();
  const TaskRef a = timed(s, kSecond);
  submit(s, {a});
  settle();
  pass(kSecond / 2);
  done(a);
  EXPECT_EQ(a->state, TaskState::finished);
  EXPECT_FALSE(core->next_tick());
}

TEST_F(TimeoutTest, nothing_is_queued_behind_or_ahead_of_a_timed_call) {
  teach(0, Duration(1000));
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 3; ++i) {
    tasks.push_back(timed(s, kSecond));
    tasks.push_back(task(s));
  }
  submit(s, tasks);
  for (int left = 6; left > 0;) {
    const Tasks sent = settle(1, 512).sent_tasks();
    for (TaskRecord* each : sent) {
      if (each->extras) {
        EXPECT_EQ(sent.size(), 1u);
      }
      done(*each);
      --left;
    }
    ASSERT_FALSE(sent.empty());
  }
}

TEST_F(TimeoutTest, siblings_of_a_killed_executor_are_sent_again_without_blame) {
  start_with_cpus(2);
  teach(0, Duration(1000), 512, 2);
  const SessionRef s = session(OnError::continue_);
  const TaskRef slow = timed(s, kSecond), sibling = timed(s, kSecond * 60);
  submit(s, {slow, sibling});
  settle(2, 512);
  ASSERT_EQ(slow->executor, sibling->executor);
  pass(kSecond);
  core->on_tick(now);
  refuse(slow);
  pass(kSecond);
  core->on_tick(now);
  core->on_executor_lost(slow->executor, fake_failure(), {slow.get(), sibling.get()}, now);
  EXPECT_EQ(slow->state, TaskState::failed);
  EXPECT_EQ(sibling->state, TaskState::ready);
  EXPECT_EQ(sibling->crashes, 0);
  EXPECT_TRUE(sibling->extras->attempts.empty());
}

TEST_F(TimeoutTest, a_timed_out_attempt_is_tried_again_with_a_time_of_its_own) {
  const SessionRef s = session();
  const TaskRef a = timed(s, kSecond);
  extras(a).retries = 1;
  submit(s, {a});
  settle();
  pass(kSecond);
  core->on_tick(now);
  refuse(a);
  core->on_task_cancelled(a->executor, *a, now);
  EXPECT_EQ(settle().sent_tasks(), Tasks{a.get()});
  EXPECT_EQ(*core->next_tick(), now + kSecond);
  done(a);
  EXPECT_EQ(a->state, TaskState::finished);
  ASSERT_EQ(a->extras->attempts.size(), 1u);
  EXPECT_EQ(a->extras->attempts[0].kind, FailureKind::timeout);
  EXPECT_EQ(a->extras->attempts[0].duration, kSecond);
}

TEST_F(TimeoutTest, cancelling_a_task_whose_time_is_over_cancels_it) {
  const SessionRef s = session();
  const TaskRef a = timed(s, kSecond);
  submit(s, {a});
  settle();
  pass(kSecond);
  core->on_tick(now);
  core->on_cancel({a}, now);
  EXPECT_EQ(a->state, TaskState::cancelled);
  EXPECT_EQ(a->failure->kind, FailureKind::cancelled);
  refuse(a);
  core->on_task_cancelled(a->executor, *a, now);
  EXPECT_FALSE(core->busy());
}

TEST_F(TimeoutTest, a_doomed_call_ends_with_its_process) {
  start_with_cpus(2);
  teach(0, Duration(1000), 512, 2);
  const SessionRef s = session(OnError::continue_);
  const TaskRef fat = timed(s, kSecond * 60), sibling = timed(s, kSecond * 60);
  submit(s, {fat, sibling});
  settle(2, 512);
  const ExecutorId executor = fat->executor;
  core->on_task_doomed(executor, *fat, fake_failure("too fat", FailureKind::out_of_memory), now);
  EXPECT_EQ(take().killed, std::vector<ExecutorId>{executor});
  core->on_executor_lost(executor, fake_failure(), {fat.get(), sibling.get()}, now);
  EXPECT_EQ(fat->failure->kind, FailureKind::out_of_memory);
  EXPECT_EQ(fat->failure->message, "too fat");
  EXPECT_EQ(sibling->state, TaskState::ready);
}

}  // namespace
}  // namespace rain::graph
