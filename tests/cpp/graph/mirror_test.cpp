// A Core whose tasks run elsewhere.

#include <gtest/gtest.h>

#include "fixture.h"

namespace rain::graph {
namespace {

class MirrorCoreTest : public CoreTest {
 protected:
  void SetUp() override {
    Core::Options options;
    options.cpus = 4;
    options.mirror = true;
    start(options);
  }

  void mirrored(const TaskRef& task, TaskState state, FailurePtr failure = nullptr) {
    Core::Ending ending;
    ending.state = state;
    ending.failure = std::move(failure);
    ending.run_time = Duration(5000);
    if (state == TaskState::finished)
      for (std::size_t i = 0; i < task->outputs.size(); ++i) ending.outputs.push_back(fake_data());
    core->on_mirrored(*task, ending, now);
  }
};

TEST_F(MirrorCoreTest, starts_and_sends_nothing_whatever_happens) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s, {out(a)});
  submit(s, {a, b});
  core->on_prestart(0, 2, now);
  pass(std::chrono::hours(1));
  core->on_tick(now);
  const Asked asked = take();
  EXPECT_EQ(asked.all.size(), asked.changes.size());
  EXPECT_EQ(a->state, TaskState::ready);
  EXPECT_EQ(b->state, TaskState::waiting);
  EXPECT_FALSE(core->busy());
  EXPECT_FALSE(core->next_tick());
}

TEST_F(MirrorCoreTest, a_task_goes_from_ready_to_its_end_and_its_consumers_become_ready) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s, {out(a)}, {.kept = true});
  submit(s, {a, b});
  take();
  mirrored(a, TaskState::finished);
  EXPECT_EQ(b->state, TaskState::ready);
  EXPECT_EQ(a->run_time, Duration(5000));
  EXPECT_EQ(out(a)->state, ObjectState::finished);
  mirrored(b, TaskState::finished);
  const Asked asked = take();
  ASSERT_EQ(asked.changes.size(), 3u);
  EXPECT_EQ(asked.changes[0].from, TaskState::ready);
  EXPECT_EQ(asked.changes[0].to, TaskState::finished);
  EXPECT_EQ(asked.dropped, std::vector<ObjectRecord*>{out(a).get()});
  EXPECT_EQ(out(b)->state, ObjectState::finished);
  EXPECT_EQ(s->unfinished_tasks, 0u);
}

TEST_F(MirrorCoreTest, a_task_that_runs_elsewhere_is_assigned_until_it_ends) {
  const SessionRef s = session(OnError::continue_);
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 5; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  take();
  for (const TaskRef& each : tasks) core->on_mirrored_start(*each, now);
  const Asked asked = take();
  EXPECT_EQ(asked.all.size(), asked.changes.size());
  EXPECT_EQ(asked.changes.at(4).to, TaskState::assigned);
  EXPECT_FALSE(core->busy());
  EXPECT_FALSE(core->next_tick());
  core->on_cancel({tasks[0]}, now);
  EXPECT_EQ(tasks[0]->state, TaskState::cancelled);
  mirrored(tasks[1], TaskState::finished);
  mirrored(tasks[2], TaskState::failed, fake_failure());
  mirrored(tasks[3], TaskState::aborted, fake_failure("lost", FailureKind::ancestor));
  EXPECT_EQ(tasks[1]->state, TaskState::finished);
  EXPECT_EQ(tasks[2]->state, TaskState::failed);
  EXPECT_EQ(tasks[3]->state, TaskState::aborted);
  core->on_all_lost(fake_failure("the server is gone", FailureKind::connection), now);
  EXPECT_EQ(tasks[4]->state, TaskState::failed);
  EXPECT_EQ(s->unfinished_tasks, 0u);
}

TEST_F(MirrorCoreTest, an_end_before_the_inputs_is_refused) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s, {out(a)});
  submit(s, {a, b});
  EXPECT_THROW(mirrored(b, TaskState::finished), std::logic_error);
}

