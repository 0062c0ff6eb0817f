#pragma once

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <memory>
#include <vector>

#include "graph/core.h"
#include "graph/ready_tasks.h"

namespace rain::graph {

/// The tasks of one executor type that need the same cpus: what shares the cpus fairly.
struct TaskClass {
  TaskClass(TypeIndex its_type, std::uint32_t its_cpus) : type(its_type), cpus(its_cpus) {}

  const TypeIndex type;
  const std::uint32_t cpus;
  ReadyTasks ready;
  std::uint32_t used_cpus = 0;  // by executors that work on it, or start because of it
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
  std::uint32_t unwanted = 0;        // calls of tasks that are terminal; each holds a reference
  TimePoint kill_at{};               // while stopping
  TimePoint progress_at{};           // when a call last ended, or work began
  std::uint64_t began_in_round = 0;  // when it last got work while idle

  bool idle() const { return phase == Phase::running && !outdated && calls.empty(); }
  /// Starting, and for no class yet.
  bool spare() const { return phase == Phase::starting && !task_class; }
  /// Takes new calls: nothing in it may soon lead to its being killed.
  bool welcoming() const { return phase == Phase::running && !outdated && unwanted == 0; }
  /// Calls beyond those that its threads can be at.
  std::uint32_t ahead() const {
    return calls.size() > traits.threads ? calls.size() - traits.threads : 0;
  }
  std::uint32_t used_cpus() const {
    if (phase == Phase::starting) return task_class ? task_class->cpus : 0;
    return calls.empty() ? 0 : std::min(calls.size(), traits.threads) * task_class->cpus;
  }
};

/// One executor type.
struct ExecutorType {
  std::vector<Executor*> executors;
  std::vector<TaskClass*> classes;
  std::uint32_t spawn_failures = 0;  // in a row
  std::uint32_t threads = 1;         // of the last one that registered
};

/// All executors and classes, and how many cpus they use. Thread: token holder.
class Executors {
 public:
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

  std::uint32_t used_cpus() const { return used_cpus_; }
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
};

}  // namespace rain::graph
