#include "graph/core.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "graph/state.h"
#include "graph/submit.h"
#include "graph/transitions.h"

namespace rain::graph {

// ---- events ----------------------------------------------------------------------------------

Core::Core(Options options) : state_(std::make_unique<State>(std::move(options))) {}
Core::~Core() = default;

void Core::on_submit(const SessionRef& session, std::vector<TaskRef> tasks,
                     std::vector<ObjectRef> objects, TimePoint now) {
  validate_submit(*session, tasks, objects, state_->options);
  state_->now = now;
  state_->submit(session, tasks, objects);
  if (state_->lost_cause) state_->fail_all_ready(state_->lost_cause);
  state_->schedule();
  state_->end_event();
}

void Core::on_offered(std::uint32_t cpus, std::vector<Resource> resources) {
  Options& known = state_->options;
  known.cpus = std::max(known.cpus, cpus);
  for (Resource& each : resources) {
    const auto found = std::find_if(known.resources.begin(), known.resources.end(),
                                    [&](const Resource& its) { return its.name == each.name; });
    if (found == known.resources.end())  // tasks have the numbers of the others
      known.resources.push_back(std::move(each));
    else if (found->total < each.total)
      *found = std::move(each);
  }
}

void Core::on_prestart(TypeIndex type, std::uint32_t count, TimePoint now) {
  if (state_->lost_cause) return;
  state_->now = now;
  state_->prestart(type, count);
  state_->end_event();
}

void Core::on_executor_outdated(ExecutorId id, TimePoint now) {
  Executor* executor = state_->executors.find(id);
  if (!executor) return;
  state_->now = now;
  executor->outdated = true;
  state_->end_if_outdated(*executor);
  state_->end_event();
}

void Core::on_executor_ready(ExecutorId id, ExecutorTraits traits, TimePoint now) {
  Executor* executor = state_->executors.find(id);
  if (!executor || executor->phase != Executor::Phase::starting) return;
  state_->now = now;
  executor->progress_at = now;
  state_->executors.registered(*executor, traits);
  state_->end_if_outdated(*executor);
  state_->schedule();
  state_->end_event();
}

void Core::on_task_done(ExecutorId id, TaskRecord& task,
                        std::vector<std::shared_ptr<ObjectData>> outputs, Duration run_time,
                        TimePoint now) {
  Executor* executor = state_->with_call(id, task);
  if (!executor) return;
  state_->now = now;
  state_->run_times.measured(task.method, run_time);
  state_->end_call(*executor, task);
  if (task.state == TaskState::assigned) {
    if (task.extras && task.extras->doom)
      state_->fail_attempt(task, task.extras->doom, run_time, executor->traits.pid);
    else
      state_->finish(task, outputs, run_time, executor->traits.pid);
  }
  state_->schedule_after_call(*executor);
  state_->end_event();
}

void Core::on_task_failed(ExecutorId id, TaskRecord& task, FailurePtr failure, Duration run_time,
                          TimePoint now) {
  Executor* executor = state_->with_call(id, task);
  if (!executor) return;
  state_->now = now;
  state_->run_times.measured(task.method, run_time);
  state_->end_call(*executor, task);
  if (task.state == TaskState::assigned) {
    if (task.extras && task.extras->doom) failure = task.extras->doom;
    state_->fail_attempt(task, std::move(failure), run_time, executor->traits.pid);
  }
  state_->schedule();
  state_->end_event();
}

void Core::on_task_doomed(ExecutorId id, TaskRecord& task, FailurePtr failure, TimePoint now) {
  Executor* executor = state_->with_call(id, task);
  if (!executor || executor->phase == Executor::Phase::killed) return;
  if (is_terminal(task.state) || !task.extras || task.extras->doom) return;
  state_->now = now;
  state_->doom(*executor, task, std::move(failure));
  executor->phase = Executor::Phase::killed;
  state_->commands.emplace_back(KillExecutor{executor->id});
  state_->schedule();
  state_->end_event();
}

void Core::on_task_cancelled(ExecutorId id, TaskRecord& task, TimePoint now) {
  Executor* executor = state_->with_call(id, task);
  if (!executor) return;
  if (task.call == CallState::retracting) return on_retracted(id, task, now);
  state_->now = now;
  state_->end_call(*executor, task);
  if (task.state == TaskState::assigned) {
    if (task.extras && task.extras->doom)
      state_->fail_attempt(task, task.extras->doom, now - task.extras->began, executor->traits.pid);
    else
      state_->cancel({TaskRef(&task)});
  }
  state_->schedule();
  state_->end_event();
}

void Core::on_retracted(ExecutorId id, TaskRecord& task, TimePoint now) {
  Executor* executor = state_->with_call(id, task);
  if (!executor) return;
  state_->now = now;
  state_->end_call(*executor, task);
  if (task.state == TaskState::assigned) {
    if (task.extras && task.extras->doom)
      state_->fail_attempt(task, task.extras->doom, now - task.extras->began, executor->traits.pid);
    else
      state_->make_ready(task, true);
  }
  state_->schedule();
  state_->end_event();
}

void Core::on_retract_refused(ExecutorId id, TaskRecord& task, TimePoint now) {
  Executor* executor = state_->with_call(id, task);
  if (!executor || task.call != CallState::retracting) return;
  state_->now = now;
  --executor->retracting;
  task.call = CallState::begun;
  if (is_terminal(task.state) || (task.extras && task.extras->doom))
    state_->request_stop(*executor, task);
  state_->schedule();
  state_->end_event();
}

void Core::on_executor_lost(ExecutorId id, const FailurePtr& cause, const std::vector<Begun>& begun,
                            TimePoint now) {
  Executor* executor = state_->executors.find(id);
  if (!executor) return;
  state_->now = now;
  const TypeIndex type = executor->type;
  // One that ends by itself without having had work would do so again.
  const bool replace = executor->phase != Executor::Phase::starting &&
                       (executor->phase == Executor::Phase::ending || executor->last_sequence > 0);
  if (executor->phase == Executor::Phase::starting)
    state_->fail_spawn(*executor, cause);
  else
    state_->lose(*executor, cause, begun);
  state_->schedule();
  if (replace) state_->prestart(type, state_->options_of(type).prestart);
  state_->end_event();
}

void Core::on_mirrored_start(TaskRecord& task, TimePoint now) {
  state_->now = now;
  state_->leave_ready(task);
  state_->move(task, TaskState::assigned);
  state_->end_event();
}

void Core::on_mirrored(TaskRecord& task, Ending& ending, TimePoint now) {
  state_->now = now;
  state_->mirror(task, ending);
  state_->end_event();
}

void Core::on_cancel(const std::vector<TaskRef>& tasks, TimePoint now) {
  state_->now = now;
  state_->cancel(tasks);
  state_->schedule();
  state_->end_event();
}

void Core::on_close_session(const SessionRef& session, TimePoint now) {
  state_->now = now;
  state_->close(*session);
  state_->schedule();
  state_->end_event();
}

void Core::on_unkeep(ObjectRecord& object, TimePoint now) {
  state_->now = now;
  object.kept = false;
  if (object.state == ObjectState::finished) state_->hold_or_drop(object);
  state_->end_event();
}

void Core::on_all_lost(const FailurePtr& cause, TimePoint now) {
  state_->now = now;
  state_->lose_everything(cause);
  state_->schedule();
  state_->end_event();
}

void Core::on_tick(TimePoint now) {
  state_->now = now;
  state_->expire();
  state_->kill_overdue();
  state_->end_idle();
  state_->schedule();
  state_->end_event();
}

// ---- results ---------------------------------------------------------------------------------

std::vector<Command> Core::take_commands() { return std::exchange(state_->commands, {}); }

void Core::take_commands(std::vector<Command>& into) {
  into.clear();
  into.swap(state_->commands);
}

std::optional<TimePoint> Core::next_tick() const {
  std::optional<TimePoint> tick = state_->steal_at;
  state_->executors.for_each([&](const Executor& executor) {
    if (executor.phase == Executor::Phase::running && executor.stopping > 0)
      tick = std::min(tick.value_or(executor.kill_at), executor.kill_at);
  });
  if (!state_->deadlines.empty()) {
    const TimePoint due = state_->deadlines.begin()->first;
    tick = std::min(tick.value_or(due), due);
  }
  if (const auto due = state_->next_idle_end()) tick = std::min(tick.value_or(*due), *due);
  return tick;
}

bool Core::busy() const { return state_->executors.busy() > 0; }
std::uint32_t Core::busy_executors() const { return state_->executors.busy(); }

std::vector<ExecutorView> Core::executors() const {
  std::vector<ExecutorView> views;
  state_->executors.for_each([&](const Executor& executor) {
    ExecutorView view{executor.id, executor.type};
    view.state = executor.phase == Executor::Phase::starting                        ? "starting"
                 : executor.phase == Executor::Phase::running && !executor.outdated ? "running"
                                                                                    : "ending";
    view.calls = executor.calls.size();
    view.progress_at = executor.progress_at;
    TaskRecord* task = executor.calls.front();
    for (auto left = executor.traits.threads; task && left > 0; task = task->next, --left)
      view.at_work.emplace_back(task);
    views.push_back(std::move(view));
  });
  return views;
}

void Core::check_invariants() const { state_->check_invariants(); }

// ---- what the events do ----------------------------------------------------------------------

Core::State::~State() {
  executors.for_each([](Executor& executor) {
    for (TaskRecord* task = executor.calls.front(); task;) {
      TaskRecord* next = task->next;
      if (is_terminal(task->state)) task->release();
      task = next;
    }
  });
}

void Core::State::submit(const SessionRef& session, std::vector<TaskRef>& tasks,
                         std::vector<ObjectRef>& objects) {
  if (!session->entered) {
    session->entered = true;
    sessions.push_back(session);
  }
  for (TaskRef& task : tasks)
    for (ObjectRef& output : task->outputs)
      output->state.store(ObjectState::unfinished, std::memory_order_release);
  for (ObjectRef& object : objects) {
    if (object->producer) continue;
    object->size_bytes = object->data->size_bytes;
    object->state.store(ObjectState::finished, std::memory_order_release);
  }

  session->unfinished_tasks += tasks.size();
  session->live.reserve(session->live.size() + tasks.size());
  commands.reserve(commands.size() + tasks.size());
  for (TaskRef& task : tasks) {
    task->live_index = static_cast<std::uint32_t>(session->live.size());
    for (ObjectRef& input : task->inputs) {
      ++input->unfinished_consumers;
      if (input->state == ObjectState::finished) continue;
      input->waiting_consumers.push_back(task.get());
      ++task->unfinished_inputs;
    }
    session->live.push_back(std::move(task));
    TaskRecord& entered = *session->live.back();
    if (entered.unfinished_inputs > 0)
      move(entered, TaskState::waiting);
    else
      make_ready(entered, false);
  }
  // Now that their consumers are counted.
  for (ObjectRef& object : objects)
    if (!object->producer) hold_or_drop(*object);
}

void Core::State::finish(TaskRecord& task, std::vector<std::shared_ptr<ObjectData>>& outputs,
                         Duration run_time, std::int32_t pid) {
  if (outputs.size() != task.outputs.size())
    return fail_attempt(task,
                        std::make_shared<Failure>(Failure{
                            FailureKind::executor,
                            task.id,
                            "the executor returned " + std::to_string(outputs.size()) +
                                " outputs, but the task has " + std::to_string(task.outputs.size()),
                            {},
                            {},
                            {}}),
                        run_time, pid);
  task.run_time = run_time;

  task.input_bytes = task.output_bytes = 0;
  for (const ObjectRef& input : task.inputs) task.input_bytes += input->data->size_bytes;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    ObjectRecord& output = *task.outputs[i];
    task.output_bytes += outputs[i]->size_bytes;
    output.size_bytes = outputs[i]->size_bytes;
    output.data = std::move(outputs[i]);
    output.state.store(ObjectState::finished, std::memory_order_release);
  }
  ended.push_back(leave_live(task));
  move(task, TaskState::finished);

