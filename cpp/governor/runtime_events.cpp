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

// In the event log.
constexpr std::size_t kMostObjects = 32;           // of a task, on one side
constexpr std::size_t kMostDropped = 256;          // in one line
constexpr std::size_t kMostAttempts = 8;           // the last ones
constexpr std::size_t kTextBytes = 16u << 10;      // of each text of a failure
constexpr std::uint64_t kAllFailures = 64u << 20;  // bytes of all such texts

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

const char* name_of(graph::FailureKind kind) {
  using graph::FailureKind;
  switch (kind) {
    case FailureKind::task:
      return "task";
    case FailureKind::executor:
      return "executor";
    case FailureKind::store_full:
      return "store_full";
    case FailureKind::cancelled:
      return "cancelled";
    case FailureKind::session:
      return "session";
    case FailureKind::ancestor:
      return "ancestor";
    case FailureKind::launcher:
      return "launcher";
    case FailureKind::timeout:
      return "timeout";
    case FailureKind::out_of_memory:
      return "out_of_memory";
    case FailureKind::connection:
      return "connection";
  }
  return "";
}

bool is_inside_character(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
}

/// Of a text that is too long its two ends, and between them how much is missing, which is added
/// to `cut`.
std::string excerpt(std::string_view text, std::uint64_t& cut) {
  if (text.size() <= kTextBytes) return std::string(text);
  std::size_t begin = kTextBytes / 2, end = text.size() - kTextBytes / 2;
  while (begin > 0 && is_inside_character(text, begin)) --begin;
  while (is_inside_character(text, end)) ++end;
  cut += end - begin;
  return std::string(text.substr(0, begin)) + "\n[… " + std::to_string(end - begin) +
         " bytes are left out …]\n" + std::string(text.substr(end));
}

void add_objects(EventLine& line, std::string_view name, std::string_view number,
                 const std::vector<graph::ObjectRef>& objects) {
  if (objects.empty()) return;
  line.begin_list(name);
  for (std::size_t i = 0; i < std::min(objects.size(), kMostObjects); ++i)
    line.add_pair(objects[i]->id.id, static_cast<std::int64_t>(objects[i]->size_bytes));
  line.end();
  if (objects.size() > kMostObjects) line.add(number, static_cast<std::int64_t>(objects.size()));
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

std::string Runtime::type_name(const graph::TaskRecord& task) const {
  const std::string& name = methods_.name(task.method);
  return name.substr(0, name.find('/'));
}

TaskReport Runtime::report(const graph::TaskChanged& command) {
  const auto& task = *command.task;
  TaskReport report;
  report.id = task.id;
  report.task_type = methods_.name(task.method);
  report.executor_type = type_name(task);
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
  if (const auto& failure = session.failure) {
    line.add("error", headline(failure->message));
    if (failure->origin.session != -1)
      line.add_id("task", failure->origin.session, failure->origin.id);
  }
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

void Runtime::note_end(const TaskReport& report, const graph::TaskChanged& command) {
  const auto& task = *command.task;
  const bool failed = report.state == TaskState::failed;
  EventLine line("task", events_->time_of(command.when));
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
  if (failed || report.state == TaskState::finished) {
    if (task.began != TimePoint{}) line.add_time("began", events_->time_of(task.began));
    add_objects(line, "inputs", "n_inputs", task.inputs);
    if (!failed) add_objects(line, "outputs", "n_outputs", task.outputs);
  }
  if (!report.error.empty()) line.add("error", report.error);
  if (failed && task.failure) note_failure(line, *task.failure);
  events_->add(std::move(line));
  note_store(command.when);
}

void Runtime::note_failure(EventLine& line, const graph::Failure& failure) {
  std::uint64_t cut = 0;
  const auto add = [&](const char* name, const std::string& text) {
    if (text.empty()) return;
    if (failure_bytes_ >= kAllFailures) {
      cut += text.size();
      return;
    }
    const std::string shown = excerpt(text, cut);
    failure_bytes_ += shown.size();
    line.add(name, shown);
  };
  line.begin_object("failure").add("kind", name_of(failure.kind));
  add("message", failure.message);
  add("debug", failure.debug);
  add("report", failure.report);
  line.begin_list("attempts");
  const auto& attempts = failure.attempts;
  const std::size_t skipped = attempts.size() - std::min(attempts.size(), kMostAttempts);
  for (std::size_t i = skipped; i < attempts.size(); ++i) {
    const auto& attempt = attempts[i];
    line.begin_object()
        .add("kind", name_of(attempt.kind))
        .add("executor", std::int64_t{attempt.executor.value})
        .add("pid", std::int64_t{attempt.pid})
        .add("seconds", std::chrono::duration<double>(attempt.duration).count());
    if (attempt.message != failure.message) add("message", attempt.message);
    line.end();
  }
  line.end();
  if (skipped > 0) line.add("n_attempts", static_cast<std::int64_t>(attempts.size()));
  if (cut > 0) line.add("cut", static_cast<std::int64_t>(cut));
  line.end();
}

void Runtime::note_dropped(const graph::ObjectRecord& object) {
  if (dropped_.size() >= kMostDropped ||
      (!dropped_.empty() && dropped_.front().id.session != object.id.session)) {
    flush_dropped();
  }
  dropped_.push_back({object.id, object.size_bytes});
}

void Runtime::flush_dropped() {
  if (!events_ || dropped_.empty()) return;
  EventLine line("data", events_->time_of(tasklib::base::Clock::now()));
  line.add("session", std::int64_t{dropped_.front().id.session}).begin_list("dropped");
  for (const auto& object : dropped_)
    line.add_pair(object.id.id, static_cast<std::int64_t>(object.size_bytes));
  line.end();
  events_->add(std::move(line));
  dropped_.clear();
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
