// Failure policy, cancel, close, and the death of executors.

#include <gtest/gtest.h>

#include "fixture.h"

namespace rain::graph {
namespace {

using Tasks = std::vector<TaskRecord*>;
using FailTest = CoreTest;
using ContinueTest = CoreTest;
using CancelTest = CoreTest;
using CloseTest = CoreTest;
using LostTest = CoreTest;

TEST_F(FailTest, the_first_failure_ends_its_session_and_no_other) {
  start_with_cpus(4);
  const SessionRef s = session(), other = session();
  const TaskRef bad = task(s), after = task(s, {out(bad)}), beside = task(s), theirs = task(other);
  submit(s, {bad, after, beside});
  submit(other, {theirs});
  settle();
  failed(bad, fake_failure("no such column\nat line 3"));
  EXPECT_EQ(bad->state, TaskState::failed);
  EXPECT_EQ(bad->failure->message, "no such column\nat line 3");
  EXPECT_EQ(bad->failure->origin, bad->id);
  EXPECT_EQ(bad->run_time, Duration(1000));
  for (const TaskRef& each : {after, beside}) {
    EXPECT_EQ(each->state, TaskState::cancelled);
    EXPECT_EQ(each->failure->kind, FailureKind::session);
    EXPECT_EQ(each->failure->origin, bad->id);
    EXPECT_TRUE(contains(each->failure->message, bad->id.to_string()));
    EXPECT_TRUE(contains(each->failure->message, "no such column"));
    EXPECT_EQ(out(each)->state, ObjectState::removed);
  }
  EXPECT_TRUE(s->failed);
  EXPECT_EQ(s->failure, bad->failure);
  EXPECT_EQ(s->unfinished_tasks, 0u);
  const Asked asked = take();
  EXPECT_EQ(asked.failed, std::vector<SessionRecord*>{s.get()});
  ASSERT_EQ(asked.retracts.size(), 1u);
  EXPECT_EQ(asked.retracts[0].second, beside.get());
  EXPECT_EQ(theirs->state, TaskState::assigned);
  EXPECT_FALSE(other->failed);
}

TEST_F(FailTest, later_failures_and_results_of_the_session_are_thrown_away) {
  start_with_cpus(2);
  const SessionRef s = session();
  const TaskRef a = task(s, {}, {0, 0, 1, 1, true}), b = task(s, {}, {0, 0, 1, 1, true});
  submit(s, {a, b});
  settle();
  failed(a, fake_failure("first"));
  take();
  done(b);
  EXPECT_EQ(b->state, TaskState::cancelled);
  EXPECT_EQ(out(b)->state, ObjectState::removed);
  EXPECT_EQ(out(b)->data, nullptr);
  EXPECT_EQ(s->failure->message, "first");
  EXPECT_TRUE(take().failed.empty());
  EXPECT_FALSE(core->busy());
}

TEST_F(FailTest, kept_data_of_the_session_go_too) {
  const SessionRef s = session();
  const ObjectRef c = constant(s, true);
  const TaskRef a = task(s, {c}, {0, 0, 1, 1, true}), b = task(s, {out(a)});
  submit(s, {a, b}, {c});
  settle();
  done(a);
  settle();
  failed(b);
  EXPECT_EQ(out(a)->state, ObjectState::removed);
  EXPECT_EQ(c->state, ObjectState::removed);
  EXPECT_EQ(take().dropped.size(), 2u);
}

TEST_F(FailTest, a_failure_without_text_still_says_something) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  settle();
  failed(a, nullptr);
  ASSERT_TRUE(a->failure);
  EXPECT_FALSE(a->failure->message.empty());
}

TEST_F(FailTest, a_wrong_number_of_outputs_is_the_tasks_failure) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  settle();
  core->on_task_done(a->executor, *a, {}, Duration(1), now);
  EXPECT_EQ(a->state, TaskState::failed);
  EXPECT_TRUE(contains(a->failure->message, "0 outputs, but the task has 1"));
}

TEST_F(ContinueTest, dependants_are_aborted_and_the_rest_goes_on) {
  const SessionRef s = session(OnError::continue_);
  const TaskRef bad = task(s), good = task(s), child = task(s, {out(bad), out(good)}),
                grandchild = task(s, {out(child)}), other = task(s, {out(good)});
  submit(s, {bad, good, child, grandchild, other});
  settle();
  failed(bad, fake_failure("no such column"));
  for (const TaskRef& each : {child, grandchild}) {
    EXPECT_EQ(each->state, TaskState::aborted);
    EXPECT_EQ(each->failure->kind, FailureKind::ancestor);
    EXPECT_EQ(each->failure->origin, bad->id);
    EXPECT_TRUE(contains(each->failure->message, bad->id.to_string()));
    EXPECT_TRUE(contains(each->failure->message, "no such column"));
  }
  EXPECT_FALSE(s->failed);
  settle();
  done(good);
  settle();
  done(other);
  EXPECT_EQ(other->state, TaskState::finished);
  EXPECT_EQ(s->unfinished_tasks, 0u);
}

