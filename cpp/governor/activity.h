#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "graph/records.h"
#include "options.h"
#include "tally.h"

namespace rain {

// What those are told who look at a governor while it runs: dashboards and metrics. Times are
// seconds since the governor began.

/// A call that an executor is at, as far as one can see from outside.
struct LiveCall {
  tasklib::base::TaskId id;
  std::string name;  // of the task, else its type
  double since = 0;
};

struct LiveExecutor {
  tasklib::base::ExecutorId id;
  std::string type;  // `buildin`: no process
  std::int32_t pid = 0;
  std::string state;        // "starting", "running", "ending"
  std::uint32_t calls = 0;  // sent and not answered
  std::uint64_t calls_done = 0;
  std::vector<LiveCall> at_work;  // no more than it has threads
};

struct LiveSession {
  std::int32_t id = 0;
  std::string name;
  bool failed = false;
  Progress progress;
};

/// A governor at one moment. A value.
struct Snapshot {
  double now = 0;
  double lag_seconds = 0;  // how long the look had to wait for its turn in the event loop
  StateCounts tasks{};     // of all sessions, those included that are closed
  std::uint64_t closed_sessions = 0;
  std::vector<LiveSession> sessions;  // open
  std::vector<LiveExecutor> executors;
  /// Of all sessions: what is_terminal since they were looked at, the rest now. Most tasks first.
  std::vector<std::pair<std::string, StateCounts>> by_name;
};

/// A task that was run to an end. Short, as there may be a million a second.
struct TaskRun {
  tasklib::base::TaskId id;
  std::uint32_t name = 0;      // index of Runs::names
  std::uint32_t executor = 0;  // 0: the governor
  graph::TaskState state = graph::TaskState::finished;
  double start_seconds = 0, run_seconds = 0;
};

/// What ended since the last look.
struct Runs {
  std::vector<std::string> names;  // from the index that was asked for
  std::vector<TaskRun> runs;       // in the order of their ends
  std::uint64_t left_out = 0;
};

struct TaskFailure {
  std::uint64_t number = 0;  // counts from 1
  TaskReport report;
  double when = 0;
  std::string text;  // message, what the task said, death report
};

/// Remembers what ended, while somebody wants it. Owned by the Runtime. Thread: token holder.
class Activity {
 public:
  static constexpr std::size_t kRuns = 100'000;  // between two looks; more are only counted
  static constexpr std::size_t kNames = 10'000;  // later ones go by their task type
  static constexpr std::size_t kFailures = 200;  // the latest
  static constexpr std::size_t kTextBytes = 16 * 1024;

  void keep_failures(bool on) { keeps_failures_ = on; }
  bool keeps_failures() const { return keeps_failures_; }
  void keep_runs(bool on);
  bool keeps_runs() const { return keeps_runs_; }

  /// `name` is what reports count the task under, `type` its task type. Requires: keeps_runs().
  void add(TaskRun run, const std::string& name, const std::string& type);
  /// The longest ones of what ended since the last call, all failed ones first.
  Runs take_runs(std::size_t most, std::size_t first_name);
  /// Requires: keeps_failures().
  void add(TaskReport report, double when, const graph::Failure& failure);
  std::vector<TaskFailure> failures(std::uint64_t after) const;

  /// A session closes: what its tasks came to still counts.
  void add_closed(const StateCounts& ended, const Progress& names);
  void count_closed(Snapshot& snapshot) const;

 private:
  std::uint32_t index_of(const std::string& name, const std::string& type);

  bool keeps_failures_ = false, keeps_runs_ = false;
  std::vector<TaskRun> runs_;
  std::uint64_t left_out_ = 0;
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::uint32_t> indices_;
  std::deque<TaskFailure> failures_;
  std::uint64_t last_failure_ = 0;
  StateCounts closed_{};
  std::uint64_t closed_sessions_ = 0;
  std::unordered_map<std::string, StateCounts> closed_names_;
};

}  // namespace rain
