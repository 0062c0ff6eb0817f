// How long data and records live.

#include <gtest/gtest.h>

#include "fixture.h"

namespace rain::graph {
namespace {

using DataTest = CoreTest;
using Objects = std::vector<ObjectRecord*>;

TEST_F(DataTest, data_go_when_the_last_consumer_finished) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s, {out(a)}), c = task(s, {out(a), out(a)});
  submit(s, {a, b, c});
  settle();
  done(a);
  EXPECT_EQ(out(a)->state, ObjectState::finished);
  settle();
  done(b);
  EXPECT_EQ(out(a)->state, ObjectState::finished);
  settle();
  done(c);
  EXPECT_EQ(out(a)->state, ObjectState::removed);
  EXPECT_EQ(out(a)->data, nullptr);
}

TEST_F(DataTest, dropped_data_come_with_the_command) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  settle();
  const auto data = fake_data(77);
  core->on_task_done(a->executor, *a, {data}, Duration(1), now);
  for (const Command& command : core->take_commands())
    if (const auto* drop = std::get_if<DropData>(&command)) {
      EXPECT_EQ(drop->data, data);
      EXPECT_EQ(drop->object, out(a));
      return;
    }
  FAIL() << "nobody needs it, but it was not dropped";
}

TEST_F(DataTest, kept_data_stay_until_unkeep) {
  const SessionRef s = session();
  const TaskRef a = task(s, {}, {0, 0, 1, 1, true}), b = task(s, {out(a)});
  submit(s, {a, b});
  settle();
  done(a);
  settle();
  done(b);
  EXPECT_EQ(out(a)->state, ObjectState::finished);
  take();
  core->on_unkeep(*out(a), now);
  EXPECT_EQ(out(a)->state, ObjectState::removed);
  EXPECT_EQ(take().dropped, Objects{out(a).get()});
  core->on_unkeep(*out(a), now);
  EXPECT_TRUE(take().all.empty());
}

TEST_F(DataTest, unkeep_before_the_end_lets_consumers_have_it) {
  const SessionRef s = session();
  const TaskRef a = task(s, {}, {0, 0, 1, 1, true}), b = task(s, {out(a)});
  submit(s, {a, b});
  settle();
  core->on_unkeep(*out(a), now);
  done(a);
  EXPECT_EQ(out(a)->state, ObjectState::finished);
  settle();
  done(b);
  EXPECT_EQ(out(a)->state, ObjectState::removed);
}

TEST_F(DataTest, a_constant_without_consumers_that_nobody_kept_goes_at_once) {
  const SessionRef s = session();
  const ObjectRef c = constant(s), kept = constant(s, true);
  submit(s, {}, {c, kept});
  EXPECT_EQ(c->state, ObjectState::removed);
  EXPECT_EQ(kept->state, ObjectState::finished);
  EXPECT_EQ(take().dropped, Objects{c.get()});
}

TEST_F(DataTest, inputs_go_when_their_consumer_is_cancelled) {
  const SessionRef s = session();
  const ObjectRef c = constant(s);
  const TaskRef a = task(s), b = task(s, {c, out(a)});
  submit(s, {a, b}, {c});
  core->on_cancel({b}, now);
  EXPECT_EQ(c->state, ObjectState::removed);
  EXPECT_EQ(out(a)->state, ObjectState::unfinished);
}

TEST_F(DataTest, bytes_of_inputs_and_outputs_are_counted) {
  const SessionRef s = session();
  const ObjectRef c = constant(s);
  const TaskRef a = task(s, {c}, {0, 0, 1, 2});
  submit(s, {a}, {c});
  settle();
  core->on_task_done(a->executor, *a, {fake_data(100), fake_data(11)}, Duration(5), now);
  EXPECT_EQ(a->input_bytes, 8u);
  EXPECT_EQ(a->output_bytes, 111u);
  EXPECT_EQ(a->run_time, Duration(5));
}

TEST_F(DataTest, a_finished_task_that_nobody_names_is_forgotten) {
  const SessionRef s = session();
  TaskRef a = task(s);
  ObjectRef object = out(a);
  submit(s, {a});
  settle();
  done(a);
  take();
  EXPECT_EQ(a->use_count(), 1u) << "only we name it";
  a = TaskRef();
  EXPECT_EQ(object->producer, nullptr);
  EXPECT_EQ(object->use_count(), 1u);
}

TEST_F(DataTest, a_live_task_that_nobody_names_is_run) {
  const SessionRef s = session();
  TaskRef a = task(s);
  const TaskId id = a->id;
  submit(s, {std::move(a)});
  const Asked asked = settle();
  ASSERT_EQ(asked.sent.size(), 1u);
  EXPECT_EQ(asked.sent[0].second->id, id);
}

TEST_F(DataTest, a_cancelled_task_is_named_until_its_call_is_over) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  settle();
  core->on_cancel({a}, now);
  take();
  EXPECT_EQ(a->use_count(), 2u);
  done(a);
  take();
  EXPECT_EQ(a->use_count(), 1u);
}

TEST_F(DataTest, the_core_may_end_before_its_calls_do) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s);
  submit(s, {a, b});
  settle();
  core->on_cancel({a}, now);
  core.reset();
  EXPECT_EQ(a->use_count(), 1u);
}

}  // namespace
}  // namespace rain::graph
