#pragma once

// The scheduling core: pure functions over a graph. Events in, commands out; no clock, socket,
// process, log or blob byte in here. Time is a parameter.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "graph/records.h"

namespace rain::graph {

// ---- commands: what the caller must do. In order. ------------------------------------------

/// Start a process of this type; answer with on_executor_ready or on_executor_lost.
struct SpawnExecutor {
  ExecutorId executor;
  TypeIndex type;
  std::uint32_t cpus = 1;  // of the tasks that it is started for
  bool spare = false;      // it is for none yet
};
/// Send the call. The task is in state assigned; task->sequence is set: counts from 1 for each
/// executor and skips, so that those of its calls in flight differ modulo kSequenceSlots.
struct SendCall {
  ExecutorId executor;
  TaskRef task;
};
/// Try to take a call back that was sent and may not have begun. Answer with on_retracted or
/// on_retract_refused, at once or later.
struct Retract {
  ExecutorId executor;
  TaskRef task;
};
/// Ask the executor to stop a call that has begun: it was cancelled, or its time is over. The Core
/// sets itself a deadline (next_tick).
struct RequestCancel {
  ExecutorId executor;
  TaskRef task;
};
/// Kill the process. on_executor_lost follows when it is gone.
struct KillExecutor {
  ExecutorId executor;
};
/// Ask the process, which has no calls, to finish; it gets none from now on. on_executor_lost
/// follows when it is gone.
struct EndExecutor {
  ExecutorId executor;
};
/// Nobody needs the data any more: the object is `removed` and its `data` was moved in here.
struct DropData {
  ObjectRef object;
  std::shared_ptr<ObjectData> data;
};
/// The event seam: every change of a task's state, for waiters, logs, progress and reports.
struct TaskChanged {
  TaskRef task;
  TaskState from, to;
  TimePoint when;
};
/// A session's on_error="fail" struck. Once per session.
struct SessionFailed {
  SessionRef session;
};

/// Calls in flight of one executor differ in sequence modulo this (blob::CallBoard::kSlots).
constexpr std::uint32_t kSequenceSlots = 512;

using Command = std::variant<SpawnExecutor, SendCall, Retract, RequestCancel, KillExecutor,
                             EndExecutor, DropData, TaskChanged, SessionFailed>;

/// What the Core needs to know of an executor process that has registered.
struct ExecutorTraits {
  std::uint32_t threads = 1;        // calls it runs at the same time
  std::uint32_t max_in_flight = 1;  // 1: cbor-1, no queueing ahead; at most kSequenceSlots
  std::int32_t pid = 0;             // for reports
};

/// What tasks may ask for besides cpus. Amounts are in units of 1/kResourceUnit, of memory in
/// bytes; an indexed resource is had in whole ones, and each call is told which.
struct Resource {
  std::string name;
  std::uint64_t total = 0;
  std::vector<std::string> ids = {};  // indexed: as many as the total says; else empty
};

/// How many processes one executor type may and should have.
struct TypeOptions {
  std::uint32_t prestart = 0;       // so many are kept although they are idle
  std::uint32_t max_processes = 0;  // 0: as many as the cpus allow; those that are ending count
  Duration idle_time{0};  // an idle process beyond `prestart` ends after so long; 0: never
};

/// An executor as those see it who look at what runs.
struct ExecutorView {
  ExecutorId id;
  TypeIndex type = 0;
  const char* state = "";          // "starting", "running", "ending"
  std::uint32_t calls = 0;         // sent and not answered
  std::vector<TaskRef> at_work{};  // the oldest ones, no more than it has threads
  TimePoint progress_at{};         // when a call last ended, or work began
};

/// Rejected by submit; nothing was submitted. what() names the task or object and the remedy.
class InvalidGraph : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Owned by the Governor. Thread: token holder.
class Core {
 public:
  struct Options {
    std::uint32_t cpus = 1;                 // tasks at work at once use at most this many
    std::uint8_t crash_limit = 3;           // innocent calls are repeated this often
    std::uint8_t spawn_failures_limit = 3;  // in a row; then every ready task of the type fails
    Duration queue_ahead{1'000'000};        // work to queue on one executor (measured)
    Duration cancel_grace{100'000'000};     // between RequestCancel and KillExecutor
    std::vector<TypeOptions> types;         // by TypeIndex; those beyond have the defaults
    std::vector<Resource> resources;        // names differ
    std::uint32_t free_slots = 64;          // tasks with cpus=0 at work at once
    std::function<std::string(std::uint32_t)> method_name;  // for messages; may be empty
    /// Tasks run in somebody else's Core; on_mirrored_start() says that they do, and on_mirrored()
    /// how they ended: nothing is started or sent here. What tasks may ask for is checked as far as
    /// it is known: `resources` empty means anything.
    bool mirror = false;
    bool check_invariants = false;  // walk them after every event (debug builds)
  };

  explicit Core(Options options);
  ~Core();

  // Events. Each may add commands.

