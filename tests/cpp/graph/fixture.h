#pragma once

// A Core with its invariants walked after every event, a factory of drafts, and what the Core
// asked for, sorted by kind.

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "graph/core.h"

namespace rain::graph {

struct FakeData : ObjectData {
  explicit FakeData(std::uint64_t size) { size_bytes = size; }
};
inline std::shared_ptr<ObjectData> fake_data(std::uint64_t size = 8) {
  return std::make_shared<FakeData>(size);
}
inline FailurePtr fake_failure(std::string message = "it broke",
                               FailureKind kind = FailureKind::task) {
  return std::make_shared<Failure>(Failure{kind, {}, std::move(message), {}, {}, {}});
}

inline testing::AssertionResult contains(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  return (found ? testing::AssertionSuccess() : testing::AssertionFailure())
         << "\"" << part << "\" in \"" << text << "\"";
}

/// Commands since the last look.
struct Asked {
  std::vector<ExecutorId> spawned, killed, ended;
  std::vector<std::pair<ExecutorId, TaskRecord*>> sent, retracts, stops;
  std::vector<ObjectRecord*> dropped;
  std::vector<SessionRecord*> failed;
  std::vector<TaskChanged> changes;
  std::vector<Command> all;

  std::vector<TaskRecord*> sent_tasks() const {
    std::vector<TaskRecord*> tasks;
    for (const auto& [executor, task] : sent) tasks.push_back(task);
    return tasks;
  }
};

class CoreTest : public testing::Test {
 protected:
  struct Shape {
    TypeIndex type = 0;
    std::uint32_t method = 0;
    std::uint32_t cpus = 1;
    int outputs = 1;
    bool kept = false;
  };

  void start(Core::Options options) {
    options.check_invariants = true;
    core = std::make_unique<Core>(options);
  }
  void start_with_cpus(std::uint32_t cpus) {
    Core::Options options;
    options.cpus = cpus;
    start(options);
  }
  void SetUp() override { start_with_cpus(1); }

  SessionRef session(OnError on_error = OnError::fail) {
    auto made = std::make_shared<SessionRecord>();
    made->id = ++last_session_;
    made->on_error = on_error;
    return made;
  }

  ObjectRef constant(const SessionRef& in, bool kept = false) {
    ObjectRef object(new ObjectRecord);
    object->id = {in->id, ++last_id_};
    object->session = in.get();
    object->data = fake_data();
    object->kept = kept;
    return object;
  }

  TaskRef task(const SessionRef& in, std::vector<ObjectRef> inputs, Shape shape) {
    TaskRef made(new TaskRecord);
    made->id = {in->id, ++last_id_};
    made->session = in.get();
    made->type = shape.type;
    made->method = shape.method;
    made->cpus = shape.cpus;
    for (ObjectRef& input : inputs) made->inputs.push_back(std::move(input));
    for (int i = 0; i < shape.outputs; ++i) {
      ObjectRef output(new ObjectRecord);
      output->id = {in->id, ++last_id_};
      output->session = in.get();
      output->producer = made.get();
      output->kept = shape.kept;
      made->outputs.push_back(std::move(output));
    }
    return made;
  }
  TaskRef task(const SessionRef& in, std::vector<ObjectRef> inputs = {}) {
    return task(in, std::move(inputs), Shape());
  }
  static ObjectRef out(const TaskRef& task, std::size_t index = 0) { return task->outputs[index]; }

  static TaskExtras& extras(const TaskRef& task) {
    if (!task->extras) task->extras = std::make_unique<TaskExtras>();
    return *task->extras;
  }

  void submit(const SessionRef& in, std::vector<TaskRef> tasks,
              std::vector<ObjectRef> objects = {}) {
    core->on_submit(in, std::move(tasks), std::move(objects), now);
  }
  /// What submit says against it; empty: nothing.
  std::string refusal(const SessionRef& in, std::vector<TaskRef> tasks,
                      std::vector<ObjectRef> objects = {}) {
    try {
      submit(in, std::move(tasks), std::move(objects));
    } catch (const InvalidGraph& e) {
      return e.what();
    }
    return "";
  }

  Asked take() {
    Asked asked;
    for (Command& command : core->take_commands()) {
      if (auto* c = std::get_if<SpawnExecutor>(&command)) asked.spawned.push_back(c->executor);
      if (auto* c = std::get_if<KillExecutor>(&command)) asked.killed.push_back(c->executor);
      if (auto* c = std::get_if<EndExecutor>(&command)) asked.ended.push_back(c->executor);
      if (auto* c = std::get_if<SendCall>(&command))
        asked.sent.push_back({c->executor, c->task.get()});
      if (auto* c = std::get_if<Retract>(&command))
        asked.retracts.push_back({c->executor, c->task.get()});
      if (auto* c = std::get_if<RequestCancel>(&command))
        asked.stops.push_back({c->executor, c->task.get()});
      if (auto* c = std::get_if<DropData>(&command)) asked.dropped.push_back(c->object.get());
      if (auto* c = std::get_if<SessionFailed>(&command)) asked.failed.push_back(c->session.get());
      if (auto* c = std::get_if<TaskChanged>(&command)) asked.changes.push_back(*c);
      asked.all.push_back(std::move(command));
    }
    return asked;
  }

  void ready(ExecutorId executor, std::uint32_t threads = 1, std::uint32_t max_in_flight = 1) {
    core->on_executor_ready(executor, {threads, max_in_flight}, now);
  }
  /// Registers each executor asked for and returns all that was asked until none was.
  Asked settle(std::uint32_t threads = 1, std::uint32_t max_in_flight = 1) {
    Asked total;
    while (true) {
      Asked asked = take();
      for (auto& command : asked.all) total.all.push_back(std::move(command));
      append(total.spawned, asked.spawned);
      append(total.killed, asked.killed);
      append(total.ended, asked.ended);
      append(total.sent, asked.sent);
      append(total.retracts, asked.retracts);
      append(total.stops, asked.stops);
      append(total.dropped, asked.dropped);
      append(total.failed, asked.failed);
      append(total.changes, asked.changes);
      if (asked.spawned.empty()) return total;
      for (ExecutorId executor : asked.spawned) ready(executor, threads, max_in_flight);
    }
  }

  void done(const TaskRef& task, Duration run_time = Duration(1000)) { done(*task, run_time); }
  void done(TaskRecord& task, Duration run_time = Duration(1000)) {
    std::vector<std::shared_ptr<ObjectData>> outputs;
    for (std::size_t i = 0; i < task.outputs.size(); ++i) outputs.push_back(fake_data());
    core->on_task_done(task.executor, task, std::move(outputs), run_time, now);
  }
  void failed(const TaskRef& task, FailurePtr why = fake_failure()) {
    core->on_task_failed(task->executor, *task, std::move(why), Duration(1000), now);
  }
  void pass(Duration time) { now += time; }

  /// Lets the core know that calls of the method take so long: one runs, in a session of its own,
  /// on an executor of type 0.
  void teach(std::uint32_t method, Duration run_time, std::uint32_t max_in_flight = 512,
             std::uint32_t threads = 1) {
    const SessionRef school = session();
    const TaskRef lesson = task(school, {}, {0, method});
    submit(school, {lesson});
    settle(threads, max_in_flight);
    done(lesson, run_time);
    core->on_close_session(school, now);
    take();
  }

  std::unique_ptr<Core> core;
  TimePoint now{};

 private:
  template <class T>
  static void append(std::vector<T>& to, const std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
  }

  std::int32_t last_session_ = 0;
  std::int32_t last_id_ = 9;
};

}  // namespace rain::graph
