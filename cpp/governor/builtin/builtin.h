#pragma once

// The executor type `buildin` (sic: the name that Rain 0.4 gave it): tasks that the governor runs
// itself. For the Core its executors are like any other; here they are no processes.

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "annex.h"
#include "base/clock.h"
#include "base/errors.h"
#include "builtin/pool.h"
#include "builtin/program.h"
#include "builtin/tree.h"
#include "graph/core.h"
#include "launcher/protocol.h"
#include "object_data.h"
#include "process/launcher_client.h"
#include "wire/cbor.h"

namespace rain::builtin {

inline constexpr const char* kTypeName = "buildin";

/// Empty if `task_type` ("buildin/…") is one of ours; else the error, which names those that are.
std::string unknown_type_text(const std::string& task_type);

/// What the built-in tasks need of the Runtime. Thread: token holder, except wake().
class Host {
 public:
  virtual ~Host() = default;
  virtual graph::Core& core() = 0;
  virtual const std::string& task_type(std::uint32_t method) const = 0;
  /// "CUDA_VISIBLE_DEVICES=…" for a call that was granted "gpu".
  virtual std::optional<std::string> visible_devices(const graph::TaskRecord&) const { return {}; }
  /// Room for a blob. Throws StoreFull.
  virtual std::shared_ptr<BlobData> allocate(std::uint64_t size_bytes) = 0;
  /// A path for a blob that finds no room in memory; empty: there is none.
  virtual std::string spill_path() { return {}; }
  virtual const std::string& run_directory() const = 0;
  virtual DataDirectory& data_directory() = 0;
  virtual const std::shared_ptr<ReleaseQueue>& releases() const = 0;
  /// The client's environment, as it was when it was made.
  virtual const std::vector<std::string>& environment() const = 0;
  /// The key is that of the executor that runs it; Builtin::on_report() says the rest. Throws
  /// Error.
  virtual void spawn_program(const process::LauncherClient::SpawnRequest& request) = 0;
  /// False: there is no launcher any more, nor what it had started.
  virtual bool kill_program(tasklib::base::ExecutorId executor) = 0;
  /// Calls Builtin::finish_done() soon. Thread-safe.
  virtual void wake() = 0;
};

/// The task's own failure: what() is its message.
class TaskError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// How a call ended.
struct Outcome {
  std::vector<std::shared_ptr<graph::ObjectData>> outputs;
  std::uint64_t copied_bytes = 0;
  std::string error;  // empty: success
  graph::FailureKind kind = graph::FailureKind::task;
  std::string report;      // of the failure, as graph::Failure's
  bool cancelled = false;  // stopped, as asked; all else is without meaning then

  static Outcome of(std::shared_ptr<graph::ObjectData> output, std::uint64_t copied_bytes = 0) {
    Outcome outcome;
    outcome.outputs.push_back(std::move(output));
    outcome.copied_bytes = copied_bytes;
    return outcome;
  }
};

/// The outcome of the exception that is being handled.
Outcome failed_outcome();
/// Empty if data of that kind are what the output was declared for; else the task's error.
std::string mismatch_text(const graph::ObjectRecord& output, bool is_directory);

class Builtin;

/// A call that did not end at once. Owned by Builtin; thread: token holder, if not said otherwise.
/// Ends itself by Builtin::end(), exactly once, and not before its work in the pool has finished.
class Job {
 public:
  virtual ~Job() = default;
  /// Nobody wants the result any more: end soon. Called once at most.
  virtual void stop() = 0;
  /// When on_time() should be called.
  virtual std::optional<tasklib::base::TimePoint> wake_at() const { return {}; }
  virtual void on_time() {}
  /// What the launcher says of the program that was started with the executor's id as its key.
  virtual void on_report(const launcher::Report&) {}
};

/// One call of a built-in task.
struct Call {
  Builtin& builtin;
  Host& host;
  tasklib::base::ExecutorId executor;
  graph::TaskRecord& task;  // alive while the call is
  tasklib::base::TimePoint began;

  const TaskAnnex* annex() const { return annex_of(task); }
  /// What `read` (a callable that gets a wire::Reader) makes of the config, all of which it must
  /// read. Throws TaskError: there is none, or `read` threw ProtocolError.
  template <class Read>
  auto parse_config(Read&& read) const;
  /// Throws TaskError unless there are exactly `count` inputs.
  void expect_inputs(std::size_t count) const;
  Data& input(std::size_t index) const { return static_cast<Data&>(*task.inputs[index]->data); }
  bool input_is_directory(std::size_t index) const;
  /// The path that is all there is in the config.
  std::string parse_path() const;

