// The walk over everything that check_invariants() is.

#include <map>
#include <set>
#include <string>

#include "graph/state.h"

namespace rain::graph {
namespace {

void require(bool holds, const std::string& invariant) {
  if (!holds) throw std::logic_error("scheduling core: violated: " + invariant);
}

std::string of(const TaskRecord& task) { return " (task " + task.id.to_string() + ")"; }
std::string of(const ObjectRecord& object) { return " (object " + object.id.to_string() + ")"; }
std::string of(const Executor& executor) {
  return " (executor " + std::to_string(executor.id.value) + ")";
}

std::size_t waits_for(const ObjectRecord& object, const TaskRecord& task) {
  std::size_t count = 0;
  for (const TaskRecord* each : object.waiting_consumers) count += each == &task;
  return count;
}

/// What the walk over the sessions has seen, to compare the tables with.
struct Seen {
  bool mirror = false;
  std::set<const TaskRecord*> ready, assigned;
  std::map<const ObjectRecord*, std::uint32_t> consumers, waiting;
};

void check_live(const TaskRecord& task, Seen& seen) {
  std::map<const ObjectRecord*, std::uint32_t> unfinished;
  for (const ObjectRef& input : task.inputs) {
    ++seen.consumers[input.get()];
    const ObjectState state = input->state;
    if (state == ObjectState::unfinished) {
      ++unfinished[input.get()];
      ++seen.waiting[input.get()];
      require(input->producer && !is_terminal(input->producer->state),
              "an unfinished input has a live producer" + of(task));
    } else {
      require(state == ObjectState::finished && input->data,
              "an input of a live task is unfinished, or finished with data" + of(task));
    }
  }
  std::uint32_t count = 0;
  for (const auto& [object, times] : unfinished) {
    count += times;
    require(waits_for(*object, task) == times, "a waiting task is known to its input" + of(task));
  }
  require(count == task.unfinished_inputs, "unfinished_inputs counts them" + of(task));
  for (const ObjectRef& output : task.outputs)
    require(output->state == ObjectState::unfinished && !output->data && output->producer == &task,
            "an output of a live task is unfinished and without data" + of(task));

  const TaskState state = task.state;
  require(state == TaskState::waiting || state == TaskState::ready || state == TaskState::assigned,
          "what is in session->live is live" + of(task));
  require((state == TaskState::waiting) == (count > 0),
          "a task is waiting exactly while inputs are unfinished" + of(task));
  require((state == TaskState::assigned && !seen.mirror) == (task.call != CallState::none),
          "a live task has a call out exactly while assigned" + of(task));
  if (state == TaskState::ready) seen.ready.insert(&task);
  if (state == TaskState::assigned && !seen.mirror) seen.assigned.insert(&task);
}

void check_session(const SessionRecord& session, Seen& seen) {
  require(session.unfinished_tasks == session.live.size(), "unfinished_tasks counts the live ones");
  require(!(session.failed || session.closed) || (session.live.empty() && session.holding.empty()),
          "a failed or closed session has no live task and no data");
  for (std::size_t i = 0; i < session.live.size(); ++i) {
    const TaskRecord& task = *session.live[i];
    require(task.live_index == i && task.session == &session,
            "a live task knows its place in session->live" + of(task));
    check_live(task, seen);
  }
}

void check_holding(const SessionRecord& session, const Seen& seen) {
  for (std::size_t i = 0; i < session.holding.size(); ++i) {
    const ObjectRecord& object = *session.holding[i];
    require(object.holding_index == i && object.session == &session,
            "an object knows its place in session->holding" + of(object));
    require(
        object.state == ObjectState::finished && object.data && object.waiting_consumers.empty(),
        "a held object is finished and has data" + of(object));
    require(object.kept || seen.consumers.count(&object) > 0,
            "data are held only while somebody needs them" + of(object));
  }
}

/// Each index has one owner, and each call of an indexed resource what it asked for.
void check_grants(const TaskRecord& task,
                  std::set<std::pair<std::uint16_t, std::uint32_t>>& granted) {
  for (const Grant& grant : task.extras->grants) {
    for (const std::uint32_t index : grant.indices)
      require(granted.emplace(grant.resource, index).second,
              "an index is granted to one call at a time" + of(task));
    for (const Need& need : task.extras->needs)
      require(
          need.resource != grant.resource || need.amount == grant.indices.size() * kResourceUnit,
          "a call has as many as it asked for" + of(task));
  }
}

void check_executor(const Executor& executor, Seen& seen) {
  using Phase = Executor::Phase;
  require(executor.phase != Phase::starting || executor.calls.empty(),
          "a starting executor has no calls" + of(executor));
  std::uint32_t calls = 0, retracting = 0, stopping = 0, unwanted = 0, doomed = 0;
  std::uint64_t queued_ns = 0;
  for (const TaskRecord* task = executor.calls.front(); task; task = task->next) {
    ++calls;
    retracting += task->call == CallState::retracting;
    stopping += task->call == CallState::stopping;
    queued_ns += task->queued_ns;
    require(task->executor == executor.id && task->call != CallState::none,
            "a task with a call out knows its executor" + of(*task));
    require(task->type == executor.type && executor.task_class->has(*task),
            "calls of one executor are of its type and have the same demand" + of(*task));
    if (task->extras) doomed += task->extras->doom != nullptr;
    require(executor.taken_slots[task->sequence % kSequenceSlots],
            "a call's sequence is taken" + of(*task));
    if (is_terminal(task->state)) {
      ++unwanted;
      require(task->cancel_requested && task->use_count() > 0,
              "a terminal task with a call out was asked to stop" + of(*task));
    } else {
      require(seen.assigned.erase(task) == 1, "a wanted call is of a live task" + of(*task));
    }
  }
  require(calls == executor.calls.size() && calls == executor.taken_slots.count(),
          "calls are counted, each with a sequence of its own" + of(executor));
  require(retracting == executor.retracting && stopping == executor.stopping &&
              unwanted == executor.unwanted && doomed == executor.doomed &&
              queued_ns == executor.queued_ns,
          "calls are counted by kind" + of(executor));
  require(calls <= executor.traits.max_in_flight, "max_in_flight is kept" + of(executor));
  require(calls == 0 || executor.task_class->queues_ahead() || executor.ahead() == 0,
          "nothing is queued beside calls that are timed or hold resources" + of(executor));
  require(executor.phase != Phase::ending || calls == 0,
          "an executor that was asked to end has no calls" + of(executor));
  require(!executor.outdated || executor.phase != Phase::running || calls > 0,
          "an outdated executor ends with its last call" + of(executor));
}

}  // namespace

void Core::State::check_invariants() const {
  Seen seen;
  seen.mirror = options.mirror;
  for (const SessionRef& session : sessions) check_session(*session, seen);
  for (const SessionRef& session : sessions) check_holding(*session, seen);
  for (const auto& [object, count] : seen.consumers)
    require(object->unfinished_consumers == count, "consumers are counted" + of(*object));
  for (const auto& [object, count] : seen.waiting)
    require(object->waiting_consumers.size() == count, "only live tasks wait" + of(*object));
  require(ended.empty() && dependants.empty() && unwaited.empty(), "an event leaves nothing over");

  std::uint32_t ready = 0;
  std::map<const TaskClass*, std::uint32_t> used, starting;
  for (const auto& task_class : executors.classes()) {
    ready += task_class->ready.size();
    std::uint32_t listed = 0;
    task_class->ready.for_each([&](const TaskRecord& task) {
      ++listed;
      require(seen.ready.erase(&task) == 1, "a queued task is live and ready" + of(task));
      require(task_class->has(task), "a ready task is with its class" + of(task));
    });
    require(listed == task_class->ready.size(), "ready tasks are counted");
  }
  require(ready == ready_tasks && seen.ready.empty(), "every ready task is queued once");
  require(!options.mirror || executors.busy() == 0, "a mirror has no executors");
  require(!lost_cause || (ready == 0 && executors.busy() == 0), "nothing runs once all is lost");

  std::uint32_t cpus = 0, busy = 0;
  std::size_t timed = 0;
  std::vector<std::uint64_t> amounts(executors.resources().size());
  std::set<std::pair<std::uint16_t, std::uint32_t>> granted;
  executors.for_each([&](const Executor& executor) {
    check_executor(executor, seen);
    cpus += executor.used_cpus();
    busy += executor.at_work() > 0;
    if (executor.at_work() > 0) {
      used[executor.task_class] += executor.used_cpus();
      for (const Need& need : executor.task_class->needs)
        amounts[need.resource] += executor.at_work() * need.amount;
    }
    for (const TaskRecord* task = executor.calls.front(); task; task = task->next) {
      if (!task->extras) continue;
      timed += task->extras->deadline != TimePoint{};
      check_grants(*task, granted);
    }
    if (executor.phase == Executor::Phase::starting && executor.task_class)
      ++starting[executor.task_class];
  });
  require(seen.assigned.empty(), "every assigned task has its call on one executor");
  require(cpus == executors.used_cpus() && busy == executors.busy(), "cpus in use are counted");
  require(cpus <= options.cpus, "no more cpus are in use than there are");
  require(amounts == executors.used_amounts(), "resources in use are counted");
  for (std::size_t i = 0; i < amounts.size(); ++i)
    require(amounts[i] <= executors.resources()[i].total, "no more of a resource is in use");
  require(timed == deadlines.size(), "deadlines are those of calls that are out");
  for (std::size_t type = 0; type < executors.types().size(); ++type) {
    const std::uint32_t limit = options_of(static_cast<TypeIndex>(type)).max_processes;
    require(limit == 0 || executors.types()[type]->executors.size() <= limit,
            "no type has more processes than it may");
  }
  for (const auto& task_class : executors.classes())
    require(used[task_class.get()] == task_class->used_cpus &&
                starting[task_class.get()] == task_class->starting,
            "cpus in use are counted for each class");
}

}  // namespace rain::graph
