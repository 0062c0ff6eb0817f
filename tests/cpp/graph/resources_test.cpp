// What tasks need besides cpus: admission by sum, indices, fairness, refusals.

#include <gtest/gtest.h>

#include "fixture.h"

namespace rain::graph {
namespace {

using Tasks = std::vector<TaskRecord*>;

class ResourcesTest : public CoreTest {
 protected:
  void SetUp() override {
    Core::Options options;
    options.cpus = 4;
    options.free_slots = 3;
    options.resources = {{"gpu", 2 * kResourceUnit, {"0", "3"}},
                         {"licence", kResourceUnit * 3 / 2},
                         {"memory", std::uint64_t{1} << 30}};
    start(options);
  }
  TaskRef needing(const SessionRef& in, const std::string& name, double amount,
                  std::uint32_t cpus = 1, TypeIndex type = 0) {
    TaskRef made = task(in, {}, {type, 0, cpus});
    extras(made).resources = {{name, static_cast<std::uint64_t>(amount * kResourceUnit)}};
    return made;
  }
  static std::vector<std::uint32_t> indices(const TaskRecord& task) {
    return task.extras->grants.empty() ? std::vector<std::uint32_t>()
                                       : task.extras->grants[0].indices;
  }
};

TEST_F(ResourcesTest, each_call_is_granted_its_own_indices) {
  const SessionRef s = session();
  const TaskRef a = needing(s, "gpu", 1), b = needing(s, "gpu", 1), c = needing(s, "gpu", 1);
  submit(s, {a, b, c});
  EXPECT_EQ(settle().sent_tasks(), (Tasks{a.get(), b.get()}));
  EXPECT_EQ(indices(*a), std::vector<std::uint32_t>{0});
  EXPECT_EQ(indices(*b), std::vector<std::uint32_t>{1});
  done(b);
  EXPECT_EQ(settle().sent_tasks(), Tasks{c.get()});
  EXPECT_EQ(indices(*c), std::vector<std::uint32_t>{1});
  EXPECT_TRUE(b->extras->grants.empty());
}

TEST_F(ResourcesTest, amounts_are_admitted_by_their_sum) {
  const SessionRef s = session();
  const TaskRef a = needing(s, "licence", 1), b = needing(s, "licence", 0.75),
                c = needing(s, "licence", 0.5);
  submit(s, {a, b, c});
  EXPECT_EQ(settle().sent_tasks(), Tasks{a.get()}) << "c does not pass b";
  done(a);
  EXPECT_EQ(settle().sent_tasks(), (Tasks{b.get(), c.get()}));
}

TEST_F(ResourcesTest, memory_is_admitted_by_its_sum) {
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 4; ++i) {
    tasks.push_back(task(s));
    extras(tasks.back()).memory_bytes = 400u << 20;
  }
  submit(s, tasks);
  EXPECT_EQ(settle().sent.size(), 2u);
}

TEST_F(ResourcesTest, who_waits_for_a_resource_does_not_hold_up_the_others) {
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(needing(s, "gpu", 2));
  for (int i = 0; i < 8; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  EXPECT_EQ(settle().sent.size(), 4u) << "one with both gpus, three without";
}

TEST_F(ResourcesTest, a_large_demand_is_not_starved_by_small_ones) {
  const SessionRef s = session();
  const TaskRef large = needing(s, "gpu", 2, 4);
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 20; ++i) {
    tasks.push_back(needing(s, "gpu", 1));
    tasks.push_back(task(s));
  }
  submit(s, tasks);
  Tasks out = settle().sent_tasks();
  submit(s, {large});
  int ended = 0;
  while (large->state != TaskState::assigned) {
    ASSERT_LT(++ended, 40) << "it came before the last of the small ones";
    ASSERT_FALSE(out.empty());
    TaskRecord* first = out.front();
    out.erase(out.begin());
    done(*first);
    for (TaskRecord* each : settle().sent_tasks()) out.push_back(each);
  }
  EXPECT_LT(ended, 12);
  EXPECT_EQ(indices(*large), (std::vector<std::uint32_t>{0, 1}));
}

TEST_F(ResourcesTest, tasks_without_cpus_run_beside_all_cpus_and_in_bounded_number) {
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 5; ++i) tasks.push_back(task(s, {}, {0, 0, 4}));
  for (int i = 0; i < 10; ++i) tasks.push_back(task(s, {}, {0, 0, 0}));
  submit(s, tasks);
  const Tasks sent = settle().sent_tasks();
  EXPECT_EQ(sent.size(), 1u + 3u);
  EXPECT_TRUE(core->busy());
  for (TaskRecord* each : sent) done(*each);
  EXPECT_EQ(settle().sent.size(), 1u + 3u);
}

TEST_F(ResourcesTest, nothing_is_queued_ahead_beside_granted_ones) {
  teach(0, Duration(1000));
  const SessionRef s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 10; ++i) tasks.push_back(needing(s, "gpu", 1));
  submit(s, tasks);
  EXPECT_EQ(settle(1, 512).sent.size(), 2u);
}

TEST_F(ResourcesTest, indices_are_free_again_after_a_crash_a_cancel_and_a_retry) {
  const SessionRef s = session(OnError::continue_);
  const TaskRef a = needing(s, "gpu", 2), b = needing(s, "gpu", 2), c = needing(s, "gpu", 2);
  extras(a).retries = 1;
  submit(s, {a, b, c});
  settle();
  failed(a);
  settle();
  ASSERT_EQ(b->state, TaskState::assigned) << "a waits behind its equals";
  core->on_executor_lost(b->executor, fake_failure(), {b.get()}, now);
  settle();
  ASSERT_EQ(c->state, TaskState::assigned);
  core->on_cancel({c}, now);
  core->on_retracted(c->executor, *c, now);
  settle();
  EXPECT_EQ(indices(*a), (std::vector<std::uint32_t>{0, 1}));
}

TEST_F(ResourcesTest, what_can_never_be_had_is_refused_naming_what_there_is) {
  const SessionRef s = session();
  const TaskRef many = needing(s, "gpu", 3), unknown = needing(s, "fpga", 1),
                half = needing(s, "gpu", 0.5), fat = task(s);
  extras(fat).memory_bytes = std::uint64_t{2} << 30;
  EXPECT_EQ(refusal(s, {many}),
            "task " + many->id.to_string() +
                " needs 3 gpu, but this client has 2 gpu (0, 3): ask for less, or pass "
                "Client(resources={\"gpu\": ...})");
  EXPECT_TRUE(contains(refusal(s, {unknown}),
                       "no such resource; it has 4 cpus, 2 gpu (0, 3), 1.5 licence, 1024 MiB of "
                       "memory"));
  EXPECT_TRUE(contains(refusal(s, {half}), "gpu is had in whole ones"));
  EXPECT_TRUE(contains(refusal(s, {fat}), "needs 2048 MiB of memory, but this client has 1024"));
  EXPECT_TRUE(take().all.empty());
}

}  // namespace
}  // namespace rain::graph
