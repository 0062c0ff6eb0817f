#include "remote/cut.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

namespace rain::remote {
namespace {

using Parts = std::vector<std::vector<std::uint32_t>>;

constexpr std::uint64_t kEverywhere = ~std::uint64_t{0};

/// Builds a graph task by task; each gets the next index.
struct Graph {
  std::uint32_t add(const std::vector<std::uint32_t>& producers, float seconds = 0,
                    std::uint64_t where = kEverywhere, bool alone = false) {
    tasks.producers.insert(tasks.producers.end(), producers.begin(), producers.end());
    tasks.first.push_back(static_cast<std::uint32_t>(tasks.producers.size()));
    tasks.seconds.push_back(seconds);
    tasks.where.push_back(where);
    tasks.alone.push_back(alone);
    return static_cast<std::uint32_t>(tasks.size() - 1);
  }
  Parts cut(std::uint32_t slots, std::uint32_t max_tasks = 4096, double max_seconds = 1) const {
    return remote::cut(tasks, {slots, max_tasks, max_seconds});
  }

  CutTasks tasks;
};

std::vector<std::uint32_t> range(std::uint32_t begin, std::uint32_t end, std::uint32_t step = 1) {
  std::vector<std::uint32_t> numbers;
  for (; begin < end; begin += step) numbers.push_back(begin);
  return numbers;
}

std::vector<std::uint32_t> part_of(const CutTasks& tasks, const Parts& parts) {
  std::vector<std::uint32_t> of(tasks.size());
  for (std::uint32_t part = 0; part < parts.size(); ++part)
    for (const auto task : parts[part]) of[task] = part;
  return of;
}

/// Of each part, which others it needs directly.
std::vector<std::set<std::uint32_t>> needs(const CutTasks& tasks, const Parts& parts) {
  const auto of = part_of(tasks, parts);
  std::vector<std::set<std::uint32_t>> needed(parts.size());
  for (std::uint32_t task = 0; task < tasks.size(); ++task)
    for (auto at = tasks.first[task]; at < tasks.first[task + 1]; ++at)
      if (of[tasks.producers[at]] != of[task]) needed[of[task]].insert(of[tasks.producers[at]]);
  return needed;
}

std::size_t edges_between(const CutTasks& tasks, const Parts& parts) {
  std::size_t count = 0;
  for (const auto& needed : needs(tasks, parts)) count += needed.size();
  return count;
}

/// What must hold of every cut.
void check(const CutTasks& tasks, const Parts& parts, const CutLimits& limits) {
  std::vector<int> seen(tasks.size());
  for (const auto& part : parts) {
    ASSERT_FALSE(part.empty());
    ASSERT_TRUE(std::ranges::is_sorted(part));
    ASSERT_LE(part.size(), limits.max_tasks);
    double seconds = 0;
    std::uint64_t where = kEverywhere;
    for (const auto task : part) {
      ++seen[task];
      seconds += static_cast<double>(tasks.seconds[task]);
      where &= tasks.where[task];
      ASSERT_TRUE(part.size() == 1 || !tasks.alone[task]);
    }
    ASSERT_TRUE(part.size() == 1 || seconds <= limits.max_seconds * 1.001);
    ASSERT_NE(where, 0u);
  }
  ASSERT_TRUE(std::ranges::all_of(seen, [](int times) { return times == 1; }));
  const auto needed = needs(tasks, parts);
  for (std::uint32_t part = 0; part < parts.size(); ++part)
    for (const auto other : needed[part]) ASSERT_LT(other, part);
}

TEST(Cut, nothing_gives_no_parts) { EXPECT_TRUE(Graph().cut(4).empty()); }

TEST(Cut, flat_tasks_give_four_parts_for_each_slot) {
  Graph graph;
  for (int i = 0; i < 1000; ++i) graph.add({});
  const Parts parts = graph.cut(2);
  ASSERT_EQ(parts.size(), 8u);
  EXPECT_EQ(parts[0], range(0, 125));
  EXPECT_EQ(parts[7], range(875, 1000));
}

TEST(Cut, the_limit_of_tasks_gives_more_parts) {
  Graph graph;
  for (int i = 0; i < 1000; ++i) graph.add({});
  const Parts parts = graph.cut(1, 10);
  EXPECT_EQ(parts.size(), 100u);
  EXPECT_EQ(parts[1], range(10, 20));
}

TEST(Cut, a_few_tasks_are_spread) {
  Graph graph;
  for (int i = 0; i < 3; ++i) graph.add({});
  EXPECT_EQ(graph.cut(2), (Parts{{0}, {1}, {2}}));
}

TEST(Cut, measured_time_decides_where_it_is_known) {
  Graph graph;
  for (int i = 0; i < 100; ++i) graph.add({}, 0.25f);
  EXPECT_EQ(graph.cut(2).size(), 25u) << "four make a second";
  Graph tiny;
  for (int i = 0; i < 1000; ++i) tiny.add({}, 1e-5f);
  EXPECT_EQ(tiny.cut(64).size(), 1u) << "10 ms of work are not worth more";
  Graph long_ones;
  for (int i = 0; i < 5; ++i) long_ones.add({}, 60.0f);
  EXPECT_EQ(long_ones.cut(2).size(), 5u);
}

TEST(Cut, interleaved_chains_stay_whole) {
  Graph graph;
  constexpr std::uint32_t kChains = 16;
  for (std::uint32_t step = 0; step < 10; ++step)
    for (std::uint32_t chain = 0; chain < kChains; ++chain)
      graph.add(step == 0 ? std::vector<std::uint32_t>{}
                          : std::vector{(step - 1) * kChains + chain});
  const Parts parts = graph.cut(2);
  ASSERT_EQ(parts.size(), 8u);
  EXPECT_EQ(edges_between(graph.tasks, parts), 0u);
  std::vector<std::uint32_t> two = range(0, 160, kChains);
  const auto second = range(1, 160, kChains);
  two.insert(two.end(), second.begin(), second.end());
  std::ranges::sort(two);
  EXPECT_EQ(parts[0], two);
}

TEST(Cut, interleaved_chains_that_end_in_one_task_are_parallel) {
  Graph graph;
  constexpr std::uint32_t kChains = 8, kSteps = 100;
  for (std::uint32_t step = 0; step < kSteps; ++step)
    for (std::uint32_t chain = 0; chain < kChains; ++chain)
      graph.add(step == 0 ? std::vector<std::uint32_t>{}
                          : std::vector{(step - 1) * kChains + chain});
  graph.add(range((kSteps - 1) * kChains, kSteps * kChains));
  const Parts parts = graph.cut(2);  // 801 tasks: 101 in each part, but chains go on
  ASSERT_EQ(parts.size(), kChains / 2 + 1);
  EXPECT_EQ(edges_between(graph.tasks, parts), kChains / 2);
  for (std::uint32_t part = 0; part < kChains / 2; ++part)
    EXPECT_EQ(parts[part].size(), 2 * kSteps) << "two whole chains";
  EXPECT_EQ(parts.back(), std::vector{kSteps * kChains});
}

TEST(Cut, one_chain_is_cut_by_the_limits_alone) {
  Graph graph;
  graph.add({});
  for (std::uint32_t i = 1; i < 10'000; ++i) graph.add({i - 1});
  const Parts parts = graph.cut(16);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0], range(0, 4096));
  EXPECT_EQ(parts[1], range(4096, 8192));
  EXPECT_EQ(parts[2], range(8192, 10'000));
  Graph short_one;
  short_one.add({});
  for (std::uint32_t i = 1; i < 16; ++i) short_one.add({i - 1});
  EXPECT_EQ(short_one.cut(16).size(), 1u);
}

TEST(Cut, map_and_reduce) {
  Graph graph;
  for (int i = 0; i < 100; ++i) graph.add({});
  graph.add(range(0, 100));
  const Parts parts = graph.cut(2);  // 101 tasks: 13 in each part
  ASSERT_EQ(parts.size(), 9u);
  for (std::uint32_t part = 0; part < 7; ++part)
    EXPECT_EQ(parts[part], range(part * 13, part * 13 + 13));
  EXPECT_EQ(parts[7], range(91, 100)) << "the reduction does not make maps wait";
  EXPECT_EQ(parts[8], std::vector<std::uint32_t>{100});
}

TEST(Cut, one_source_feeds_parallel_parts) {
  Graph graph;
  const auto source = graph.add({});
  for (int i = 0; i < 159; ++i) graph.add({source});
  const Parts parts = graph.cut(2);  // 20 in each part
  ASSERT_EQ(parts.size(), 8u);
  const auto needed = needs(graph.tasks, parts);
  EXPECT_TRUE(needed[0].empty());
  for (std::uint32_t part = 1; part < 8; ++part)
    EXPECT_EQ(needed[part], std::set<std::uint32_t>{0}) << part;
}

TEST(Cut, layers_of_all_to_all_stay_parallel) {
  Graph graph;
  constexpr std::uint32_t kWidth = 40;
  for (std::uint32_t layer = 0; layer < 3; ++layer)
    for (std::uint32_t i = 0; i < kWidth; ++i)
      graph.add(layer == 0 ? std::vector<std::uint32_t>{}
                           : range((layer - 1) * kWidth, layer * kWidth));
  const Parts parts = graph.cut(2);  // 120 tasks: 15 in each part
  ASSERT_EQ(parts.size(), 9u);
  for (std::uint32_t layer = 0; layer < 3; ++layer) {
    EXPECT_EQ(parts[layer * 3], range(layer * kWidth, layer * kWidth + 15));
    EXPECT_EQ(parts[layer * 3 + 2], range(layer * kWidth + 30, layer * kWidth + 40));
  }
}

TEST(Cut, small_diamonds_stay_whole) {
  Graph graph;
  for (int i = 0; i < 100; ++i) {
    const auto top = graph.add({});
    const auto left = graph.add({top}), right = graph.add({top});
    graph.add({left, right, right});
  }
  const Parts parts = graph.cut(2);
  EXPECT_EQ(edges_between(graph.tasks, parts), 0u);
  for (const auto& part : parts) {
    EXPECT_EQ(part.size() % 4, 0u);
    EXPECT_LE(part.size(), 50u);
  }
}

TEST(Cut, executors_that_no_governor_has_together_are_apart) {
  Graph graph;
  for (int i = 0; i < 40; ++i) graph.add({}, 0, i % 2 == 0 ? 1 : 2);
  Parts parts = graph.cut(1);
  for (const auto& part : parts)
    for (const auto task : part) EXPECT_EQ(task % 2, part[0] % 2);
  EXPECT_EQ(parts.size(), 4u);

  Graph chain;  // over to the other one and back
  chain.add({}, 0, 1);
  chain.add({0}, 0, kEverywhere);
  chain.add({1}, 0, 2);
  chain.add({2}, 0, 2);
  chain.add({3}, 0, 1);
  EXPECT_EQ(chain.cut(1), (Parts{{0, 1}, {2, 3}, {4}}));
}

TEST(Cut, exports_are_alone) {
  Graph graph;
  const auto make = graph.add({});
  graph.add({make}, 0, kEverywhere, true);
  const auto more = graph.add({make});
  graph.add({more}, 0, kEverywhere, true);
  graph.add({}, 0, kEverywhere, true);
  const Parts parts = graph.cut(1);
  EXPECT_EQ(parts.size(), 4u);
  check(graph.tasks, parts, {1, 4096, 1});
  EXPECT_EQ(part_of(graph.tasks, parts)[make], part_of(graph.tasks, parts)[more]);
}

TEST(Cut, random_graphs_keep_every_rule) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    const std::uint32_t count = 1 + below(400), reach = 1 + below(count), degree = below(4);
    const bool timed = below(2) == 0;
    Graph graph;
    for (std::uint32_t task = 0; task < count; ++task) {
      std::vector<std::uint32_t> producers;
      for (std::uint32_t i = 0; task > 0 && i < below(degree + 1); ++i)
        producers.push_back(task - 1 - below(std::min(task, reach)));
      graph.add(producers, timed ? static_cast<float>(1 + below(100)) / 300 : 0,
                below(4) == 0 ? 1 + below(3) : kEverywhere, below(20) == 0);
    }
    const CutLimits limits{1 + below(8), 1 + below(100), 0.5};
    check(graph.tasks, cut(graph.tasks, limits), limits);
    if (HasFatalFailure()) return;
  }
}

TEST(Cut, a_million_tasks) {
  Graph graph;
  constexpr std::uint32_t kWidth = 1000;
  for (std::uint32_t i = 0; i < 1'000'000; ++i)
    graph.add(i < kWidth ? std::vector<std::uint32_t>{}
                         : std::vector{i - kWidth, i % kWidth == 0 ? i - 1 : i - kWidth - 1});
  check(graph.tasks, graph.cut(16), {16, 4096, 1});
}

}  // namespace
}  // namespace rain::remote
