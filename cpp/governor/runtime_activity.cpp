// What the Runtime shows to those who look while it runs: dashboards and metrics.

#include <algorithm>
#include <limits>
#include <utility>

#include "runtime.h"

namespace rain {

using graph::TaskState;

namespace {

constexpr std::size_t kAllNames = std::numeric_limits<std::size_t>::max();

}  // namespace

void Runtime::remember(const graph::TaskChanged& command) {
  const auto& task = *command.task;
  const bool failed = command.to == TaskState::failed;
  if (failed && activity_.keeps_failures() && task.failure)
    activity_.add(report(command), seconds_of(command.when), *task.failure);
  if (!activity_.keeps_runs() || !(failed || command.to == TaskState::finished)) return;
  TaskRun run;
  run.id = task.id;
  run.executor = is_builtin(task.type) ? 0 : task.executor.value;
  run.state = command.to;
  run.run_seconds = std::chrono::duration<double>(task.run_time).count();
  run.start_seconds = task.began != TimePoint{} ? seconds_of(task.began)
                                                : seconds_of(command.when) - run.run_seconds;
  activity_.add(run, group_of(task), methods_.name(task.method));
}

void Runtime::forget_progress(const graph::SessionRecord& session) {
  Progress names;
  if (const auto found = tallies_.find(&session); found != tallies_.end()) {
    if (counts_names_) names = found->second.read(kAllNames);
    tallies_.erase(found);
  }
  activity_.add_closed(session.ended, names);
}

bool Runtime::start_event_log(const std::string& path) {
  if (events_) return false;
  events_ = std::make_unique<EventLog>(path);
  if (mirror_) mirror_->note_runs(true);
  note_client("opened");
  for (const auto& session : *open_) note_session(*session, "opened");
  return true;
}

Snapshot Runtime::snapshot(std::size_t names) {
  pump();
  counts_names_ = true;
  Snapshot snapshot;
  const auto now = tasklib::base::Clock::now();
  snapshot.now = seconds_of(now);
  for (const auto& session : *open_) {
    LiveSession line{session->id, session->name, session->failed.load(), {}};
    line.progress = progress(*session, std::max<std::size_t>(names, 1));
    snapshot.sessions.push_back(std::move(line));
  }
  activity_.count_closed(snapshot);
  for (const auto& view : core_.executors()) {
    LiveExecutor line;
    line.id = view.id;
    line.type = is_builtin(view.type) ? builtin::kTypeName : specs_[view.type].name;
    line.state = view.state;
    line.calls = view.calls;
    const auto session = sessions_.find(view.id);
    if (session != sessions_.end()) {
      line.pid = session->second->pid;
      line.calls_done = session->second->calls_done;
    }
    for (const auto& task : view.at_work) {
      auto since = view.progress_at;
      if (session != sessions_.end()) {
        // The only thread begins a call when the one before it has ended.
        const auto sent = session->second->sent_at(task->sequence).value_or(since);
        since = session->second->traits().threads == 1 ? std::max(since, sent) : sent;
      }
      line.at_work.push_back({task->id, group_of(*task), seconds_of(since)});
    }
    snapshot.executors.push_back(std::move(line));
  }
  std::sort(snapshot.executors.begin(), snapshot.executors.end(),
            [](const auto& a, const auto& b) { return a.id.value < b.id.value; });
  return snapshot;
}

}  // namespace rain