TEST_F(ContinueTest, a_submit_on_what_did_not_finish_is_refused) {
  const SessionRef s = session(OnError::continue_);
  const TaskRef bad = task(s);
  submit(s, {bad});
  settle();
  failed(bad);
  EXPECT_TRUE(contains(refusal(s, {task(s, {out(bad)})}), "did not finish"));
}

TEST_F(CancelTest, waiting_and_ready_tasks_end_at_once) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s), c = task(s, {out(a)});
  submit(s, {a, b, c});
  settle();
  core->on_cancel({b, c}, now);
  EXPECT_EQ(b->state, TaskState::cancelled);
  EXPECT_EQ(c->state, TaskState::cancelled);
  EXPECT_EQ(c->failure->kind, FailureKind::cancelled);
  EXPECT_FALSE(s->failed);
  done(a);
  EXPECT_EQ(a->state, TaskState::finished);
  const TaskRef d = task(s);
  submit(s, {d});
  EXPECT_EQ(settle().sent_tasks(), Tasks{d.get()}) << "the session lives";
}

TEST_F(CancelTest, dependants_are_cancelled_with_fail_and_aborted_with_continue) {
  for (const OnError policy : {OnError::fail, OnError::continue_}) {
    const SessionRef s = session(policy);
    const TaskRef a = task(s), b = task(s, {out(a)}), c = task(s, {out(b)});
    submit(s, {a, b, c});
    core->on_cancel({a}, now);
    const bool aborts = policy == OnError::continue_;
    for (const TaskRef& each : {b, c}) {
      EXPECT_EQ(each->state, aborts ? TaskState::aborted : TaskState::cancelled);
      EXPECT_EQ(each->failure->kind, aborts ? FailureKind::ancestor : FailureKind::cancelled);
      EXPECT_EQ(each->failure->origin, a->id);
      EXPECT_TRUE(contains(each->failure->message, "was cancelled"));
    }
  }
}

TEST_F(CancelTest, terminal_tasks_and_drafts_are_left_alone) {
  const SessionRef s = session();
  const TaskRef a = task(s), draft = task(s);
  submit(s, {a});
  settle();
  done(a);
  take();
  core->on_cancel({a, a, draft}, now);
  EXPECT_EQ(a->state, TaskState::finished);
  EXPECT_EQ(draft->state, TaskState::draft);
  EXPECT_TRUE(take().all.empty());
}

TEST_F(CancelTest, a_call_that_has_not_begun_is_taken_back) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s);
  submit(s, {a, b});
  settle();
  core->on_cancel({a}, now);
  EXPECT_EQ(a->state, TaskState::cancelled) << "for waiters at once";
  EXPECT_TRUE(a->cancel_requested);
  const Asked asked = take();
  ASSERT_EQ(asked.retracts.size(), 1u);
  EXPECT_TRUE(asked.sent.empty()) << "the cpu is in use until the answer";
  core->on_retracted(a->executor, *a, now);
  EXPECT_EQ(take().sent_tasks(), Tasks{b.get()});
  EXPECT_EQ(a->state, TaskState::cancelled);
}

TEST_F(CancelTest, a_call_that_has_begun_is_asked_to_stop_and_killed_after_the_grace) {
  const SessionRef s = session(), other = session();
  const TaskRef a = task(s), theirs = task(other);
  submit(s, {a});
  submit(other, {theirs});
  const ExecutorId executor = settle().sent[0].first;
  core->on_cancel({a}, now);
  core->on_retract_refused(executor, *a, now);
  Asked asked = take();
  ASSERT_EQ(asked.stops.size(), 1u);
  ASSERT_TRUE(core->next_tick().has_value());
  EXPECT_EQ(*core->next_tick(), now + Core::Options().cancel_grace);
  core->on_tick(now);
  EXPECT_TRUE(take().killed.empty());
  now = *core->next_tick();
  core->on_tick(now);
  EXPECT_EQ(take().killed, std::vector<ExecutorId>{executor});
  EXPECT_FALSE(core->next_tick().has_value());
  core->on_executor_lost(executor, fake_failure("killed", FailureKind::executor), {a.get()}, now);
  EXPECT_EQ(a->state, TaskState::cancelled);
  EXPECT_EQ(a->failure->kind, FailureKind::cancelled);
  EXPECT_EQ(settle().sent_tasks(), Tasks{theirs.get()});
}

