#include "tally.h"

#include <gtest/gtest.h>

namespace rain {
namespace {

using graph::TaskState;

std::uint64_t at(const StateCounts& counts, TaskState state) {
  return counts[static_cast<std::size_t>(state)];
}

TEST(Tally, follows_tasks_through_their_states) {
  Tally tally;
  tally.add("a", TaskState::ready);
  tally.move("a", TaskState::draft, TaskState::ready);
  tally.move("a", TaskState::ready, TaskState::assigned);
  tally.move("a", TaskState::assigned, TaskState::finished);
  const Progress progress = tally.read(5);
  ASSERT_EQ(progress.by_name.size(), 1u);
  const StateCounts& counts = progress.by_name[0].second;
  EXPECT_EQ(at(counts, TaskState::draft), 0u);
  EXPECT_EQ(at(counts, TaskState::ready), 1u);
  EXPECT_EQ(at(counts, TaskState::assigned), 0u);
  EXPECT_EQ(at(counts, TaskState::finished), 1u);
  EXPECT_EQ(at(progress.total, TaskState::ready), 1u);
  EXPECT_EQ(at(progress.total, TaskState::finished), 0u);  // the session counts these
}

TEST(Tally, tells_the_names_with_the_most_tasks) {
  Tally tally;
  for (int i = 0; i < 20; ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    for (int k = 0; k <= i / 2; ++k) tally.add(name, TaskState::waiting);
  }
  const Progress progress = tally.read(3);
  EXPECT_EQ(progress.names, 20u);
  ASSERT_EQ(progress.by_name.size(), 3u);
  EXPECT_EQ(progress.by_name[0].first, "s");
  EXPECT_EQ(progress.by_name[1].first, "t");
  EXPECT_EQ(progress.by_name[2].first, "q");
  EXPECT_EQ(at(progress.total, TaskState::waiting), 110u);
  EXPECT_TRUE(tally.read(0).by_name.empty());
}

TEST(Tally, wants_the_first_failures_only) {
  Tally tally;
  for (int i = 0; tally.wants_failures(); ++i) tally.add_failure(std::to_string(i));
  EXPECT_EQ(tally.read(1).failures, (std::vector<std::string>{"0", "1", "2"}));
}

}  // namespace
}  // namespace rain
