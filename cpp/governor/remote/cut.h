#pragma once

// The cut of one submit's tasks into parts, each of which one governor runs as a whole. Pure: no
// record, clock or thread in here.

#include <cstdint>
#include <vector>

namespace rain::remote {

/// The tasks as the cut sees them; they are named by their indices.
struct CutTasks {
  /// Task i takes what tasks producers[first[i]], … producers[first[i + 1] - 1] make, some perhaps
  /// more than once. One longer than there are tasks.
  std::vector<std::uint32_t> first{0};
  std::vector<std::uint32_t> producers;
  std::vector<float> seconds;        // what each is expected to take; 0: unknown
  std::vector<std::uint64_t> where;  // a bit for each sort of governor that can run it
  std::vector<bool> alone;           // must never run again because of another task of its part

  std::size_t size() const { return first.size() - 1; }
};

struct CutLimits {
  std::uint32_t slots = 1;  // parts that run at the same time
  std::uint32_t max_tasks = 4096;
  double max_seconds = 1.0;  // of expected work in a part of several tasks
};

/// Parts, of each its tasks in ascending order. Each task is in exactly one; what the tasks of a
/// part take is made in it or in earlier ones.
///
/// The wish is four parts for each slot, as far as they are worth their price, within the limits.
/// What is connected and small stays together. Of larger graphs each part is filled along chains;
/// parts on the same level of the graph of parts don't need each other. A task that takes what two
/// parts of the same level make begins a further level, so that nothing that could run at once has
/// to wait for what it does not need.
/// Tasks that no sort of governor runs together are in different parts. Time is about linear.
/// Requires: there is no cycle.
std::vector<std::vector<std::uint32_t>> cut(const CutTasks& tasks, const CutLimits& limits);

}  // namespace rain::remote