  for (const ObjectRef& output : task.outputs) {
    for (TaskRecord* consumer : output->waiting_consumers)
      if (--consumer->unfinished_inputs == 0) make_ready(*consumer, false);
    std::vector<TaskRecord*>().swap(output->waiting_consumers);
    hold_or_drop(*output);
  }
  release_inputs(task);
}

void Core::State::mirror(TaskRecord& task, Ending& ending) {
  task.run_time = ending.run_time;
  switch (ending.state) {
    case TaskState::finished:
      if (task.state == TaskState::waiting)
        throw std::logic_error("task " + task.id.to_string() + " finished before its inputs");
      if (task.state == TaskState::ready) leave_ready(task);
      return finish(task, ending.outputs, ending.run_time, 0);
    case TaskState::failed:
      return fail(task, ending.failure);
    default:
      end(task, ending.state, ending.failure, task);
      return end_dependants();
  }
}

void Core::State::lose(Executor& executor, const FailurePtr& cause,
                       const std::vector<Begun>& begun) {
  const bool killed = executor.phase == Executor::Phase::killed;
  executor.phase = Executor::Phase::killed;
  const std::int32_t pid = executor.traits.pid;
  std::vector<TaskRecord*> guilty, innocent;
  const auto find_begun = [&](const TaskRecord* task) {
    return std::find_if(begun.begin(), begun.end(),
                        [&](const Begun& each) { return each.task == task; });
  };
  while (TaskRecord* task = executor.calls.front()) {
    const bool had_begun = find_begun(task) != begun.end();
    end_call(executor, *task);
    if (is_terminal(task->state)) continue;
    if (task->extras && task->extras->doom)
      guilty.push_back(task);
    else if (killed)
      innocent.push_back(task);
    else if (had_begun || ++task->crashes > options.crash_limit)
      guilty.push_back(task);
    else
      innocent.push_back(task);
  }
  executors.remove(executor);
  std::for_each(innocent.rbegin(), innocent.rend(),
                [this](TaskRecord* task) { make_ready(*task, true); });
  for (TaskRecord* task : guilty) {
    if (is_terminal(task->state)) continue;
    const TaskExtras* extras = task->extras.get();
    FailurePtr failure = extras && extras->doom ? extras->doom : cause;
    const auto said = find_begun(task);
    if (failure && said != begun.end() && !said->debug.empty()) {
      Failure told = *failure;
      told.debug = said->debug;
      failure = std::make_shared<Failure>(std::move(told));
    }
    fail_attempt(*task, std::move(failure), extras ? now - extras->began : Duration{0}, pid);
  }
}

