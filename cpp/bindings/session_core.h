#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine.h"
#include "graph/records.h"
#include "origin.h"

namespace rain::bindings {

struct TaskHandle;
struct ObjectHandle;

/// What Python's Session, Task and DataObject objects of one session share: drafts, ids, where
/// tasks were created, and which handles live. Counted by them (retain/release); everything under
/// the GIL. Holds no Python reference but `client` (until closed) and those in `edited`.
class SessionCore {
 public:
  /// Ids of tasks and objects count from here (reference 2.1).
  static constexpr std::int32_t kFirstId = 10;

  /// `engine` null: a session without client, for building graphs only.
  SessionCore(std::shared_ptr<Engine> engine, graph::SessionRef record, PyObject* client);

  void retain() { ++count_; }
  void release() {
    if (--count_ == 0) delete this;
  }

  std::shared_ptr<Engine> engine;
  graph::SessionRef record;
  PyObject* client;            // owned, or null
  PyObject* facade = nullptr;  // the living Session object; not owned
  bool closed = false;

  std::int32_t next_id = kFirstId;
  std::vector<graph::TaskRef> draft_tasks;
  std::vector<graph::ObjectRef> draft_objects;  // those that were created on their own
  std::uint64_t draft_outputs = 0;              // those that were created with their tasks
  int submitting = 0;                           // threads that are in submit
  /// Kept objects that no handle covers any more. Tasks among the drafts may have them as inputs,
  /// so they stay until there are none.
  std::vector<graph::ObjectRef> to_unkeep;
  std::vector<PyObject*> edited;  // owned: handles whose spec Python may have changed

  TaskHandle* tasks = nullptr;  // head of the list of living handles
  std::unordered_map<graph::ObjectRecord*, ObjectHandle*> objects;  // living handles

  bool has_drafts() const { return submitting > 0 || !draft_tasks.empty(); }
  void unkeep_later(graph::ObjectRecord* object);
  bool usable() const { return !closed && !(engine && engine->closed()); }
  Governor::Method intern(PyObject* task_type);
  const std::string& task_type(std::uint32_t method) const;

  /// Notes where the task, or the object that is created on its own, with this id, the newest, is
  /// being created. `method`: of the task; kNoMethod for an object.
  void note_origin(std::int32_t id, std::uint32_t method);
  static constexpr std::uint32_t kNoMethod = 0xffffffff;
  struct Creation {
    std::int32_t first_id;  // of a run of tasks, or objects, created at the same place
    std::uint32_t origin, method;
  };
  /// Of a task or an object; an output is created with its task. Null when there is no such thing.
  const Creation* creation_of(std::int32_t id) const;
  const Origins& origins() const { return origins_; }

  /// Nothing is unsubmitted any more, and the client is let go.
  void mark_closed();
  void forget_edited();

 private:
  ~SessionCore();

  std::uint32_t count_ = 0;
  Origins origins_;
  std::vector<Creation> creations_;
};

}  // namespace rain::bindings
