#include "activity.h"

#include <gtest/gtest.h>

#include <string>

namespace rain {
namespace {

using graph::TaskState;

TaskRun run(std::int32_t id, double start, double seconds, TaskState state = TaskState::finished) {
  TaskRun run;
  run.id = {1, id};
  run.start_seconds = start;
  run.run_seconds = seconds;
  run.state = state;
  return run;
}

std::vector<std::int32_t> ids(const Runs& runs) {
  std::vector<std::int32_t> ids;
  for (const auto& each : runs.runs) ids.push_back(each.id.id);
  return ids;
}

TEST(Activity, tells_runs_once_with_names_that_are_new) {
  Activity activity;
  activity.keep_runs(true);
  activity.add(run(1, 0, 1), "a", "x/f");
  activity.add(run(2, 1, 1), "b", "x/f");
  activity.add(run(3, 2, 1), "a", "x/f");
  Runs runs = activity.take_runs(10, 0);
  EXPECT_EQ(runs.names, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(ids(runs), (std::vector<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(runs.runs[2].name, 0u);
  EXPECT_EQ(runs.left_out, 0u);
  activity.add(run(4, 3, 1), "c", "x/f");
  runs = activity.take_runs(10, 2);
  EXPECT_EQ(runs.names, (std::vector<std::string>{"c"}));
  EXPECT_EQ(ids(runs), (std::vector<std::int32_t>{4}));
  EXPECT_TRUE(activity.take_runs(10, 3).runs.empty());
}

TEST(Activity, prefers_failed_and_long_runs_when_there_are_too_many) {
  Activity activity;
  activity.keep_runs(true);
  for (int i = 0; i < 100; ++i) activity.add(run(i, i, i == 40 ? 50 : 0.001 * i), "a", "x/f");
  activity.add(run(100, 100, 0, TaskState::failed), "a", "x/f");
  const Runs runs = activity.take_runs(3, 0);
  EXPECT_EQ(ids(runs), (std::vector<std::int32_t>{40, 99, 100}));  // by their ends
  EXPECT_EQ(runs.left_out, 98u);
}

TEST(Activity, counts_runs_beyond_its_limit_and_forgets_them_when_nobody_looks) {
  Activity activity;
  activity.keep_runs(true);
  for (std::size_t i = 0; i < Activity::kRuns + 5; ++i) activity.add(run(1, 0, 1), "a", "x/f");
  EXPECT_EQ(activity.take_runs(Activity::kRuns, 0).left_out, 5u);
  activity.add(run(1, 0, 1), "a", "x/f");
  activity.keep_runs(false);
  EXPECT_TRUE(activity.take_runs(10, 0).runs.empty());
}

TEST(Activity, names_beyond_the_limit_go_by_their_type) {
  Activity activity;
  activity.keep_runs(true);
  for (std::size_t i = 0; i < Activity::kNames; ++i)
    activity.add(run(1, 0, 1), "name " + std::to_string(i), "x/f");
  activity.add(run(2, 0, 1), "one more", "x/f");
  activity.add(run(3, 0, 1), "another", "x/f");
  activity.add(run(4, 0, 1), "name 7", "x/f");
  const Runs runs = activity.take_runs(Activity::kRuns, 0);
  ASSERT_EQ(runs.names.size(), Activity::kNames + 1);
  EXPECT_EQ(runs.names.back(), "x/f");
  EXPECT_EQ(runs.runs[Activity::kNames].name, Activity::kNames);
  EXPECT_EQ(runs.runs[Activity::kNames + 1].name, Activity::kNames);
  EXPECT_EQ(runs.runs[Activity::kNames + 2].name, 7u);
}

TEST(Activity, keeps_the_latest_failures_with_all_their_texts) {
  Activity activity;
  graph::Failure failure;
  failure.message = "Traceback";
  failure.debug = "said";
  failure.report = std::string(Activity::kTextBytes + 1, 'r');
  for (std::size_t i = 0; i < Activity::kFailures + 2; ++i) activity.add(TaskReport{}, 1, failure);
  const auto all = activity.failures(0);
  ASSERT_EQ(all.size(), Activity::kFailures);
  EXPECT_EQ(all.front().number, 3u);
  EXPECT_EQ(all.front().text, "Traceback\nsaid\n" + std::string(Activity::kTextBytes, 'r'));
  EXPECT_EQ(activity.failures(Activity::kFailures + 1).size(), 1u);
  EXPECT_TRUE(activity.failures(Activity::kFailures + 2).empty());
}

TEST(Activity, tasks_of_closed_sessions_still_count) {
  const auto at = [](const StateCounts& counts, TaskState state) {
    return counts[static_cast<std::size_t>(state)];
  };
  Activity activity;
  StateCounts ended{};
  ended[static_cast<std::size_t>(TaskState::finished)] = 5;
  Progress names;
  StateCounts of_a = ended;
  of_a[static_cast<std::size_t>(TaskState::assigned)] = 1;
  names.by_name = {{"a", of_a}};
  activity.add_closed(ended, names);

  Snapshot snapshot;
  LiveSession open;
  open.progress.total[static_cast<std::size_t>(TaskState::finished)] = 2;
  open.progress.total[static_cast<std::size_t>(TaskState::ready)] = 3;
  open.progress.by_name = {{"b", open.progress.total}};
  snapshot.sessions.push_back(open);
  activity.count_closed(snapshot);
  EXPECT_EQ(snapshot.closed_sessions, 1u);
  EXPECT_EQ(at(snapshot.tasks, TaskState::finished), 7u);
  EXPECT_EQ(at(snapshot.tasks, TaskState::ready), 3u);
  ASSERT_EQ(snapshot.by_name.size(), 2u);
  EXPECT_EQ(snapshot.by_name[0].first, "a");
  EXPECT_EQ(at(snapshot.by_name[0].second, TaskState::finished), 5u);
  EXPECT_EQ(at(snapshot.by_name[0].second, TaskState::assigned), 0u);  // they are gone
}

}  // namespace
}  // namespace rain