 private:
  friend class Builtin;
  Call(Builtin& builtin, Host& host, tasklib::base::ExecutorId executor, graph::TaskRecord& task,
       tasklib::base::TimePoint began)
      : builtin(builtin), host(host), executor(executor), task(task), began(began) {}
  tasklib::base::ByteView config() const;
};

/// What a task type does when called: gives the outcome at once, or a job that ends later. Throws
/// TaskError, SystemError, StoreFull: the call has failed. Must not block.
using Begun = std::variant<Outcome, std::shared_ptr<Job>>;
using Begin = Begun (*)(const Call& call);

// data_tasks.cpp
Begun concat(const Call& call);
Begun sleep(const Call& call);
// file_tasks.cpp
Begun open(const Call& call);
Begun open_directory(const Call& call);
Begun export_to(const Call& call);
// directory_tasks.cpp
Begun make_directory(const Call& call);
Begun slice_directory(const Call& call);
// slice_task.cpp
Begun slice(const Call& call);
// program.cpp
Begun run(const Call& call);

/// The executors of type `buildin` of one Runtime, which owns this. Thread: token holder.
class Builtin {
 public:
  explicit Builtin(Host& host);

  // The Core's commands, for executors of this type.
  void spawn(const graph::SpawnExecutor& command);
  void send_call(const graph::SendCall& command);
  void retract(const graph::Retract& command);
  void request_cancel(const graph::RequestCancel& command);
  /// False: not one of ours.
  bool kill(const graph::KillExecutor& command);

  // What happens.
  /// False: not about a program of ours.
  bool on_report(const launcher::Report& report);
  /// To be called after Host::wake().
  void finish_done();
  void tick(tasklib::base::TimePoint now);
  std::optional<tasklib::base::TimePoint> next_tick() const;
  /// The Core has lost all executors.
  void lose_all();
  /// Removes directories that were data, in the pool.
  void remove_trees(std::vector<std::string> paths);
  /// Stops all jobs, waits for what they do in the pool, and drops them.
  void close();

  /// Jobs are out.
  bool busy() const;

  // For the jobs.
  Pool& pool() { return pool_; }
  Programs& programs() { return programs_; }
  /// The call of that executor has ended. Deletes the job.
  void end(tasklib::base::ExecutorId executor, Outcome outcome);

 private:
  struct Executor {
    graph::TaskRef task;       // of the call that is out; else null
    std::shared_ptr<Job> job;  // null: none is out
    tasklib::base::TimePoint began{};
    bool stopping = false;  // Job::stop was called
    bool lost = false;      // the Core knows it no more; it only waits for the job's end
  };
  void stop(Executor& executor);

  Host& host_;
  std::unordered_map<tasklib::base::ExecutorId, Executor> executors_;
  Programs programs_;
  Pool pool_;
};

/// Work in the pool with an outcome.
class PoolJob : public Job, public Pool::Work {
 public:
  explicit PoolJob(const Call& call) : builtin_(call.builtin), executor_(call.executor) {}
  void stop() override { stop_.store(true, std::memory_order_relaxed); }
  void run() noexcept final;
  void finish() final { builtin_.end(executor_, std::move(outcome_)); }

 protected:
  /// On a thread of the pool; looks at the stop flag now and then. Throws Error, TaskError,
  /// Stopped.
  virtual Outcome work() = 0;
  const StopFlag* stop_flag() const { return &stop_; }
  void check_stop() const {
    if (stop_.load(std::memory_order_relaxed)) throw Stopped{};
  }

 private:
  Builtin& builtin_;
  const tasklib::base::ExecutorId executor_;
  StopFlag stop_{false};
  Outcome outcome_;
};

/// Gives a job to the pool: what a Begin returns.
Begun in_pool(const Call& call, std::shared_ptr<PoolJob> job);

template <class Read>
auto Call::parse_config(Read&& read) const {
  tasklib::wire::Reader reader(config());
  try {
    auto value = read(reader);
    reader.expect_end();
    return value;
  } catch (const tasklib::base::ProtocolError& error) {
    throw TaskError(std::string("Cannot parse task config: ") + error.what());
  }
}

}  // namespace rain::builtin
