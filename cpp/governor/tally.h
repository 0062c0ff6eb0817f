#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "graph/records.h"

namespace rain {

/// Numbers of tasks, by graph::TaskState.
using StateCounts = std::array<std::uint64_t, graph::kTaskStates>;

/// What somebody who watches a session wants to know. A value.
struct Progress {
  StateCounts total{};
  std::size_t names = 0;  // of tasks there are
  /// Those with the most tasks. Without the tasks that had ended before the session was first
  /// looked at.
  std::vector<std::pair<std::string, StateCounts>> by_name;
  std::vector<std::string> failures;  // the first ones, a line each
};

/// Counts the tasks of one session by name and state, from when it was made on. Owned by the
/// Runtime, while somebody wants it. Thread: token holder.
class Tally {
 public:
  static constexpr std::size_t kFailures = 3;

  void add(const std::string& name, graph::TaskState state) { ++count(name, state); }
  /// From `draft`: it is new.
  void move(const std::string& name, graph::TaskState from, graph::TaskState to);
  bool wants_failures() const { return failures_.size() < kFailures; }
  void add_failure(std::string line) { failures_.push_back(std::move(line)); }
  /// `total` has no counts of tasks that have ended.
  Progress read(std::size_t names) const;

 private:
  std::uint64_t& count(const std::string& name, graph::TaskState state) {
    return counts_[name][static_cast<std::size_t>(state)];
  }

  std::unordered_map<std::string, StateCounts> counts_;
  std::vector<std::string> failures_;
};

}  // namespace rain