void Core::State::fail_spawn(Executor& executor, const FailurePtr& cause) {
  ExecutorType& type = executors.type(executor.type);
  TaskClass* task_class = executor.task_class;
  executors.remove(executor);
  if (!task_class) return;
  if (++type.spawn_failures >= options.spawn_failures_limit) {
    type.spawn_failures = 0;
    for (TaskClass* each : type.classes)
      while (!each->ready.empty()) fail(each->ready.next(), cause);
    return;
  }
  if (task_class->ready.empty())
    for (TaskClass* each : type.classes)
      if (!each->ready.empty()) task_class = each;
  if (!task_class->ready.empty()) fail(task_class->ready.next(), cause);
}

void Core::State::lose_everything(const FailurePtr& cause) {
  lost_cause = cause;
  std::vector<Executor*> all;
  executors.for_each([&](Executor& executor) { all.push_back(&executor); });
  std::vector<TaskRecord*> cut_off;
  for (Executor* executor : all) {
    executor->outdated = false;  // it needs no EndExecutor any more
    while (TaskRecord* task = executor->calls.front()) {
      end_call(*executor, *task);
      if (!is_terminal(task->state)) cut_off.push_back(task);
    }
    executors.remove(*executor);
  }
  if (options.mirror)
    for (const SessionRef& session : sessions)
      for (const TaskRef& task : session->live)
        if (task->state == TaskState::assigned) cut_off.push_back(task.get());
  for (TaskRecord* task : cut_off)
    if (!is_terminal(task->state)) fail(*task, cause);
  fail_all_ready(cause);
}

