// How tasks and data end: failure policy, cancel, close, and who still needs an object.

#include <algorithm>
#include <string>

#include "graph/state.h"

namespace rain::graph {
namespace {

std::shared_ptr<Failure> make_failure(FailureKind kind, TaskId origin, std::string message) {
  return std::make_shared<Failure>(Failure{kind, origin, std::move(message), {}, {}, {}});
}

FailurePtr with_origin(FailurePtr failure, TaskId origin) {
  if (!failure)
    return make_failure(FailureKind::executor, origin, "the task failed and didn't say why");
  if (failure->origin.session != -1) return failure;
  Failure named = *failure;
  named.origin = origin;
  return std::make_shared<Failure>(std::move(named));
}

/// What to quote of a failure: its first line; of a Python traceback the one that names the error.
std::string gist(const std::string& text) {
  static const std::string kTraceback = "Traceback (most recent call last):\n";
  std::size_t begin = 0;
  if (const auto last = text.rfind(kTraceback); last != std::string::npos) {
    begin = last + kTraceback.size();
    while (begin < text.size() && text[begin] == ' ') {
      const auto end = text.find('\n', begin);
      begin = end == std::string::npos ? text.size() : end + 1;
    }
    if (begin == text.size()) begin = 0;
  }
  return text.substr(begin, text.find('\n', begin) - begin);
}

}  // namespace

void Core::State::fail_attempt(TaskRecord& task, FailurePtr failure, Duration run_time,
                               std::int32_t pid) {
  failure = with_origin(std::move(failure), task.id);
  const Attempt attempt{failure->kind, failure->message, task.executor, pid, run_time};
  task.run_time = run_time;
  Failure told = *failure;
  if (TaskExtras* extras = task.extras.get()) {
    extras->doom = nullptr;
    extras->attempts.push_back(attempt);
    if (extras->attempts.size() <= extras->retries) return make_ready(task, false);
    told.attempts = extras->attempts;
  } else {
    told.attempts = {attempt};
  }
  fail(task, std::make_shared<Failure>(std::move(told)));
}

void Core::State::fail(TaskRecord& task, FailurePtr failure) {
  SessionRecord& session = *task.session;
  failure = with_origin(std::move(failure), task.id);
  if (failure->attempts.empty()) {  // it did not get as far as a call
    Failure told = *failure;
    if (task.extras) told.attempts = task.extras->attempts;
    told.attempts.push_back({failure->kind, failure->message, {}, 0, Duration{0}});
    failure = std::make_shared<Failure>(std::move(told));
  }
  end(task, TaskState::failed, failure, task);
  if (session.on_error == OnError::continue_) return end_dependants();

  session.failure = failure;
  session.failed.store(true, std::memory_order_release);
  const auto ref = std::find_if(sessions.begin(), sessions.end(),
                                [&](const SessionRef& s) { return s.get() == &session; });
  commands.emplace_back(SessionFailed{*ref});
  const auto because = make_failure(FailureKind::session, failure->origin,
                                    "cancelled, because task " + failure->origin.to_string() +
                                        " of the same session failed: " + gist(failure->message));
  because->attempts = failure->attempts;
  end_all(session, because);
}

void Core::State::fail_all_ready(const FailurePtr& cause) {
  for (const auto& task_class : executors.classes())
    while (!task_class->ready.empty()) fail(task_class->ready.next(), cause);
}

void Core::State::cancel(const std::vector<TaskRef>& tasks) {
  FailurePtr failure;
  for (const TaskRef& task : tasks) {
    const TaskState state = task->state;
    if (state == TaskState::draft || is_terminal(state)) continue;
    if (!failure) failure = make_failure(FailureKind::cancelled, {}, "the task was cancelled");
    end(*task, TaskState::cancelled, failure, *task);
  }
  end_dependants();
}

void Core::State::close(SessionRecord& session) {
  session.closed = true;
  end_all(session,
          make_failure(FailureKind::session, {},
                       "cancelled, because session " + std::to_string(session.id) + " was closed"));
  const auto ref = std::find_if(sessions.begin(), sessions.end(),
                                [&](const SessionRef& s) { return s.get() == &session; });
  session.entered = false;
  if (ref == sessions.end()) return;
  std::swap(*ref, sessions.back());
  sessions.pop_back();
}

void Core::State::end(TaskRecord& task, TaskState to, FailurePtr failure, TaskRecord& origin) {
  switch (task.state.load(std::memory_order_relaxed)) {
    case TaskState::waiting:
      for (const ObjectRef& input : task.inputs)
        if (input->state == ObjectState::unfinished) unwaited.push_back(input.get());
      break;
    case TaskState::ready:
      leave_ready(task);
      break;
    case TaskState::assigned:
      if (task.call != CallState::none) abandon_call(task);
      break;
    default:
      break;  // move() refuses
  }
  ended.push_back(leave_live(task));
  task.failure = std::move(failure);
  for (const ObjectRef& output : task.outputs) {
    output->state.store(ObjectState::removed, std::memory_order_release);
    for (TaskRecord* consumer : output->waiting_consumers)
      dependants.push_back({consumer, &origin});
    std::vector<TaskRecord*>().swap(output->waiting_consumers);
  }
  move(task, to);
  release_inputs(task);
}

void Core::State::end_dependants() {
  std::shared_ptr<Failure> failure;
  const TaskRecord* explained = nullptr;  // the origin that `failure` names
  while (!dependants.empty()) {
    const auto [task, origin] = dependants.back();
    dependants.pop_back();
    if (is_terminal(task->state)) continue;
    const bool failed = origin->state == TaskState::failed;
    const bool cancel = task->session->on_error == OnError::fail;
    if (origin != explained) {
      explained = origin;
      const std::string named = "task " + origin->id.to_string() + ", which it depends on, ";
      failure =
          make_failure(cancel ? FailureKind::cancelled : FailureKind::ancestor, origin->id,
                       failed ? "not run: " + named + "failed: " + gist(origin->failure->message)
                              : "not run: " + named + "was cancelled");
      if (failed) failure->attempts = origin->failure->attempts;
    }
    end(*task, cancel ? TaskState::cancelled : TaskState::aborted, failure, *origin);
  }
  std::sort(unwaited.begin(), unwaited.end());
  unwaited.erase(std::unique(unwaited.begin(), unwaited.end()), unwaited.end());
  for (ObjectRecord* object : unwaited) {
    auto& waiting = object->waiting_consumers;
    waiting.erase(std::remove_if(waiting.begin(), waiting.end(),
                                 [](const TaskRecord* t) { return is_terminal(t->state); }),
                  waiting.end());
  }
  unwaited.clear();
}

void Core::State::end_all(SessionRecord& session, const FailurePtr& failure) {
  while (!session.live.empty()) {
    TaskRecord& task = *session.live.back();
    end(task, TaskState::cancelled, failure, task);
  }
  // All were of this session, and all of it has ended.
  dependants.clear();
  unwaited.clear();
  while (!session.holding.empty()) drop_data(*session.holding.back());
}

TaskRef Core::State::leave_live(TaskRecord& task) {
  auto& live = task.session->live;
  TaskRef ref = std::move(live[task.live_index]);
  if (live.size() - 1 != task.live_index) {
    live[task.live_index] = std::move(live.back());
    live[task.live_index]->live_index = task.live_index;
  }
  live.pop_back();
  task.live_index = kNoIndex;
  return ref;
}

void Core::State::release_inputs(TaskRecord& task) {
  for (const ObjectRef& input : task.inputs)
    if (--input->unfinished_consumers == 0 && input->state == ObjectState::finished)
      hold_or_drop(*input);
}

void Core::State::hold_or_drop(ObjectRecord& object) {
  if (!object.kept && object.unfinished_consumers == 0) return drop_data(object);
  if (object.holding_index != kNoIndex) return;
  auto& holding = object.session->holding;
  object.holding_index = static_cast<std::uint32_t>(holding.size());
  holding.emplace_back(&object);
}

void Core::State::drop_data(ObjectRecord& object) {
  ObjectRef ref(&object);
  if (object.holding_index != kNoIndex) {
    auto& holding = object.session->holding;
    holding.back()->holding_index = object.holding_index;
    std::swap(holding[object.holding_index], holding.back());
    holding.pop_back();
    object.holding_index = kNoIndex;
  }
  object.state.store(ObjectState::removed, std::memory_order_release);
  commands.emplace_back(DropData{std::move(ref), std::move(object.data)});
}

void Core::State::abandon_call(TaskRecord& task) {
  Executor& executor = *executors.find(task.executor);
  task.retain();  // until the call is over: end_call
  task.cancel_requested = true;
  ++executor.unwanted;
  forget_deadline(task);
  take_back(executor, task);
}

void Core::State::take_back(Executor& executor, TaskRecord& task) {
  if (executor.phase == Executor::Phase::killed) return;
  if (task.call == CallState::begun) {
    request_stop(executor, task);
  } else if (task.call == CallState::sent) {
    task.call = CallState::retracting;
    ++executor.retracting;
    commands.emplace_back(Retract{executor.id, TaskRef(&task)});
  }
}

void Core::State::request_stop(Executor& executor, TaskRecord& task) {
  if (executor.phase == Executor::Phase::killed) return;
  task.call = CallState::stopping;
  if (executor.stopping++ == 0) executor.kill_at = now + options.cancel_grace;
  commands.emplace_back(RequestCancel{executor.id, TaskRef(&task)});
}

void Core::State::kill_overdue() {
  executors.for_each([this](Executor& executor) {
    if (executor.phase != Executor::Phase::running || executor.stopping == 0) return;
    if (now < executor.kill_at) return;
    executor.phase = Executor::Phase::killed;
    commands.emplace_back(KillExecutor{executor.id});
  });
}

}  // namespace rain::graph
