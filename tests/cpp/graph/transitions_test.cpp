#include "graph/transitions.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "fixture.h"

namespace rain::graph {
namespace {

constexpr TaskState kAll[] = {TaskState::draft,     TaskState::waiting,  TaskState::ready,
                              TaskState::assigned,  TaskState::finished, TaskState::failed,
                              TaskState::cancelled, TaskState::aborted};

TEST(TransitionsTest, only_the_listed_moves_are_legal) {
  using S = TaskState;
  const std::set<std::pair<S, S>> legal = {
      {S::draft, S::waiting},     {S::draft, S::ready},        {S::waiting, S::ready},
      {S::waiting, S::cancelled}, {S::waiting, S::aborted},    {S::ready, S::assigned},
      {S::ready, S::failed},      {S::ready, S::cancelled},    {S::assigned, S::ready},
      {S::ready, S::finished},    {S::ready, S::aborted},      {S::assigned, S::finished},
      {S::assigned, S::failed},   {S::assigned, S::cancelled}, {S::assigned, S::aborted},
  };
  for (const S from : kAll)
    for (const S to : kAll)
      EXPECT_EQ(may_move(from, to), legal.count({from, to}) == 1)
          << to_string(from) << " -> " << to_string(to);
}

TEST(TransitionsTest, terminal_states_are_never_left) {
  for (const TaskState from : kAll)
    for (const TaskState to : kAll)
      if (is_terminal(from)) {
        EXPECT_FALSE(may_move(from, to));
      }
}

using TransitionsInCoreTest = CoreTest;

TEST_F(TransitionsInCoreTest, each_change_is_told_once_and_in_order) {
  const SessionRef s = session();
  const TaskRef a = task(s), b = task(s, {out(a)});
  submit(s, {a, b});
  Asked asked = settle();
  done(a);
  Asked later = settle();
  done(b);
  Asked last = settle();
  std::vector<std::pair<TaskState, TaskState>> of_b;
  for (const Asked* part : {&asked, &later, &last})
    for (const TaskChanged& change : part->changes)
      if (change.task == b) of_b.push_back({change.from, change.to});
  using S = TaskState;
  EXPECT_EQ(of_b, (std::vector<std::pair<S, S>>{{S::draft, S::waiting},
                                                {S::waiting, S::ready},
                                                {S::ready, S::assigned},
                                                {S::assigned, S::finished}}));
}

TEST_F(TransitionsInCoreTest, a_corrupted_record_is_found_by_the_walk) {
  const SessionRef s = session();
  const TaskRef a = task(s);
  submit(s, {a});
  EXPECT_NO_THROW(core->check_invariants());
  a->unfinished_inputs = 1;
  EXPECT_THROW(core->check_invariants(), std::logic_error);
  a->unfinished_inputs = 0;
  out(a)->unfinished_consumers = 0;
  s->unfinished_tasks = 2;
  EXPECT_THROW(core->check_invariants(), std::logic_error);
  s->unfinished_tasks = 1;
  EXPECT_NO_THROW(core->check_invariants());
}

}  // namespace
}  // namespace rain::graph