Executor* Core::State::with_call(ExecutorId id, const TaskRecord& task) const {
  if (task.call == CallState::none || task.executor != id) return nullptr;
  return executors.find(id);
}

void Core::State::move(TaskRecord& task, TaskState to) {
  const TaskState from = task.state.load(std::memory_order_relaxed);
  if (!may_move(from, to))
    throw std::logic_error("task " + task.id.to_string() + " can't go from " + to_string(from) +
                           " to " + to_string(to));
  if (is_terminal(to)) task.ended = now;
  task.state.store(to, std::memory_order_release);
  if (is_terminal(to)) {
    ++task.session->ended[static_cast<std::size_t>(to)];
    task.session->unfinished_tasks.fetch_sub(1, std::memory_order_release);
  }
  commands.emplace_back(TaskChanged{TaskRef(&task), from, to, now});
}

void Core::State::make_ready(TaskRecord& task, bool first) {
  move(task, TaskState::ready);
  ReadyTasks& ready = executors.class_of(task).ready;
  if (first)
    ready.push_front(task);
  else
    ready.push_back(task);
  ++ready_tasks;
}

void Core::State::leave_ready(TaskRecord& task) {
  executors.class_of(task).ready.remove(task);
  --ready_tasks;
}

void Core::State::doom(Executor& executor, TaskRecord& task, FailurePtr failure) {
  forget_deadline(task);
  task.extras->doom = std::move(failure);
  ++executor.doomed;
}