  /// Validates all drafts, then freezes all: cycles, inputs of another or a failed or closed
  /// session, inputs that are removed or still drafts outside this submit, cpus above the
  /// limit, resources that are unknown or never enough. Objects without producer must have `data`.
  /// Throws InvalidGraph, and nothing changed.
  void on_submit(const SessionRef& session, std::vector<TaskRef> tasks,
                 std::vector<ObjectRef> objects, TimePoint now);
  /// Options::mirror only: somebody else offers this, too. What was allowed before stays so.
  void on_offered(std::uint32_t cpus, std::vector<Resource> resources);
  /// Starts processes of the type until there are `count`, for no task yet and within
  /// max_processes. They use no cpus; the next task that would start one gets one of these.
  void on_prestart(TypeIndex type, std::uint32_t count, TimePoint now);
  /// The program is another by now than when this executor was started: it gets no further calls,
  /// and ends after those it has.
  void on_executor_outdated(ExecutorId executor, TimePoint now);
  void on_executor_ready(ExecutorId executor, ExecutorTraits traits, TimePoint now);
  /// `outputs` parallel to task->outputs, none null. Sets input_bytes and output_bytes. This and
  /// the next events are ignored (outputs dropped) when that call is no longer out or wanted.
  void on_task_done(ExecutorId executor, TaskRecord& task,
                    std::vector<std::shared_ptr<ObjectData>> outputs, Duration run_time,
                    TimePoint now);
  /// The task becomes ready again if it has retries left.
  void on_task_failed(ExecutorId executor, TaskRecord& task, FailurePtr failure, Duration run_time,
                      TimePoint now);
  /// The call must end with this failure, and its process with it: the process is killed, and the
  /// call's end is awaited. Other calls of the process are sent again.
  void on_task_doomed(ExecutorId executor, TaskRecord& task, FailurePtr failure, TimePoint now);
  /// The executor did not run it or stopped it, as asked.
  void on_task_cancelled(ExecutorId executor, TaskRecord& task, TimePoint now);
  void on_retracted(ExecutorId executor, TaskRecord& task, TimePoint now);
  void on_retract_refused(ExecutorId executor, TaskRecord& task, TimePoint now);
  /// A call that had begun when its process ended.
  struct Begun {
    Begun(TaskRecord* task, std::string debug = {}) : task(task), debug(std::move(debug)) {}
    TaskRecord* task;
    std::string debug;  // what it had said, for its failure
  };
  /// The process is gone. `begun`: its calls that had begun; they fail with `cause` (or are
  /// cancelled, if that was asked). The others are sent again, at most crash_limit times.
  /// Never registered: one ready task of its type fails with `cause`, see spawn_failures_limit;
  /// no task does if it was started for none.
  /// Killed by KillExecutor: nobody but the cancelled calls is to blame, the others are sent again
  /// even if begun, and that doesn't count.
  void on_executor_lost(ExecutorId executor, const FailurePtr& cause,
                        const std::vector<Begun>& begun, TimePoint now);
  /// Options::mirror only: the task runs elsewhere. Requires: it is ready.
  void on_mirrored_start(TaskRecord& task, TimePoint now);
  /// How a task ended elsewhere.
  struct Ending {
    TaskState state = TaskState::finished;             // terminal
    std::vector<std::shared_ptr<ObjectData>> outputs;  // finished: parallel to the task's, no null
    FailurePtr failure;                                // else
    Duration run_time{0};
  };
  /// Options::mirror only. Moves the outputs out. Requires: the task is submitted and not terminal;
  /// it is ready or assigned, if it finished or failed.
  void on_mirrored(TaskRecord& task, Ending& ending, TimePoint now);
  /// Cancels tasks (and, with on_error "continue", what depends on them becomes aborted; with
  /// "fail" they become cancelled too). Terminal tasks are left alone. The session stays alive.
  void on_cancel(const std::vector<TaskRef>& tasks, TimePoint now);
  /// All its tasks end (cancelled), all its data go.
  void on_close_session(const SessionRef& session, TimePoint now);
  void on_unkeep(ObjectRecord& object, TimePoint now);
  /// Everything ends with `cause` (the launcher died), now and whatever is submitted later. All
  /// executors count as lost.
  void on_all_lost(const FailurePtr& cause, TimePoint now);
  void on_tick(TimePoint now);

  // Results.

  /// The commands since the last call.
  std::vector<Command> take_commands();
  /// The same, swapped into `into`, whose memory is used again: no allocation per call.
  void take_commands(std::vector<Command>& into);
  /// When on_tick should be called, if ever.
  std::optional<TimePoint> next_tick() const;
  /// True while some executor is starting (for a task) or some call is out.
  bool busy() const;
  /// How many executors are starting (for a task) or have calls out.
  std::uint32_t busy_executors() const;
  /// Of all types, in no order.
  std::vector<ExecutorView> executors() const;
  /// Throws std::logic_error naming the violated invariant.
  void check_invariants() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rain::graph
