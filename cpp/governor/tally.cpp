#include "tally.h"

#include <algorithm>
#include <numeric>

namespace rain {

using graph::TaskState;

void Tally::move(const std::string& name, TaskState from, TaskState to) {
  if (from != TaskState::draft) --count(name, from);
  ++count(name, to);
}

Progress Tally::read(std::size_t names) const {
  struct Line {
    std::uint64_t tasks;
    const std::pair<const std::string, StateCounts>* entry;
  };
  Progress progress;
  std::vector<Line> lines;
  lines.reserve(counts_.size());
  for (const auto& entry : counts_) {
    const StateCounts& counts = entry.second;
    lines.push_back({std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}), &entry});
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (!graph::is_terminal(static_cast<TaskState>(i))) progress.total[i] += counts[i];
    }
  }
  progress.names = lines.size();
  const auto end = lines.begin() + static_cast<std::ptrdiff_t>(std::min(names, lines.size()));
  std::partial_sort(lines.begin(), end, lines.end(), [](const Line& a, const Line& b) {
    return a.tasks != b.tasks ? a.tasks > b.tasks : a.entry->first < b.entry->first;
  });
  for (auto line = lines.begin(); line != end; ++line) progress.by_name.push_back(*line->entry);
  progress.failures = failures_;
  return progress;
}

}  // namespace rain