TEST_F(MirrorCoreTest, a_failure_fails_the_session_or_aborts_what_depends_on_it) {
  const SessionRef strict = session(), lenient = session(OnError::continue_);
  const TaskRef a = task(strict), other = task(strict);
  const TaskRef b = task(lenient), c = task(lenient, {out(b)}), d = task(lenient);
  submit(strict, {a, other});
  submit(lenient, {b, c, d});
  take();

  mirrored(a, TaskState::failed, fake_failure());
  EXPECT_EQ(take().failed, std::vector<SessionRecord*>{strict.get()});
  EXPECT_EQ(other->state, TaskState::cancelled);
  EXPECT_EQ(strict->failure->origin, a->id);

  mirrored(b, TaskState::failed, fake_failure());
  EXPECT_EQ(c->state, TaskState::aborted);
  EXPECT_EQ(d->state, TaskState::ready);
  EXPECT_FALSE(lenient->failed);
}

TEST_F(MirrorCoreTest, what_was_cancelled_or_aborted_elsewhere_is_so_here) {
  const SessionRef s = session(OnError::continue_);
  const TaskRef a = task(s), b = task(s, {out(a)}), c = task(s), d = task(s, {out(b)});
  submit(s, {a, b, c, d});
  mirrored(b, TaskState::aborted, fake_failure("its input was lost", FailureKind::ancestor));
  EXPECT_EQ(b->state, TaskState::aborted);
  EXPECT_EQ(d->state, TaskState::aborted);
  mirrored(c, TaskState::cancelled, fake_failure("stopped", FailureKind::cancelled));
  EXPECT_EQ(c->failure->message, "stopped");
  EXPECT_EQ(a->state, TaskState::ready);
  mirrored(a, TaskState::aborted, fake_failure("its input was lost", FailureKind::ancestor));
  EXPECT_EQ(a->state, TaskState::aborted);
}

TEST_F(MirrorCoreTest, cancel_and_close_act_at_once) {
  const SessionRef s = session(OnError::continue_);
  const TaskRef a = task(s), b = task(s, {out(a)}), c = task(s);
  submit(s, {a, b, c});
  core->on_cancel({a}, now);
  EXPECT_EQ(a->state, TaskState::cancelled);
  EXPECT_EQ(b->state, TaskState::aborted);
  core->on_close_session(s, now);
  EXPECT_EQ(c->state, TaskState::cancelled);
}

TEST_F(MirrorCoreTest, a_lost_connection_fails_what_there_is_and_what_comes) {
  const SessionRef s = session(), late = session();
  const TaskRef a = task(s), b = task(s, {out(a)});
  submit(s, {a, b});
  core->on_all_lost(fake_failure("the server is gone", FailureKind::connection), now);
  EXPECT_TRUE(is_terminal(a->state) && is_terminal(b->state));
  EXPECT_EQ(s->failure->kind, FailureKind::connection);
  const TaskRef c = task(late);
  submit(late, {c});
  EXPECT_EQ(c->state, TaskState::failed);
}

TEST_F(MirrorCoreTest, what_a_task_asks_for_is_checked_as_far_as_it_is_known) {
  const SessionRef s = session();
  EXPECT_TRUE(contains(refusal(s, {task(s, {}, {0, 0, 5})}), "needs 5 cpus"));
  const TaskRef anything = task(s);
  extras(anything).resources = {{"gpu", 9 * kResourceUnit}};
  extras(anything).memory_bytes = 1ull << 50;
  extras(anything).timeout = std::chrono::seconds(1);
  EXPECT_EQ(refusal(s, {anything}), "");
  EXPECT_FALSE(core->next_tick());

  Core::Options options;
  options.mirror = true;
  options.resources = {{"gpu", 2 * kResourceUnit}};
  start(options);
  const SessionRef known = session();
  const TaskRef much = task(known);
  extras(much).resources = {{"gpu", 9 * kResourceUnit}};
  EXPECT_TRUE(contains(refusal(known, {much}), "needs 9 gpu"));
}

}  // namespace
}  // namespace rain::graph
