#include "graph/executors.h"

namespace rain::graph {

Executors::Executors(const Core::Options& options)
    : cpus_(options.cpus), resources_(options.resources) {
  resources_.push_back({"", options.free_slots});
  used_.resize(resources_.size());
  for (const Resource& each : resources_) taken_.emplace_back(each.ids.size());
}

ExecutorType& Executors::type(TypeIndex index) {
  while (types_.size() <= index) types_.push_back(std::make_unique<ExecutorType>());
  return *types_[index];
}

TaskClass& Executors::class_of(const TaskRecord& task) {
  ExecutorType& owner = type(task.type);
  for (TaskClass* known : owner.classes)
    if (known->has(task)) return *known;
  Demand demand = Demand::of(task);
  std::vector<Need> needs = demand.needs;
  if (demand.cpus == 0) needs.push_back({static_cast<std::uint16_t>(resources_.size() - 1), 1});
  any_needs_ |= !needs.empty();
  classes_.push_back(std::make_unique<TaskClass>(task.type, std::move(demand), std::move(needs)));
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
  executor.traits.pid = traits.pid;
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
  if (!task.extras) return;
  if (task.extras->doom) --executor.doomed;
  for (const Grant& grant : task.extras->grants)
    for (const std::uint32_t index : grant.indices) taken_[grant.resource][index] = false;
  task.extras->grants.clear();
}

void Executors::leave_account(const Executor& executor) { change_account(executor, -1); }
void Executors::enter_account(const Executor& executor) { change_account(executor, 1); }

void Executors::change_account(const Executor& executor, int sign) {
  const std::uint32_t at_work = executor.at_work();
  if (at_work == 0) return;
  TaskClass& task_class = *executor.task_class;
  const auto add = [sign](auto& to, auto what) { sign > 0 ? to += what : to -= what; };
  add(used_cpus_, executor.used_cpus());
  add(task_class.used_cpus, executor.used_cpus());
  add(task_class.at_work, at_work);
  add(busy_, 1u);
  for (const Need& need : task_class.needs) add(used_[need.resource], at_work * need.amount);
}

// ---- resources -------------------------------------------------------------------------------

std::size_t Executors::resource(const std::string& name) const {
  for (std::size_t i = 0; i < resources_.size(); ++i)
    if (resources_[i].name == name) return i;
  return kNoResource;
}

bool Executors::fits(const TaskClass& task_class, const Withheld& withheld) const {
  if (task_class.cpus > 0 && (withheld.cpus || used_cpus_ + task_class.cpus > cpus_)) return false;
  return has_needs(task_class, withheld);
}

bool Executors::has_needs(const TaskClass& task_class, const Withheld& withheld) const {
  for (const Need& need : task_class.needs) {
    const std::uint64_t kept = withheld.amounts.empty() ? 0 : withheld.amounts[need.resource];
    if (used_[need.resource] + kept + need.amount > resources_[need.resource].total) return false;
  }
  return true;
}

void Executors::withhold(const TaskClass& task_class, Withheld& withheld) const {
  if (has_needs(task_class, withheld)) withheld.cpus |= task_class.cpus > 0;
  withheld.amounts.resize(resources_.size());
  for (const Need& need : task_class.needs) {
    const std::uint64_t total = resources_[need.resource].total;
    std::uint64_t& kept = withheld.amounts[need.resource];
    kept = used_[need.resource] + need.amount > total ? total : std::min(total, kept + need.amount);
  }
}

void Executors::grant(TaskRecord& task) {
  for (const Need& need : task.extras->needs) {
    auto& taken = taken_[need.resource];
    if (taken.empty()) continue;
    Grant grant{need.resource, {}};
    for (std::uint32_t i = 0; grant.indices.size() * kResourceUnit < need.amount; ++i) {
      if (taken.at(i)) continue;
      taken[i] = true;
      grant.indices.push_back(i);
    }
    task.extras->grants.push_back(std::move(grant));
  }
}

}  // namespace rain::graph