TEST_F(CancelTest, whoever_stops_in_time_is_not_killed) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  settle();
  core->on_cancel({a}, now);
  core->on_retract_refused(a->executor, *a, now);
  core->on_task_cancelled(a->executor, *a, now);
  EXPECT_FALSE(core->next_tick().has_value());
  EXPECT_FALSE(core->busy());
  const TaskRef b = task(s);
  submit(s, {b});
  const Asked asked = settle();
  EXPECT_TRUE(asked.spawned.empty());
  EXPECT_EQ(asked.sent_tasks(), Tasks{b.get()});
}

TEST_F(CancelTest, others_on_a_killed_executor_are_sent_again_even_if_begun) {
  start_with_cpus(2);
  teach(0, Duration(1000), 16, 2);
  const SessionRef s = session(), other = session();
  const TaskRef a = task(s);
  submit(s, {a});
  const ExecutorId executor = settle().sent[0].first;
  std::vector<TaskRef> theirs;
  for (int i = 0; i < 5; ++i) theirs.push_back(task(other));
  submit(other, theirs);
  ASSERT_EQ(settle().sent.size(), 5u);
  core->on_cancel({a}, now);
  core->on_retract_refused(executor, *a, now);
  now = *core->next_tick();
  core->on_tick(now);
  take();
  core->on_executor_lost(executor, fake_failure("killed", FailureKind::executor),
                         {a.get(), theirs[0].get()}, now);
  for (const TaskRef& each : theirs) {
    EXPECT_EQ(each->state, TaskState::ready);
    EXPECT_EQ(each->crashes, 0);
  }
  EXPECT_EQ(settle(2, 16).sent.size(), 5u);
}

TEST_F(CancelTest, a_cancel_that_nobody_asked_for_ends_the_task_as_cancelled) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s, {out(a)});
  submit(s, {a, b});
  settle();
  core->on_task_cancelled(a->executor, *a, now);
  EXPECT_EQ(a->state, TaskState::cancelled);
  EXPECT_EQ(b->state, TaskState::cancelled);
}

TEST_F(CloseTest, closing_ends_the_tasks_and_drops_the_data) {
  const SessionRef s = session(), other = session();
  const ObjectRef c = constant(s, true);
  const TaskRef a = task(s, {c}), b = task(s, {out(a)}), theirs = task(other);
  submit(s, {a, b}, {c});
  submit(other, {theirs});
  settle();
  core->on_close_session(s, now);
  EXPECT_EQ(a->state, TaskState::cancelled);
  EXPECT_EQ(b->failure->kind, FailureKind::session);
  EXPECT_EQ(c->state, ObjectState::removed);
  EXPECT_TRUE(s->closed);
  EXPECT_FALSE(s->failed);
  EXPECT_EQ(take().dropped, std::vector<ObjectRecord*>{c.get()});
  core->on_retracted(a->executor, *a, now);
  EXPECT_EQ(settle().sent_tasks(), Tasks{theirs.get()});
  core->on_close_session(s, now);
  EXPECT_TRUE(take().all.empty()) << "twice is as good as once";
}

TEST_F(LostTest, what_had_begun_fails_and_the_rest_is_sent_again) {
  teach(0, Duration(1000));
  const SessionRef s = session(OnError::continue_);
  const TaskRef a = task(s), b = task(s), c = task(s);
  submit(s, {a, b, c});
  const ExecutorId executor = settle().sent[0].first;
  core->on_executor_lost(executor, fake_failure("signal 11", FailureKind::executor), {a.get()},
                         now);
  EXPECT_EQ(a->state, TaskState::failed);
  EXPECT_EQ(a->failure->message, "signal 11");
  EXPECT_EQ(a->failure->origin, a->id);
  EXPECT_EQ(b->crashes, 1);
  const Asked asked = settle(1, 512);
  EXPECT_EQ(asked.spawned.size(), 1u);
  EXPECT_EQ(asked.sent_tasks(), (Tasks{b.get(), c.get()})) << "in the order they had";
}

TEST_F(LostTest, each_failure_has_what_its_own_task_had_said) {
  teach(0, Duration(1000));
  const SessionRef s = session(OnError::continue_);
  const TaskRef a = task(s), b = task(s), c = task(s);
  submit(s, {a, b, c});
  const FailurePtr cause = fake_failure("signal 6", FailureKind::executor);
  core->on_executor_lost(settle().sent[0].first, cause,
                         {{a.get(), "a was here"}, {b.get(), "b too"}, {c.get()}}, now);
  EXPECT_EQ(a->failure->debug, "a was here");
  EXPECT_EQ(b->failure->debug, "b too");
  EXPECT_EQ(c->failure->debug, cause->debug);
  EXPECT_EQ(b->failure->message, "signal 6");
}

