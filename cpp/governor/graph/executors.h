#pragma once

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <memory>
#include <vector>

#include "graph/core.h"
#include "graph/ready_tasks.h"

namespace rain::graph {

/// What a task asks for.
struct Demand {
  std::uint32_t cpus = 1;
  bool timed = false;       // has a timeout
  std::vector<Need> needs;  // as TaskExtras::needs

  static Demand of(const TaskRecord& task) {
    if (!task.extras) return {task.cpus, false, {}};
    return {task.cpus, task.extras->timeout.count() > 0, task.extras->needs};
  }
  friend bool operator==(const Demand&, const Demand&) = default;
};

/// The tasks of one executor type with the same demand: what shares the cpus fairly.
struct TaskClass {
  /// `all_needs`: those of the demand, and the slot that a task without cpus takes.
  TaskClass(TypeIndex its_type, Demand its_demand, std::vector<Need> all_needs)
      : type(its_type),
        cpus(its_demand.cpus),
        demand(std::move(its_demand)),
        needs(std::move(all_needs)) {}

  bool has(const TaskRecord& task) const {
    if (task.type != type || task.cpus != cpus) return false;
    if (!task.extras) return !demand.timed && demand.needs.empty();
    return Demand::of(task) == demand;
  }
  /// Nothing is queued behind or ahead of calls whose time counts or that hold resources.
  bool queues_ahead() const { return needs.empty() && !demand.timed; }
  /// What it has, to compare classes by.
  std::uint32_t share() const { return cpus > 0 ? used_cpus : at_work; }

  const TypeIndex type;
  const std::uint32_t cpus;
  const Demand demand;
  const std::vector<Need> needs;
  ReadyTasks ready;
  std::uint32_t used_cpus = 0;  // by executors that work on it, or start because of it
  std::uint32_t at_work = 0;    // calls that threads can be at, and executors that start
  std::uint32_t starting = 0;   // executors
  std::uint64_t served = 0;     // when it last got cpus: a counter
};

/// One executor process as the Core sees it. Thread: token holder.
struct Executor {
  enum class Phase : std::uint8_t { starting, running, ending, killed };

  Executor(ExecutorId its_id, TypeIndex its_type, TaskClass* starts_for)
      : id(its_id), type(its_type), task_class(starts_for) {}

  const ExecutorId id;
  const TypeIndex type;
  Phase phase = Phase::starting;
  bool outdated = false;  // takes no new calls, ends after those it has
  ExecutorTraits traits;

  // The class that it starts for or works on; kept (but without meaning) while idle. Null: it was
  // started for none, and had no call.
  TaskClass* task_class;
  TaskList calls;  // in the order they were sent
  std::bitset<kSequenceSlots> taken_slots;
  std::uint32_t last_sequence = 0;
  std::uint64_t queued_ns = 0;       // sum over calls
  std::uint32_t retracting = 0;      // calls in that CallState
  std::uint32_t stopping = 0;        // calls in that CallState
  std::uint32_t doomed = 0;          // calls of tasks with a doom
  std::uint32_t unwanted = 0;        // calls of tasks that are terminal; each holds a reference
  TimePoint kill_at{};               // while stopping
  TimePoint progress_at{};           // when a call last ended, or work began
  std::uint64_t began_in_round = 0;  // when it last got work while idle

