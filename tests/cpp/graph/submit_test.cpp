#include "graph/submit.h"

#include "fixture.h"

namespace rain::graph {
namespace {

using SubmitTest = CoreTest;

std::string name(const TaskRef& task) {
  return "(" + std::to_string(task->id.session) + "," + std::to_string(task->id.id) + ")";
}
std::string name(const ObjectRef& object) {
  return "(" + std::to_string(object->id.session) + "," + std::to_string(object->id.id) + ")";
}

TEST_F(SubmitTest, tasks_without_unfinished_inputs_are_ready_and_the_others_wait) {
  const SessionRef s = session();
  const ObjectRef c = constant(s);
  const TaskRef other = task(s), a = task(s, {c}), b = task(s, {out(a), c});
  submit(s, {b, a, other}, {c});
  EXPECT_EQ(a->state, TaskState::ready);
  EXPECT_EQ(b->state, TaskState::waiting);
  EXPECT_EQ(c->state, ObjectState::finished);
  EXPECT_EQ(out(b)->state, ObjectState::unfinished);
  EXPECT_EQ(s->unfinished_tasks, 3u);
}

TEST_F(SubmitTest, objects_that_tasks_produce_may_be_listed_or_not) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s);
  submit(s, {a, b}, {out(a)});
  EXPECT_EQ(out(a)->state, ObjectState::unfinished);
  EXPECT_EQ(out(b)->state, ObjectState::unfinished);
}

TEST_F(SubmitTest, an_empty_submit_is_fine) {
  submit(session(), {});
  EXPECT_FALSE(core->busy());
}

TEST_F(SubmitTest, nothing_changes_when_one_of_many_is_wrong) {
  const SessionRef s = session();
  const ObjectRef c = constant(s);
  const TaskRef a = task(s, {c}), b = task(s, {out(a)}, {0, 0, 7});
  EXPECT_TRUE(contains(refusal(s, {a, b}, {c}), "cpus"));
  EXPECT_EQ(a->state, TaskState::draft);
  EXPECT_EQ(out(a)->state, ObjectState::draft);
  EXPECT_EQ(c->state, ObjectState::draft);
  EXPECT_EQ(c->unfinished_consumers, 0u);
  EXPECT_TRUE(take().all.empty());
  b->cpus = 1;
  EXPECT_EQ(refusal(s, {a, b}, {c}), "");
}

TEST_F(SubmitTest, more_cpus_than_the_client_has_are_refused_with_the_remedy) {
  start_with_cpus(2);
  const SessionRef s = session();
  const TaskRef a = task(s, {}, {0, 0, 4});
  EXPECT_EQ(refusal(s, {a}), "task " + a->id.to_string() +
                                 " needs 4 cpus, but this client has 2: pass Client(cpus=4) or "
                                 "ask for fewer");
  a->cpus = 0;
  EXPECT_EQ(refusal(s, {a}), "");
}

TEST_F(SubmitTest, the_same_task_or_object_twice_is_refused) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  const ObjectRef c = constant(s, true);
  EXPECT_EQ(refusal(s, {a, a}), "Task " + name(a) + " already in the graph");
  EXPECT_EQ(refusal(s, {}, {c, c}), "State already contains object with id " + name(c));
  submit(s, {a}, {c});
  EXPECT_EQ(refusal(s, {a}), "Task " + name(a) + " already in the graph");
  EXPECT_EQ(refusal(s, {}, {c}), "State already contains object with id " + name(c));
}

TEST_F(SubmitTest, an_object_has_a_producer_or_data_and_not_both) {
  const SessionRef s = session();
  ObjectRef neither = constant(s);
  neither->data = nullptr;
  EXPECT_EQ(refusal(s, {}, {neither}),
            "Object " + name(neither) + " submitted with neither producer nor data.");
  const TaskRef a = task(s);
  out(a)->data = fake_data(5);
  EXPECT_EQ(refusal(s, {a}), "Object " + name(out(a)) + " submitted with both producer task " +
                                 name(a) + " and data of size 5");
}

TEST_F(SubmitTest, an_object_has_one_producer) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s);
  b->outputs.push_back(out(a));
  EXPECT_EQ(refusal(s, {a, b}), "Object " + name(out(a)) + " already has producer (task " +
                                    name(a) + ") when creating task " + name(b));
}

TEST_F(SubmitTest, objects_of_another_session_are_refused) {
  const SessionRef s = session(), other = session();
  const ObjectRef c = constant(other);
  const TaskRef a = task(s, {c}), b = task(other);
  EXPECT_EQ(refusal(s, {a}, {}),
            "Input object " + name(c) + " for task " + name(a) + " is from a different session");
  EXPECT_TRUE(contains(refusal(s, {b}), "different session"));
  EXPECT_TRUE(contains(refusal(s, {}, {c}), "different session"));
}

TEST_F(SubmitTest, an_input_that_was_not_submitted_is_refused) {
  const SessionRef s = session();
  const ObjectRef c = constant(s);
  const TaskRef producer = task(s), a = task(s, {c}), b = task(s, {out(producer)});
  EXPECT_TRUE(contains(refusal(s, {a}), "Object " + name(c) + " not found"));
  EXPECT_TRUE(contains(refusal(s, {b}), "Object " + name(out(producer)) + " not found"));
  EXPECT_TRUE(contains(refusal(s, {}, {out(producer)}), "without its producer"));
}

TEST_F(SubmitTest, an_input_whose_data_are_gone_is_refused) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  settle();
  done(a);
  const TaskRef b = task(s, {out(a)});
  EXPECT_TRUE(contains(refusal(s, {b}), "Can't create Task " + name(b) +
                                            " with Finished input object " + name(out(a))));
}