TEST_F(LostTest, an_innocent_call_is_repeated_crash_limit_times) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  for (int i = 0; i < Core::Options().crash_limit; ++i) {
    const ExecutorId executor = settle().sent[0].first;
    core->on_executor_lost(executor, fake_failure(), {}, now);
    EXPECT_EQ(a->state, TaskState::ready);
  }
  core->on_executor_lost(settle().sent[0].first, fake_failure("died again"), {}, now);
  EXPECT_EQ(a->state, TaskState::failed);
  EXPECT_EQ(a->failure->message, "died again");
}

TEST_F(LostTest, each_executor_that_never_registers_fails_one_task) {
  const SessionRef s = session(OnError::continue_);
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 6; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  for (int failures = 1; failures <= 2; ++failures) {
    core->on_executor_lost(take().spawned[0], fake_failure("exit 127"), {}, now);
    EXPECT_EQ(s->unfinished_tasks, 6u - failures);
  }
  core->on_executor_lost(take().spawned[0], fake_failure("exit 127"), {}, now);
  EXPECT_EQ(s->unfinished_tasks, 0u) << "the third in a row fails them all";
  EXPECT_EQ(tasks[5]->failure->message, "exit 127");
  EXPECT_FALSE(core->busy());
  const TaskRef later = task(s);
  submit(s, {later});
  EXPECT_EQ(take().spawned.size(), 1u) << "a later task tries again";
}

TEST_F(LostTest, a_start_that_works_forgives_those_that_did_not) {
  const SessionRef s = session(OnError::continue_);
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 6; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  core->on_executor_lost(take().spawned[0], fake_failure(), {}, now);
  core->on_executor_lost(take().spawned[0], fake_failure(), {}, now);
  const ExecutorId executor = take().spawned[0];
  ready(executor);
  core->on_executor_lost(executor, fake_failure(), {take().sent[0].second}, now);
  core->on_executor_lost(take().spawned[0], fake_failure(), {}, now);
  EXPECT_EQ(s->unfinished_tasks, 2u);
}

TEST_F(LostTest, a_type_that_cannot_start_fails_its_own_tasks_only) {
  start_with_cpus(2);
  const SessionRef s = session(OnError::continue_);
  const TaskRef bad = task(s, {}, {0}), good = task(s, {}, {1});
  submit(s, {bad, good});
  const auto spawned = take().spawned;
  ASSERT_EQ(spawned.size(), 2u);
  core->on_executor_lost(spawned[0], fake_failure(), {}, now);
  ready(spawned[1]);
  EXPECT_EQ(bad->state, TaskState::failed);
  EXPECT_EQ(good->state, TaskState::assigned);
}

TEST_F(LostTest, a_cancelled_call_goes_with_its_executor) {
  const SessionRef s = session();
  TaskRef a = task(s);
  submit(s, {a});
  const ExecutorId executor = settle().sent[0].first;
  core->on_cancel({a}, now);
  core->on_executor_lost(executor, fake_failure(), {a.get()}, now);
  EXPECT_EQ(a->failure->kind, FailureKind::cancelled);
  EXPECT_FALSE(s->failed);
  take();
  EXPECT_EQ(a->use_count(), 1u);
}

TEST_F(LostTest, what_comes_from_an_executor_after_its_end_is_ignored) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  const ExecutorId executor = settle().sent[0].first;
  core->on_executor_lost(executor, fake_failure(), {}, now);
  take();
  core->on_task_done(executor, *a, {fake_data()}, Duration(1), now);
  core->on_task_failed(executor, *a, fake_failure(), Duration(1), now);
  core->on_executor_lost(executor, fake_failure(), {}, now);
  ready(executor);
  EXPECT_EQ(a->state, TaskState::ready);
  EXPECT_TRUE(take().all.empty());
}

TEST_F(LostTest, all_lost_ends_everything_and_what_comes_later) {
  start_with_cpus(2);
  const SessionRef s = session(), t = session(OnError::continue_);
  const TaskRef a = task(s), b = task(s, {out(a)}), c = task(t), d = task(t, {out(c)});
  submit(s, {a, b});
  submit(t, {c, d});
  settle();
  const FailurePtr cause = fake_failure("the launcher died", FailureKind::launcher);
  core->on_all_lost(cause, now);
  EXPECT_EQ(a->state, TaskState::failed);
  EXPECT_EQ(b->state, TaskState::cancelled);
  EXPECT_EQ(c->state, TaskState::failed);
  EXPECT_EQ(d->state, TaskState::aborted);
  EXPECT_EQ(s->failure->kind, FailureKind::launcher);
  EXPECT_FALSE(core->busy());
  const TaskRef late = task(t);
  submit(t, {late});
  EXPECT_EQ(late->state, TaskState::failed);
  EXPECT_EQ(late->failure->message, "the launcher died");
  EXPECT_TRUE(take().spawned.empty());
}

}  // namespace
}  // namespace rain::graph