  bool idle() const { return phase == Phase::running && !outdated && calls.empty(); }
  /// Starting, and for no class yet.
  bool spare() const { return phase == Phase::starting && !task_class; }
  /// Takes new calls: nothing in it may soon lead to its being killed.
  bool welcoming() const {
    return phase == Phase::running && !outdated && unwanted == 0 && doomed == 0;
  }
  /// Calls beyond those that its threads can be at.
  std::uint32_t ahead() const {
    return calls.size() > traits.threads ? calls.size() - traits.threads : 0;
  }
  /// Calls that its threads can be at; while it starts, the one it starts for.
  std::uint32_t at_work() const {
    if (phase == Phase::starting) return task_class ? 1 : 0;
    return std::min(calls.size(), traits.threads);
  }
  std::uint32_t used_cpus() const { return at_work() > 0 ? at_work() * task_class->cpus : 0; }
};

/// One executor type.
struct ExecutorType {
  std::vector<Executor*> executors;
  std::vector<TaskClass*> classes;
  std::uint32_t spawn_failures = 0;  // in a row
  std::uint32_t threads = 1;         // of the last one that registered
};

/// What classes that must wait keep from those that come after them.
struct Withheld {
  bool cpus = false;                   // all of them
  std::vector<std::uint64_t> amounts;  // by resource; empty: nothing
};

/// All executors and classes, and what they use. Thread: token holder.
class Executors {
 public:
  explicit Executors(const Core::Options& options);

  ExecutorType& type(TypeIndex index);
  TaskClass& class_of(const TaskRecord& task);
  /// Null: gone, or never was.
  Executor* find(ExecutorId id) const;

  /// `starts_for` null: for no class yet.
  Executor& add(TypeIndex type, TaskClass* starts_for);
  /// A spare one starts for this class from now on.
  void adopt(Executor& executor, TaskClass& starts_for);
  /// It has registered. Requires: starting.
  void registered(Executor& executor, ExecutorTraits traits);
  /// Requires: no calls.
  void remove(Executor& executor);

  /// Adds the call, with its sequence. Requires: of the class that the executor works on, unless
  /// idle; fewer than kSequenceSlots calls.
  void add_call(Executor& executor, TaskClass& task_class, TaskRecord& task,
                std::uint32_t estimate_ns);
  /// The call has ended, whatever way.
  void remove_call(Executor& executor, TaskRecord& task);

  /// Whether one more call of the class fits beside what is in use.
  bool fits(const TaskClass& task_class, const Withheld& withheld) const;
  /// The same without cpus.
  bool has_needs(const TaskClass& task_class, const Withheld& withheld) const;
  /// A class that doesn't fit waits: for cpus, if it has all else; what it has of other resources
  /// is kept for it, and of what it is short of, everything.
  void withhold(const TaskClass& task_class, Withheld& withheld) const;

  /// Picks the indices for a call that is sent. Requires: the class fits.
  void grant(TaskRecord& task);
  /// Index of a resource by name; kNoResource: there is none.
  static constexpr std::size_t kNoResource = ~std::size_t{0};
  std::size_t resource(const std::string& name) const;

  std::uint32_t used_cpus() const { return used_cpus_; }
  const std::vector<std::uint64_t>& used_amounts() const { return used_; }
  const std::vector<Resource>& resources() const { return resources_; }
  /// Some class needs more than cpus.
  bool any_needs() const { return any_needs_; }
  std::uint32_t busy() const { return busy_; }  // starting or with calls
  const std::vector<std::unique_ptr<ExecutorType>>& types() const { return types_; }
  const std::vector<std::unique_ptr<TaskClass>>& classes() const { return classes_; }
  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& type : types_)
      for (Executor* executor : type->executors) visit(*executor);
  }

 private:
  // Around every change of what an executor uses.
  void leave_account(const Executor& executor);
  void enter_account(const Executor& executor);

  std::vector<std::unique_ptr<ExecutorType>> types_;  // by TypeIndex
  std::vector<std::unique_ptr<TaskClass>> classes_;
  std::vector<std::unique_ptr<Executor>> executors_;  // by id - 1; null: gone
  std::uint32_t used_cpus_ = 0;
  std::uint32_t busy_ = 0;

  const std::uint32_t cpus_;
  std::vector<Resource> resources_;       // those of the options, and the slots without cpus
  std::vector<std::uint64_t> used_;       // by resource
  std::vector<std::vector<bool>> taken_;  // by resource, by index
  bool any_needs_ = false;

  void change_account(const Executor& executor, int sign);
};

}  // namespace rain::graph
