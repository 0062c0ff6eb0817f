// What the Runtime tells: the event log (docs/events.md has the grammar), reports, warnings.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

#include "runtime.h"

namespace rain {

using graph::TaskState;
using tasklib::base::TimePoint;

namespace {

constexpr std::size_t kErrorBytes = 1000;  // of a failure, in reports
constexpr auto kStoreInterval = std::chrono::seconds(1);

const char* name_of(TaskState state) {
  switch (state) {
    case TaskState::draft:
      return "draft";
    case TaskState::waiting:
      return "waiting";
    case TaskState::ready:
      return "ready";
    case TaskState::assigned:
      return "running";
    case TaskState::finished:
      return "finished";
    case TaskState::failed:
      return "failed";
    case TaskState::cancelled:
      return "cancelled";
    case TaskState::aborted:
      return "aborted";
  }
  return "";
}

/// The line that says most: the last one of a Python traceback, else the first.
std::string headline(std::string_view message) {
  std::string_view best = message.substr(0, message.find('\n'));
  if (best.starts_with("Traceback ")) {
    for (std::string_view left = message; !left.empty();) {
      const std::string_view line = left.substr(0, left.find('\n'));
      left.remove_prefix(std::min(line.size() + 1, left.size()));
      if (!line.empty() && line[0] != ' ' && line != "Task failed in executor") best = line;
    }
  }
  return std::string(best.substr(0, kErrorBytes));
}

}  // namespace

TaskReport Runtime::report(const graph::TaskChanged& command) {
  const auto& task = *command.task;
  TaskReport report;
  report.id = task.id;
  report.task_type = methods_.name(task.method);
  report.executor_type = is_builtin(task.type) ? builtin::kTypeName : specs_[task.type].name;
  if (const auto* annex = annex_of(task)) report.name = annex->name;
  report.state = command.to;
  report.executor = task.executor.value;
  if (!mirror_) report.pid = pids_[task.executor];
  report.run_seconds = std::chrono::duration<double>(task.run_time).count();
  report.start_seconds =
      std::chrono::duration<double>(command.when - began_).count() - report.run_seconds;
  report.input_bytes = task.input_bytes;
  report.output_bytes = task.output_bytes;
  report.copied_bytes = task.copied_bytes;
  if (command.to == TaskState::failed && task.failure) {
    report.attempts = static_cast<std::uint32_t>(task.failure->attempts.size());
  } else {
    report.attempts = task.extras ? static_cast<std::uint32_t>(task.extras->attempts.size()) : 0;
    if (command.to == TaskState::finished) ++report.attempts;
  }
  if (mirror_) {
    const Mirror::Run run = mirror_->run_of(task);
    report.pid = run.pid;
    report.attempts = run.attempts;
  }
  if (task.failure) report.error = headline(task.failure->message);
  return report;
}

void Runtime::record_reports(bool on) {
  recording_ = on;
  if (mirror_) mirror_->note_runs(on || events_);
}

const std::string& Runtime::group_of(const graph::TaskRecord& task) const {
  const auto* annex = annex_of(task);
  return annex && !annex->name.empty() ? annex->name : methods_.name(task.method);
}

Progress Runtime::progress(const graph::SessionRecord& session, std::size_t names) {
  pump();
  Progress progress;
  if (const auto found = tallies_.find(&session); found != tallies_.end()) {
    progress = found->second.read(names);
  } else {
    Tally tally;
    for (const auto& task : session.live)
      tally.add(group_of(*task), task->state.load(std::memory_order_relaxed));
    progress = tally.read(names);
    if (names > 0) tallies_.emplace(&session, std::move(tally));
  }
  for (std::size_t i = 0; i < session.ended.size(); ++i) progress.total[i] += session.ended[i];
  return progress;
}

void Runtime::count(const graph::TaskChanged& command) {
  const auto& task = *command.task;
  const auto found = tallies_.find(task.session);
  if (found == tallies_.end()) return;
  Tally& tally = found->second;
  const std::string& name = group_of(task);
  tally.move(name, command.from, command.to);
  if (command.to == TaskState::failed && task.failure && tally.wants_failures())
    tally.add_failure(name + ' ' + task.id.to_string() + ": " + headline(task.failure->message));
}

std::vector<std::string> Runtime::take_warnings() {
  if (events_) {
    std::string trouble = events_->take_trouble();
    if (!trouble.empty()) warnings_.push_back(std::move(trouble));
  }
  return std::exchange(warnings_, {});
}

void Runtime::note_client(const char* state) {
  if (!events_) return;
  EventLine line("client", events_->time_of(tasklib::base::Clock::now()));
  line.add("state", state);
  if (std::string_view(state) == "opened") {
    line.add("version", std::int64_t{EventLog::kVersion})
        .add("pid", std::int64_t{::getpid()})
        .add("cpus", std::int64_t{cpus_});
  }
  events_->add(std::move(line));
}

void Runtime::note_session(const graph::SessionRecord& session, const char* state) {
  if (counts_names_ && std::string_view(state) == "opened") tallies_.try_emplace(&session);
  if (!events_) return;
  EventLine line("session", events_->time_of(tasklib::base::Clock::now()));
  line.add("id", std::int64_t{session.id}).add("state", state);
  if (std::string_view(state) == "opened") line.add("name", session.name);
  if (session.failure) line.add("error", headline(session.failure->message));
  events_->add(std::move(line));
}

void Runtime::note_change(const graph::TaskChanged& command) {
  const auto& task = *command.task;
  EventLine line("task", events_->time_of(command.when));
  line.add_id(task.id.session, task.id.id).add("state", name_of(command.to));
  if (command.from == TaskState::draft) {
    line.add("type", methods_.name(task.method)).add("cpus", std::int64_t{task.cpus});
    const auto* annex = annex_of(task);
    if (annex && !annex->name.empty()) line.add("name", annex->name);
  }
  if (command.to == TaskState::assigned) line.add("executor", std::int64_t{task.executor.value});
  events_->add(std::move(line));
}

void Runtime::note_end(const TaskReport& report, TimePoint when) {
  EventLine line("task", events_->time_of(when));
  line.add_id(report.id.session, report.id.id)
      .add("state", name_of(report.state))
      .add("type", report.task_type);
  if (!report.name.empty()) line.add("name", report.name);
  line.add("executor", std::int64_t{report.executor})
      .add("pid", std::int64_t{report.pid})
      .add("seconds", report.run_seconds)
      .add("attempts", std::int64_t{report.attempts})
      .add("in", static_cast<std::int64_t>(report.input_bytes))
      .add("out", static_cast<std::int64_t>(report.output_bytes))
      .add("copied", static_cast<std::int64_t>(report.copied_bytes));
  if (!report.error.empty()) line.add("error", report.error);
  events_->add(std::move(line));
  note_store(when);
}

void Runtime::note_executor(const Session& session, const char* state, const std::string& cause) {
  if (!events_) return;
  EventLine line("executor", events_->time_of(tasklib::base::Clock::now()));
  line.add("id", std::int64_t{session.id.value})
      .add("state", state)
      .add("type", session.type_name)
      .add("pid", std::int64_t{session.pid});
  if (!cause.empty()) line.add("cause", headline(cause));
  events_->add(std::move(line));
}

void Runtime::note_log(const Session& session, const LogLine& log) {
  if (!events_) return;
  EventLine line("log", events_->time_of(tasklib::base::Clock::now()));
  line.add_id(log.task.session, log.task.id)
      .add("executor", std::int64_t{session.id.value})
      .add("level", std::int64_t{log.level})
      .add("text", log.text);
  if (log.lost > 0) line.add("lost", static_cast<std::int64_t>(log.lost));
  events_->add(std::move(line));
}

void Runtime::note_store(TimePoint now) {
  if (now - store_noted_ < kStoreInterval) return;
  store_noted_ = now;
  const auto usage = store_.usage();
  EventLine line("store", events_->time_of(now));
  line.add("blobs", static_cast<std::int64_t>(usage.blobs))
      .add("bytes", static_cast<std::int64_t>(usage.blobs_bytes))
      .add("regions_bytes", static_cast<std::int64_t>(usage.regions_bytes))
      .add("budget_bytes", static_cast<std::int64_t>(usage.budget_bytes));
  events_->add(std::move(line));
}

}  // namespace rain