void Core::State::forget_deadline(TaskRecord& task) {
  if (!task.extras || task.extras->deadline == TimePoint{}) return;
  deadlines.erase({task.extras->deadline, &task});
  task.extras->deadline = TimePoint{};
}

void Core::State::expire() {
  while (!deadlines.empty() && deadlines.begin()->first <= now) {
    TaskRecord& task = *deadlines.begin()->second;
    Executor& executor = *executors.find(task.executor);
    doom(executor, task, timeout_failure(task));
    take_back(executor, task);
  }
}

FailurePtr Core::State::timeout_failure(const TaskRecord& task) const {
  const auto seconds = [](Duration time) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4g s", std::chrono::duration<double>(time).count());
    return std::string(text);
  };
  const std::string name = options.method_name ? " '" + options.method_name(task.method) + "'" : "";
  return std::make_shared<Failure>(Failure{FailureKind::timeout,
                                           task.id,
                                           "the task" + name + " was stopped after " +
                                               seconds(now - task.extras->began) +
                                               ": its timeout is " + seconds(task.extras->timeout),
                                           {},
                                           {},
                                           {}});
}

void Core::State::end_call(Executor& executor, TaskRecord& task) {
  forget_deadline(task);
  const bool stopped = task.call == CallState::stopping;
  executors.remove_call(executor, task);
  executor.progress_at = now;
  if (stopped) executor.kill_at = now + options.cancel_grace;  // it does respond
  if (is_terminal(task.state)) {
    --executor.unwanted;
    ended.emplace_back(&task);
    task.release();
  }
  end_if_outdated(executor);
}

void Core::State::end_event() {
  ended.clear();
  if (options.check_invariants) check_invariants();
}

}  // namespace rain::graph
