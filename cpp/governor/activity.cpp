#include "activity.h"

#include <algorithm>
#include <utility>

namespace rain {

using graph::TaskState;

namespace {

void append(std::string& text, const std::string& part) {
  if (part.empty()) return;
  if (!text.empty() && text.back() != '\n') text += '\n';
  text.append(part, 0, Activity::kTextBytes);
}

}  // namespace

void Activity::keep_runs(bool on) {
  keeps_runs_ = on;
  if (on) return;
  runs_ = {};
  left_out_ = 0;
}

std::uint32_t Activity::index_of(const std::string& name, const std::string& type) {
  const std::string& used =
      names_.size() < kNames || indices_.find(name) != indices_.end() ? name : type;
  const auto [found, added] = indices_.try_emplace(used, static_cast<std::uint32_t>(names_.size()));
  if (added) names_.push_back(used);
  return found->second;
}

void Activity::add(TaskRun run, const std::string& name, const std::string& type) {
  if (runs_.size() >= kRuns) {
    ++left_out_;
    return;
  }
  run.name = index_of(name, type);
  runs_.push_back(run);
}

Runs Activity::take_runs(std::size_t most, std::size_t first_name) {
  Runs taken;
  taken.left_out = std::exchange(left_out_, 0);
  taken.runs = std::exchange(runs_, {});
  if (taken.runs.size() > most) {
    taken.left_out += taken.runs.size() - most;
    const auto end = taken.runs.begin() + static_cast<std::ptrdiff_t>(most);
    std::nth_element(taken.runs.begin(), end, taken.runs.end(),
                     [](const TaskRun& a, const TaskRun& b) {
                       const bool a_failed = a.state == TaskState::failed;
                       const bool b_failed = b.state == TaskState::failed;
                       return a_failed != b_failed ? a_failed : a.run_seconds > b.run_seconds;
                     });
    taken.runs.erase(end, taken.runs.end());
    std::sort(taken.runs.begin(), taken.runs.end(), [](const TaskRun& a, const TaskRun& b) {
      return a.start_seconds + a.run_seconds < b.start_seconds + b.run_seconds;
    });
  }
  if (first_name < names_.size())
    taken.names.assign(names_.begin() + static_cast<std::ptrdiff_t>(first_name), names_.end());
  return taken;
}

void Activity::add(TaskReport report, double when, const graph::Failure& failure) {
  TaskFailure line;
  line.number = ++last_failure_;
  line.report = std::move(report);
  line.when = when;
  append(line.text, failure.message);
  append(line.text, failure.debug);
  append(line.text, failure.report);
  failures_.push_back(std::move(line));
  if (failures_.size() > kFailures) failures_.pop_front();
}

std::vector<TaskFailure> Activity::failures(std::uint64_t after) const {
  std::vector<TaskFailure> lines;
  for (const auto& line : failures_)
    if (line.number > after) lines.push_back(line);
  return lines;
}

void Activity::add_closed(const StateCounts& ended, const Progress& names) {
  ++closed_sessions_;
  for (std::size_t i = 0; i < ended.size(); ++i) closed_[i] += ended[i];
  for (const auto& [name, counts] : names.by_name) {
    if (closed_names_.size() >= kNames && !closed_names_.contains(name)) continue;
    StateCounts& sum = closed_names_[name];
    for (std::size_t i = 0; i < counts.size(); ++i)
      if (graph::is_terminal(static_cast<TaskState>(i))) sum[i] += counts[i];
  }
}

void Activity::count_closed(Snapshot& snapshot) const {
  snapshot.closed_sessions = closed_sessions_;
  snapshot.tasks = closed_;
  std::unordered_map<std::string, StateCounts> names = closed_names_;
  for (const auto& session : snapshot.sessions) {
    const Progress& progress = session.progress;
    for (std::size_t i = 0; i < progress.total.size(); ++i) snapshot.tasks[i] += progress.total[i];
    for (const auto& [name, counts] : progress.by_name) {
      StateCounts& sum = names[name];
      for (std::size_t i = 0; i < counts.size(); ++i) sum[i] += counts[i];
    }
  }
  snapshot.by_name.assign(names.begin(), names.end());
  std::sort(snapshot.by_name.begin(), snapshot.by_name.end(), [](const auto& a, const auto& b) {
    std::uint64_t in_a = 0, in_b = 0;
    for (const auto count : a.second) in_a += count;
    for (const auto count : b.second) in_b += count;
    return in_a != in_b ? in_a > in_b : a.first < b.first;
  });
}

}  // namespace rain
