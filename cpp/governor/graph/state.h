#pragma once

#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "graph/core.h"
#include "graph/executors.h"
#include "graph/run_times.h"

namespace rain::graph {

/// What the Core is inside. Each event is one member function that changes the graph and then
/// calls schedule(); the parts lie in core.cpp (events), endings.cpp (tasks and data that end),
/// schedule.cpp (what runs where), processes.cpp (which are kept without work) and invariants.cpp.
struct Core::State {
  explicit State(Options given) : options(std::move(given)), executors(options) {}
  ~State();

  Options options;  // changed by on_offered() alone
  std::vector<Command> commands;
  TimePoint now{};  // of the event at hand

  Executors executors;
  RunTimes run_times;
  std::vector<SessionRef> sessions;   // entered
  std::uint32_t ready_tasks = 0;      // sum over classes
  std::uint64_t round = 0;            // counts calls of schedule()
  std::uint64_t servings = 0;         // counts slots given out
  std::optional<TimePoint> steal_at;  // look again then whether queued calls should move
  std::set<std::pair<TimePoint, TaskRecord*>> deadlines;  // TaskExtras::deadline, where it is set
  FailurePtr lost_cause;  // set once nothing can be started any more

  // Of one event: what ended in it.
  struct Dependant {
    TaskRecord* task;
    TaskRecord* origin;  // the task that failed or was cancelled
  };
  std::vector<TaskRef> ended;           // kept to the event's end, so that pointers stay good
  std::vector<Dependant> dependants;    // of ended tasks; still to be ended, too
  std::vector<ObjectRecord*> unwaited;  // unfinished objects whose waiting_consumers have ended

  // ---- core.cpp

  void submit(const SessionRef& session, std::vector<TaskRef>& tasks,
              std::vector<ObjectRef>& objects);
  void finish(TaskRecord& task, std::vector<std::shared_ptr<ObjectData>>& outputs,
              Duration run_time, std::int32_t pid);
  void mirror(TaskRecord& task, Ending& ending);
  void lose(Executor& executor, const FailurePtr& cause, const std::vector<Begun>& begun);
  void fail_spawn(Executor& executor, const FailurePtr& cause);
  void lose_everything(const FailurePtr& cause);

  /// The executor if that call of the task is out on it, else null.
  Executor* with_call(ExecutorId executor, const TaskRecord& task) const;
  /// Moves the task to another state; throws std::logic_error on an illegal move.
  void move(TaskRecord& task, TaskState to);
  void make_ready(TaskRecord& task, bool first);
  /// Counts the task out of `ready`. It is assigned or ended next.
  void leave_ready(TaskRecord& task);
  /// The call is over; what kept an unwanted task's record alive is let go with the event.
  void end_call(Executor& executor, TaskRecord& task);
  /// Sets how the call will end. Requires: it is out and wanted, and has no doom.
  void doom(Executor& executor, TaskRecord& task, FailurePtr failure);
  void forget_deadline(TaskRecord& task);
  /// Dooms calls whose time is over and takes them back or has them stopped.
  void expire();
  FailurePtr timeout_failure(const TaskRecord& task) const;
  /// Last thing in every event.
  void end_event();

  // ---- endings.cpp

  /// The call has failed, or is doomed to: ready again if retries are left, else fail().
  /// Requires: assigned, no call out.
  void fail_attempt(TaskRecord& task, FailurePtr failure, Duration run_time, std::int32_t pid);
  /// Its own failure. Then as the session's on_error says. Requires: live, no call out.
  void fail(TaskRecord& task, FailurePtr failure);
  void fail_all_ready(const FailurePtr& cause);
  void cancel(const std::vector<TaskRef>& tasks);
  void close(SessionRecord& session);
  /// Ends a live task otherwise than finished. Adds to dependants and unwaited.
  void end(TaskRecord& task, TaskState to, FailurePtr failure, TaskRecord& origin);
  /// Ends dependants and theirs: aborted, or cancelled with on_error "fail".
  void end_dependants();
  /// Ends all live tasks as cancelled and drops all data.
  void end_all(SessionRecord& session, const FailurePtr& failure);
  /// Takes the task out of session->live.
  TaskRef leave_live(TaskRecord& task);
  /// One consumer less for each input.
  void release_inputs(TaskRecord& task);
  /// Holds the object's data, or drops them if nobody needs them.
  void hold_or_drop(ObjectRecord& object);
  void drop_data(ObjectRecord& object);
  /// Nobody wants the result of the call any more.
  void abandon_call(TaskRecord& task);
  /// Nothing more is wanted of the call: takes it back or has it stopped.
  void take_back(Executor& executor, TaskRecord& task);
  void request_stop(Executor& executor, TaskRecord& task);
  void kill_overdue();

  // ---- schedule.cpp

  void schedule();
  /// A call of the executor has ended: refills it alone if that is all there is to do.
  void schedule_after_call(Executor& executor);
  bool open_slot();
  /// Has ready tasks, and somebody for them or leave to start somebody.
  bool wants_slot(const TaskClass& task_class) const;
  TaskClass* most_entitled_class() const;
  TaskClass* most_entitled_fitting_class() const;
  bool covered_by_starting(const TaskClass& task_class) const;
  bool must_yield(const TaskClass& task_class) const;
  Executor* slot_for(const TaskClass& task_class) const;
  bool may_start(TypeIndex type) const;
  /// Neither a process of its type nor leave to start one.
  bool barred(const TaskClass& task_class) const;
  void spawn(TaskClass& task_class);
  bool can_queue_ahead(const Executor& executor, const TaskRecord& task) const;
  void queue_ahead(TaskClass& task_class);
  void queue_ahead(Executor& executor);
  void send_next(TaskClass& task_class, Executor& executor);
  void balance();
  void balance(const ExecutorType& type);

  // ---- processes.cpp

  TypeOptions options_of(TypeIndex type) const {
    return type < options.types.size() ? options.types[type] : TypeOptions();
  }
  void prestart(TypeIndex type, std::uint32_t count);
  void end_if_outdated(Executor& executor);
  void end(Executor& executor);
  void end_idle();
  std::optional<TimePoint> next_idle_end() const;

  // ---- invariants.cpp

  void check_invariants() const;
};

}  // namespace rain::graph
