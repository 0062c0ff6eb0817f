#include "builtin/builtin.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <system_error>
#include <utility>

#include "launcher/remove_tree.h"

namespace rain::builtin {

using graph::Failure;
using graph::FailureKind;
using graph::TaskRecord;
using graph::TaskState;
using tasklib::base::ByteView;
using tasklib::base::Clock;
using tasklib::base::Duration;
using tasklib::base::ExecutorId;
using tasklib::base::StoreFull;
using tasklib::base::TimePoint;
using tasklib::wire::DataType;

namespace {

struct TaskType {
  std::string_view name;
  Begin begin;
};

constexpr TaskType kTaskTypes[] = {
    {"buildin/concat", concat},    {"buildin/sleep", sleep},
    {"buildin/open", open},        {"buildin/open_dir", open_directory},
    {"buildin/export", export_to}, {"buildin/make_directory", make_directory},
    {"buildin/slice", slice},      {"buildin/slice_directory", slice_directory},
    {"buildin/run", run},
};

const TaskType* find_type(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTaskTypes), std::end(kTaskTypes),
                                   [&](const TaskType& type) { return type.name == name; });
  return found == std::end(kTaskTypes) ? nullptr : found;
}

DataType declared_type(const graph::ObjectRecord& object) {
  const ObjectAnnex* annex = annex_of(object);
  return annex ? annex->data_type : DataType::blob;
}

}  // namespace

std::string unknown_type_text(const std::string& task_type) {
  if (find_type(task_type)) return {};
  std::string known;
  for (const auto& type : kTaskTypes) known += (known.empty() ? "" : ", ") + std::string(type.name);
  return "Unknown task type " + task_type + "; the built-in ones are " + known;
}

Outcome failed_outcome() {
  Outcome outcome;
  try {
    throw;
  } catch (const StoreFull& full) {
    outcome.kind = FailureKind::store_full;
    outcome.error = full.what();
  } catch (const std::exception& error) {
    outcome.error = error.what();
  }
  return outcome;
}

std::string mismatch_text(const graph::ObjectRecord& output, bool is_directory) {
  const DataType declared = declared_type(output);
  const DataType provided = is_directory ? DataType::directory : DataType::blob;
  if (declared == provided) return {};
  const auto name = [](DataType type) { return type == DataType::blob ? "blob" : "dir"; };
  const ObjectAnnex* annex = annex_of(output);
  return "Output '" + (annex ? annex->label : "") +
         "' (content_type=" + (annex ? annex->content_type : "") + ") expects type " +
         name(declared) + ", but " + name(provided) + " is provided";
}

// ---- Call ------------------------------------------------------------------------------------

ByteView Call::config() const {
  const TaskAnnex* own = annex();
  if (!own || own->config.empty()) {
    throw TaskError("Task config is empty, but non-empty config is expected");
  }
  return ByteView(std::string_view(own->config));
}

void Call::expect_inputs(std::size_t count) const {
  if (task.inputs.size() == count) return;
  throw TaskError("Invalid number of arguments, expected: " + std::to_string(count));
}

bool Call::input_is_directory(std::size_t index) const {
  return declared_type(*task.inputs[index]) == DataType::directory;
}

std::string Call::parse_path() const {
  return parse_config([](tasklib::wire::Reader& reader) {
    std::optional<std::string> path;
    reader.set_place("config", "");
    auto map = reader.enter_map();
    while (reader.more(map)) {
      reader.set_place("config", "path");
      const std::string key = reader.read_text();
      if (key != "path" || path) {
        reader.fail((path ? "duplicate field '" : "unknown field '") + key + "', expected 'path'");
      }
      path = reader.read_text();
    }
    if (!path) reader.fail("missing field 'path'");
    if (path->find('\0') != std::string::npos) {
      reader.fail("'" + printable(*path) + "' contains a NUL byte");
    }
    return *path;
  });
}

// ---- Builtin ---------------------------------------------------------------------------------

Builtin::Builtin(Host& host) : host_(host), programs_(host), pool_([&host] { host.wake(); }) {}

void Builtin::spawn(const graph::SpawnExecutor& command) {
  executors_.try_emplace(command.executor);
  host_.core().on_executor_ready(command.executor, {}, Clock::now());
}

void Builtin::send_call(const graph::SendCall& command) {
  auto found = executors_.find(command.executor);
  if (found == executors_.end() || found->second.lost) return;
  Executor& executor = found->second;
  TaskRecord& task = *command.task;
  if (task.executor != command.executor || task.state != TaskState::assigned) {
    return;  // it ended after the Core said this; what follows takes the call back
  }
  executor.task = command.task;
  executor.began = Clock::now();
  executor.stopping = false;
  Begun begun;
  try {
    const TaskType* type = find_type(host_.task_type(task.method));
    begun = type->begin(Call(*this, host_, command.executor, task, executor.began));
  } catch (...) {
    begun = failed_outcome();
  }
  if (auto* job = std::get_if<std::shared_ptr<Job>>(&begun)) {
    executor.job = std::move(*job);
  } else {
    end(command.executor, std::move(std::get<Outcome>(begun)));
  }
}

void Builtin::retract(const graph::Retract& command) {
  auto found = executors_.find(command.executor);
  const auto now = Clock::now();
  if (found != executors_.end() && found->second.job) {
    host_.core().on_retract_refused(command.executor, *command.task, now);
  } else {
    host_.core().on_retracted(command.executor, *command.task, now);
  }
}