TEST_F(SubmitTest, kept_and_unfinished_objects_of_earlier_submits_are_good_inputs) {
  const SessionRef s = session();
  const TaskRef a = task(s, {}, {0, 0, 1, 1, true}), b = task(s);
  submit(s, {a, b});
  settle();
  done(a);
  const TaskRef c = task(s, {out(a), out(b)}), d = task(s, {out(a)});
  submit(s, {c, d});
  EXPECT_EQ(c->state, TaskState::waiting);
  EXPECT_EQ(d->state, TaskState::ready);
}

TEST_F(SubmitTest, a_cycle_is_refused_and_names_its_tasks) {
  const SessionRef s = session();
  const TaskRef before = task(s), a = task(s, {out(before)}), b = task(s, {out(a)}),
                c = task(s, {out(b)}), after = task(s, {out(c)});
  a->inputs.push_back(out(c));
  const std::string text = refusal(s, {before, a, b, c, after});
  EXPECT_TRUE(contains(text, "cycle of 3 tasks"));
  EXPECT_TRUE(contains(text, name(a) + " -> " + name(b)));
  EXPECT_TRUE(contains(text, name(b) + " -> " + name(c)));
  EXPECT_TRUE(contains(text, name(c) + " -> " + name(a)));
  EXPECT_FALSE(contains(text, name(before)));
  EXPECT_FALSE(contains(text, name(after)));
  a->inputs.clear();
  EXPECT_EQ(refusal(s, {before, a, b, c, after}), "");
}

TEST_F(SubmitTest, a_task_that_eats_its_own_output_is_a_cycle) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  a->inputs.push_back(out(a));
  EXPECT_TRUE(contains(refusal(s, {a}), "cycle of 1 tasks: " + name(a) + " -> " + name(a)));
  a->inputs.clear();
}

TEST_F(SubmitTest, closed_and_failed_sessions_are_refused) {
  const SessionRef s = session(), t = session();
  core->on_close_session(s, now);
  EXPECT_TRUE(contains(refusal(s, {task(s)}), "session 1 is closed"));
  const TaskRef bad = task(t);
  submit(t, {bad});
  settle();
  failed(bad, fake_failure("no such column"));
  const std::string text = refusal(t, {task(t)});
  EXPECT_TRUE(contains(text, "session 2 has failed"));
  EXPECT_TRUE(contains(text, "no such column"));
}

TEST_F(SubmitTest, depth_is_the_longest_path_whatever_the_order) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s, {out(a)}), c = task(s, {out(b), out(a)}),
                d = task(s, {out(a), out(c)});
  submit(s, {d, b, a, c});
  EXPECT_EQ(a->depth, 0u);
  EXPECT_EQ(b->depth, 1u);
  EXPECT_EQ(c->depth, 2u);
  EXPECT_EQ(d->depth, 3u);
  const TaskRef e = task(s, {out(d)});
  submit(s, {e});
  EXPECT_EQ(e->depth, 4u);
}

/// Invariants are not walked here: the walk is what would take long.
class LargeSubmitTest : public CoreTest {
 protected:
  static constexpr int kTasks = 1'000'000;

  void SetUp() override { core = std::make_unique<Core>(Core::Options()); }

  std::vector<TaskRef> chain(const SessionRef& s) {
    std::vector<TaskRef> tasks{task(s)};
    while (tasks.size() < kTasks) tasks.push_back(task(s, {out(tasks.back())}));
    return tasks;
  }
};

TEST_F(LargeSubmitTest, a_chain_of_a_million_is_submitted_backwards_run_and_let_go) {
  const SessionRef s = session();
  std::vector<TaskRef> tasks = chain(s);
  const TaskRef last = tasks.back();
  std::reverse(tasks.begin(), tasks.end());
  submit(s, std::move(tasks));
  EXPECT_EQ(last->depth, kTasks - 1u);
  std::vector<Command> commands;
  while (!is_terminal(last->state)) {
    core->take_commands(commands);
    for (Command& command : commands) {
      if (auto* c = std::get_if<SpawnExecutor>(&command)) ready(c->executor, 1, 512);
      if (auto* c = std::get_if<SendCall>(&command)) done(c->task);
    }
  }
  EXPECT_EQ(last->state, TaskState::finished);
  EXPECT_EQ(s->unfinished_tasks, 0u);
}

TEST_F(LargeSubmitTest, a_chain_of_a_million_is_aborted_by_its_first_task) {
  const SessionRef s = session(OnError::continue_);
  std::vector<TaskRef> tasks = chain(s);
  const TaskRef first = tasks.front(), last = tasks.back();
  submit(s, std::move(tasks));
  settle();
  failed(first);
  EXPECT_EQ(last->state, TaskState::aborted);
  EXPECT_EQ(last->failure->origin, first->id);
  EXPECT_EQ(s->unfinished_tasks, 0u);
}

TEST_F(LargeSubmitTest, a_million_consumers_of_one_object_are_cancelled_together) {
  const SessionRef s = session();
  const TaskRef source = task(s);
  std::vector<TaskRef> consumers;
  while (consumers.size() < kTasks) consumers.push_back(task(s, {out(source)}));
  std::vector<TaskRef> all = consumers;
  all.push_back(source);
  submit(s, std::move(all));
  core->on_cancel(consumers, now);
  EXPECT_EQ(s->unfinished_tasks, 1u);
  EXPECT_TRUE(out(source)->waiting_consumers.empty());
  EXPECT_NO_THROW(core->check_invariants());
}

TEST_F(LargeSubmitTest, a_chain_of_a_million_drafts_is_let_go) {
  const SessionRef s = session();
  std::vector<TaskRef> tasks = chain(s);
  const ObjectRef end = out(tasks.back());
  tasks.clear();
  EXPECT_EQ(end->producer, nullptr);
}

}  // namespace
}  // namespace rain::graph
