// What runs where. First executors get what their threads can be at, as far as the cpus reach.
// Then measured, short calls are queued ahead, and only for what still remains new executors are
// started. When nothing is ready, an idle executor gets what another has queued.

#include <algorithm>

#include "graph/state.h"

namespace rain::graph {
namespace {

/// Calls queued ahead are worth moving if they come to this part of Options.queue_ahead, or if
/// their executor has not got on for the whole of it.
constexpr int kWorthMoving = 4;
/// An executor is started for calls that are stuck behind another after so many queue_ahead.
constexpr int kStuck = 10;

bool more_entitled(const TaskClass& a, const TaskClass& b) {
  return a.share() != b.share() ? a.share() < b.share() : a.served < b.served;
}

}  // namespace

void Core::State::schedule() {
  if (options.mirror) return;
  ++round;
  while (ready_tasks > 0 && open_slot()) {
  }
  if (ready_tasks > 0)
    for (const auto& task_class : executors.classes()) queue_ahead(*task_class);
  balance();
}

void Core::State::schedule_after_call(Executor& executor) {
  // Nothing else has changed if all cpus are still in use and nobody waits for a share of them.
  const bool alone = executors.used_cpus() == options.cpus && executor.welcoming() &&
                     !executor.calls.empty() && executor.task_class->queues_ahead() &&
                     !must_yield(*executor.task_class);
  if (!alone) return schedule();
  steal_at.reset();
  queue_ahead(executor);
}

/// Gives cpus to one more call or start, if queues don't take it all. False: nothing to do, or no
/// room for who is next. It is not passed over in favour of smaller ones, so every task gets its
/// cpus some time: only those that want nothing that it waits for may go before it.
bool Core::State::open_slot() {
  TaskClass* task_class = most_entitled_class();
  if (!task_class) return false;
  if (!executors.fits(*task_class, {})) {
    if (!executors.any_needs()) return false;
    task_class = most_entitled_fitting_class();
    if (!task_class) return false;
  }
  if (Executor* executor = slot_for(*task_class)) {
    task_class->served = ++servings;
    if (executor->idle()) {
      executor->began_in_round = round;
      executor->progress_at = now;
    }
    send_next(*task_class, *executor);
  } else {
    queue_ahead(*task_class);
    if (!task_class->ready.empty()) spawn(*task_class);
  }
  return true;
}

bool Core::State::wants_slot(const TaskClass& task_class) const {
  if (task_class.ready.empty()) return false;
  if (covered_by_starting(task_class) && !slot_for(task_class)) return false;
  return !barred(task_class);
}

/// Of those with ready tasks, the one that uses the fewest cpus, then the one served longest ago.
TaskClass* Core::State::most_entitled_class() const {
  TaskClass* best = nullptr;
  for (const auto& each : executors.classes())
    if (wants_slot(*each) && (!best || more_entitled(*each, *best))) best = each.get();
  return best;
}

/// The same among those that fit beside what more entitled ones wait for.
TaskClass* Core::State::most_entitled_fitting_class() const {
  std::vector<TaskClass*> waiting;
  for (const auto& each : executors.classes())
    if (wants_slot(*each)) waiting.push_back(each.get());
  std::sort(waiting.begin(), waiting.end(),
            [](const TaskClass* a, const TaskClass* b) { return more_entitled(*a, *b); });
  Withheld withheld;
  for (TaskClass* each : waiting) {
    if (executors.fits(*each, withheld)) return each;
    executors.withhold(*each, withheld);
  }
  return nullptr;
}

/// Those that are starting will take all that is ready, or all cpus.
bool Core::State::covered_by_starting(const TaskClass& task_class) const {
  const std::uint32_t threads = executors.types()[task_class.type]->threads;
  return task_class.ready.size() <= task_class.starting * threads ||
         (task_class.starting > 0 && task_class.cpus > 0 &&
          executors.used_cpus() + task_class.starting * (threads - 1) * task_class.cpus >=
              options.cpus);
}

/// Whether executors of the class should run dry, because another class waits and has less.
bool Core::State::must_yield(const TaskClass& task_class) const {
  for (const auto& other : executors.classes()) {
    if (other.get() == &task_class || other->ready.empty() || covered_by_starting(*other)) continue;
    if (other->type != task_class.type && barred(*other)) continue;
    if (other->cpus == 0 || !executors.has_needs(*other, {})) continue;
    if (other->used_cpus == 0 || other->used_cpus + other->cpus < task_class.used_cpus) return true;
  }
  return false;
}

Executor* Core::State::slot_for(const TaskClass& task_class) const {
  Executor* best = nullptr;
  for (Executor* each : executors.types()[task_class.type]->executors) {
    const bool takes = each->idle() || (each->task_class == &task_class && each->welcoming() &&
                                        each->calls.size() < each->traits.threads);
    if (takes && (!best || each->calls.size() < best->calls.size())) best = each;
  }
  return best;
}

bool Core::State::may_start(TypeIndex type) const {
  const auto& processes = executors.types()[type]->executors;
  const std::uint32_t limit = options_of(type).max_processes;
  return limit == 0 || processes.size() < limit ||
         std::any_of(processes.begin(), processes.end(),
                     [](const Executor* each) { return each->spare() && !each->outdated; });
}

bool Core::State::barred(const TaskClass& task_class) const {
  return !may_start(task_class.type) && !slot_for(task_class);
}

void Core::State::spawn(TaskClass& task_class) {
  for (Executor* each : executors.types()[task_class.type]->executors)
    if (each->spare() && !each->outdated) return executors.adopt(*each, task_class);
  const Executor& executor = executors.add(task_class.type, &task_class);
  commands.emplace_back(SpawnExecutor{executor.id, executor.type, task_class.cpus, false});
}

bool Core::State::can_queue_ahead(const Executor& executor, const TaskRecord& task) const {
  const auto& traits = executor.traits;
  if (!executor.task_class->queues_ahead()) return false;
  if (!executor.welcoming() || executor.calls.size() < traits.threads ||
      executor.calls.size() >= traits.max_in_flight)
    return false;
  const std::uint32_t estimate_ns = run_times.estimate_ns(task.method);
  return estimate_ns != RunTimes::kUnknown &&
         executor.queued_ns + estimate_ns <=
             static_cast<std::uint64_t>(options.queue_ahead.count()) * traits.threads;
}

/// Levels the queues of the executors that work on the class, the shortest first.
void Core::State::queue_ahead(TaskClass& task_class) {
  ReadyTasks& ready = task_class.ready;
  if (ready.empty()) return;
  // One that began just now gets its turn's worth even if it is to run dry afterwards.
  const bool yields = must_yield(task_class);
  std::vector<Executor*> open;
  for (Executor* each : executors.types()[task_class.type]->executors)
    if (each->task_class == &task_class && !each->calls.empty() &&
        can_queue_ahead(*each, ready.next()) && (!yields || each->began_in_round == round))
      open.push_back(each);
  std::sort(open.begin(), open.end(),
            [](const Executor* a, const Executor* b) { return a->calls.size() < b->calls.size(); });
  while (!ready.empty() && !open.empty()) {
    const std::uint32_t level = open.front()->calls.size();
    for (std::size_t i = 0; i < open.size() && !ready.empty();) {
      if (open[i]->calls.size() > level) break;
      if (can_queue_ahead(*open[i], ready.next()))
        send_next(task_class, *open[i++]);
      else
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
}

void Core::State::queue_ahead(Executor& executor) {
  TaskClass& task_class = *executor.task_class;
  while (!task_class.ready.empty() && can_queue_ahead(executor, task_class.ready.next()))
    send_next(task_class, executor);
}

void Core::State::send_next(TaskClass& task_class, Executor& executor) {
  TaskRecord& task = task_class.ready.pop();
  --ready_tasks;
  executors.add_call(executor, task_class, task, run_times.estimate_ns(task.method));
  if (TaskExtras* extras = task.extras.get()) {
    executors.grant(task);
    extras->began = now;
    if (extras->timeout.count() > 0) {
      extras->deadline = now + extras->timeout;
      deadlines.emplace(extras->deadline, &task);
    }
  }
  move(task, TaskState::assigned);
  commands.emplace_back(SendCall{executor.id, TaskRef(&task)});
}

void Core::State::balance() {
  steal_at.reset();
  if (executors.used_cpus() >= options.cpus) return;
  for (const auto& type : executors.types()) balance(*type);
}

/// One idle executor gets about half of what the fullest has queued. That one is asked once at a
/// time, and a call whose Retract was refused not again.
void Core::State::balance(const ExecutorType& type) {
  Executor* fullest = nullptr;
  bool idle = false, starting = false;
  for (const TaskClass* each : type.classes)
    if (!each->ready.empty()) return;
  for (Executor* each : type.executors) {
    idle |= each->idle();
    starting |= each->phase == Executor::Phase::starting;
    if (each->welcoming() && each->retracting == 0 && each->ahead() > 0 &&
        each->calls.back()->call == CallState::sent &&
        (!fullest || each->queued_ns > fullest->queued_ns))
      fullest = each;
  }
  if (!fullest || starting) return;
  if (executors.used_cpus() + fullest->task_class->cpus > options.cpus) return;

  const std::uint64_t ahead_ns = fullest->queued_ns * fullest->ahead() / fullest->calls.size();
  const bool worth =
      ahead_ns * kWorthMoving >= static_cast<std::uint64_t>(options.queue_ahead.count());
  const TimePoint due = fullest->progress_at + (idle ? 1 : kStuck) * options.queue_ahead;
  if (now < due && !(idle && worth)) {
    steal_at = std::min(steal_at.value_or(due), due);
    return;
  }
  if (!idle) {
    if (type.spawn_failures == 0 && may_start(fullest->type)) spawn(*fullest->task_class);
    return;
  }
  std::uint32_t count = (fullest->ahead() + 1) / 2;
  for (TaskRecord* task = fullest->calls.back(); count > 0 && task->call == CallState::sent;
       task = task->previous, --count) {
    task->call = CallState::retracting;
    ++fullest->retracting;
    commands.emplace_back(Retract{fullest->id, TaskRef(task)});
  }
}

}  // namespace rain::graph
