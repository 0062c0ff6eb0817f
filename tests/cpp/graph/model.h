#pragma once

// What must be true of the graph, told the slow and simple way: sets of tasks and a walk over all
// of them for each question. Knows nothing of executors, queues or order.

#include <algorithm>
#include <string>
#include <vector>

namespace rain::graph {

struct Model {
  enum class End { live, finished, failed, cancelled, aborted };
  struct Session {
    bool continues = false, failed = false, closed = false;
  };
  struct Task {
    int session, type, cpus;
    std::vector<int> inputs, outputs;  // objects
    End end = End::live;
    int crashes = 0;
    int retries = 0;  // left
  };
  struct Object {
    int session;
    int producer = -1;  // -1: constant
    bool kept = false, submitted = false, dropped = false;
  };

  std::vector<Session> sessions;
  std::vector<Task> tasks;  // submitted ones
  std::vector<Object> objects;

  bool made(const Object& object) const {
    return object.submitted && (object.producer < 0 || tasks[object.producer].end == End::finished);
  }
  bool has_data(int index) const {
    const Object& object = objects[index];
    return made(object) && !object.dropped;
  }
  bool unfinished(int index) const {
    const Object& object = objects[index];
    return object.submitted && object.producer >= 0 && tasks[object.producer].end == End::live;
  }
  bool live(int task) const { return tasks[task].end == End::live; }
  bool inputs_finished(int task) const {
    return std::all_of(tasks[task].inputs.begin(), tasks[task].inputs.end(),
                       [&](int input) { return has_data(input); });
  }

  void finish(int task) {
    tasks[task].end = End::finished;
    settle();
  }
  /// A call of it failed.
  void fail_attempt(int task) {
    if (tasks[task].retries-- > 0) return;
    fail(task);
  }
  void fail(int task) {
    tasks[task].end = End::failed;
    Session& session = sessions[tasks[task].session];
    if (session.continues) {
      end_dependants();
    } else {
      session.failed = true;
      end_session(tasks[task].session);
    }
    settle();
  }
  void cancel(const std::vector<int>& some) {
    for (int task : some)
      if (live(task)) tasks[task].end = End::cancelled;
    end_dependants();
    settle();
  }
  void close(int session) {
    sessions[session].closed = true;
    end_session(session);
    settle();
  }
  /// Data that nobody needs any more are gone for good.
  void settle() {
    for (std::size_t i = 0; i < objects.size(); ++i) {
      Object& object = objects[i];
      if (!made(object)) continue;
      const Session& session = sessions[object.session];
      bool needed = object.kept;
      for (const Task& task : tasks)
        needed |= task.end == End::live &&
                  std::count(task.inputs.begin(), task.inputs.end(), static_cast<int>(i)) > 0;
      object.dropped |= !needed || session.failed || session.closed;
    }
  }

 private:
  void end_session(int session) {
    for (Task& task : tasks)
      if (task.session == session && task.end == End::live) task.end = End::cancelled;
  }
  void end_dependants() {
    for (bool again = true; again;) {
      again = false;
      for (Task& task : tasks) {
        if (task.end != End::live) continue;
        for (int input : task.inputs) {
          const int producer = objects[input].producer;
          if (producer < 0 || tasks[producer].end == End::live ||
              tasks[producer].end == End::finished)
            continue;
          task.end = sessions[task.session].continues ? End::aborted : End::cancelled;
          again = true;
          break;
        }
      }
    }
  }
};

}  // namespace rain::graph
