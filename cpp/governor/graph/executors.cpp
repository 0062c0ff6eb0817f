#include "graph/executors.h"

namespace rain::graph {

ExecutorType& Executors::type(TypeIndex index) {
  while (types_.size() <= index) types_.push_back(std::make_unique<ExecutorType>());
  return *types_[index];
}

TaskClass& Executors::class_of(const TaskRecord& task) {
  ExecutorType& owner = type(task.type);
  for (TaskClass* known : owner.classes)
    if (known->cpus == task.cpus) return *known;
  classes_.push_back(std::make_unique<TaskClass>(task.type, task.cpus));
  owner.classes.push_back(classes_.back().get());
  return *classes_.back();
}

Executor* Executors::find(ExecutorId id) const {
  return id && id.value <= executors_.size() ? executors_[id.value - 1].get() : nullptr;
}

Executor& Executors::add(TypeIndex index, TaskClass* starts_for) {
  const ExecutorId id{static_cast<std::uint32_t>(executors_.size() + 1)};
  executors_.push_back(std::make_unique<Executor>(id, index, nullptr));
  Executor& executor = *executors_.back();
  type(index).executors.push_back(&executor);
  if (starts_for) adopt(executor, *starts_for);
  return executor;
}

void Executors::adopt(Executor& executor, TaskClass& starts_for) {
  executor.task_class = &starts_for;
  ++starts_for.starting;
  enter_account(executor);
}

void Executors::registered(Executor& executor, ExecutorTraits traits) {
  leave_account(executor);
  if (executor.task_class) --executor.task_class->starting;
  executor.phase = Executor::Phase::running;
  executor.traits.max_in_flight = std::clamp(traits.max_in_flight, 1u, kSequenceSlots);
  executor.traits.threads = std::clamp(traits.threads, 1u, executor.traits.max_in_flight);
  enter_account(executor);
  ExecutorType& owner = type(executor.type);
  owner.threads = executor.traits.threads;
  owner.spawn_failures = 0;
}

void Executors::remove(Executor& executor) {
  leave_account(executor);
  if (executor.phase == Executor::Phase::starting && executor.task_class)
    --executor.task_class->starting;
  auto& siblings = type(executor.type).executors;
  siblings.erase(std::find(siblings.begin(), siblings.end(), &executor));
  executors_[executor.id.value - 1].reset();
}

void Executors::add_call(Executor& executor, TaskClass& task_class, TaskRecord& task,
                         std::uint32_t estimate_ns) {
  leave_account(executor);
  executor.task_class = &task_class;
  executor.calls.push_back(task);
  enter_account(executor);

  // 0 is no sequence, and slots of calls that are still out are passed over.
  do ++executor.last_sequence;
  while (executor.last_sequence == 0 ||
         executor.taken_slots[executor.last_sequence % kSequenceSlots]);
  executor.taken_slots.set(executor.last_sequence % kSequenceSlots);
  executor.queued_ns += estimate_ns;
  task.sequence = executor.last_sequence;
  task.queued_ns = estimate_ns;
  task.executor = executor.id;
  task.call = CallState::sent;
}

void Executors::remove_call(Executor& executor, TaskRecord& task) {
  leave_account(executor);
  executor.calls.remove(task);
  enter_account(executor);
  executor.taken_slots.reset(task.sequence % kSequenceSlots);
  executor.queued_ns -= task.queued_ns;
  if (task.call == CallState::retracting) --executor.retracting;
  if (task.call == CallState::stopping) --executor.stopping;
  task.call = CallState::none;
}

void Executors::leave_account(const Executor& executor) {
  const std::uint32_t used = executor.used_cpus();
  if (used == 0) return;
  used_cpus_ -= used;
  executor.task_class->used_cpus -= used;
  --busy_;
}

void Executors::enter_account(const Executor& executor) {
  const std::uint32_t used = executor.used_cpus();
  if (used == 0) return;
  used_cpus_ += used;
  executor.task_class->used_cpus += used;
  ++busy_;
}

}  // namespace rain::graph