void Builtin::request_cancel(const graph::RequestCancel& command) {
  auto found = executors_.find(command.executor);
  if (found != executors_.end()) stop(found->second);
}

bool Builtin::kill(const graph::KillExecutor& command) {
  auto found = executors_.find(command.executor);
  if (found == executors_.end()) return false;
  auto failure = std::make_shared<Failure>();
  failure->kind = FailureKind::executor;
  failure->message = "a built-in task did not stop when it was cancelled";
  host_.core().on_executor_lost(command.executor, failure, {}, Clock::now());
  if (!found->second.job) {
    executors_.erase(found);
  } else {
    found->second.lost = true;
    found->second.task = {};
    stop(found->second);
  }
  return true;
}

bool Builtin::on_report(const launcher::Report& report) {
  auto found = executors_.find(ExecutorId{report.key});
  if (found == executors_.end()) return false;
  if (const auto job = found->second.job) job->on_report(report);
  return true;
}

void Builtin::finish_done() {
  for (auto& work : pool_.take_done()) work->finish();
}

void Builtin::tick(TimePoint now) {
  std::vector<std::shared_ptr<Job>> due;
  for (auto& [id, executor] : executors_) {
    if (!executor.job) continue;
    const auto when = executor.job->wake_at();
    if (when && *when <= now) due.push_back(executor.job);
  }
  for (auto& job : due) job->on_time();
}

bool Builtin::busy() const {
  return std::any_of(executors_.begin(), executors_.end(),
                     [](const auto& entry) { return entry.second.job != nullptr; });
}

std::optional<TimePoint> Builtin::next_tick() const {
  std::optional<TimePoint> next;
  for (const auto& [id, executor] : executors_) {
    if (!executor.job) continue;
    const auto when = executor.job->wake_at();
    if (when && (!next || *when < *next)) next = when;
  }
  return next;
}

void Builtin::lose_all() {
  std::vector<ExecutorId> all;
  for (auto& [id, executor] : executors_) {
    executor.lost = true;
    executor.task = {};
    all.push_back(id);
  }
  for (const auto id : all) {
    auto found = executors_.find(id);
    if (found->second.job) {
      stop(found->second);
    } else {
      executors_.erase(found);
    }
  }
}

void Builtin::remove_trees(std::vector<std::string> paths) {
  struct Removal final : Pool::Work {
    explicit Removal(std::vector<std::string> paths) : paths(std::move(paths)) {}
    void run() noexcept override {
      for (const auto& path : paths) launcher::remove_tree(path.c_str());
    }
    void finish() override {}
    const std::vector<std::string> paths;
  };
  if (paths.empty()) return;
  const auto removal = std::make_shared<Removal>(std::move(paths));
  try {
    pool_.submit(removal);
  } catch (const std::system_error&) {
    removal->run();  // no thread to be had
  }
}

void Builtin::close() {
  lose_all();
  pool_.close();
  executors_.clear();
}

void Builtin::stop(Executor& executor) {
  if (!executor.job || std::exchange(executor.stopping, true)) return;
  const auto job = executor.job;  // it may end now
  job->stop();
}

void Builtin::end(ExecutorId id, Outcome outcome) {
  auto found = executors_.find(id);
  if (found == executors_.end()) return;
  Executor& executor = found->second;
  const auto job = std::exchange(executor.job, nullptr);
  if (executor.lost) {
    executors_.erase(found);
    return;
  }
  const graph::TaskRef ref = std::exchange(executor.task, {});
  TaskRecord& task = *ref;
  const auto now = Clock::now();
  const Duration run_time = now - executor.began;
  task.began = executor.began;
  auto& core = host_.core();
  if (outcome.cancelled) return core.on_task_cancelled(id, task, now);
  // A task that was cancelled meanwhile is terminal already: its result is dropped by the Core.
  const bool wanted = task.state.load(std::memory_order_relaxed) == TaskState::assigned;
  if (wanted && outcome.error.empty()) {
    if (outcome.outputs.size() < task.outputs.size()) {
      outcome.error = "Some of outputs were not produced";
    }
    outcome.outputs.resize(task.outputs.size());
    for (std::size_t i = 0; i < task.outputs.size() && outcome.error.empty(); ++i) {
      outcome.error =
          mismatch_text(*task.outputs[i], static_cast<Data&>(*outcome.outputs[i]).is_directory());
    }
  }
  if (!outcome.error.empty()) {
    auto failure = std::make_shared<Failure>();
    failure->kind = outcome.kind;
    failure->origin = task.id;
    failure->message = std::move(outcome.error);
    failure->report = std::move(outcome.report);
    return core.on_task_failed(id, task, std::move(failure), run_time, now);
  }
  if (wanted) task.copied_bytes = outcome.copied_bytes;
  core.on_task_done(id, task, std::move(outcome.outputs), run_time, now);
}

// ---- PoolJob ---------------------------------------------------------------------------------

void PoolJob::run() noexcept {
  try {
    check_stop();
    outcome_ = work();
  } catch (const Stopped&) {
    outcome_.cancelled = true;
  } catch (...) {
    outcome_ = failed_outcome();
  }
}

Begun in_pool(const Call& call, std::shared_ptr<PoolJob> job) {
  call.builtin.pool().submit(job);
  return std::shared_ptr<Job>(std::move(job));
}

}  // namespace rain::builtin
