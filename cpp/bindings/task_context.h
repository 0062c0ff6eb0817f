#pragma once

// The first argument of a Python task. Everything here runs under the GIL.

#include <Python.h>

#include <mutex>
#include <vector>

#include "tasklib/context.h"

namespace rain::bindings {

struct TaskBuffer;

/// A Context: what the task may ask and do. Python may keep it; after the call it only says that
/// the call is over.
struct TaskContext {
  PyObject ob_base;
  tasklib::Context* context;         // null after the call
  PyTypeObject* data_type;           // borrowed: what DataInstances are made as
  PyObject* config;                  // owned; null: not asked for yet
  std::vector<TaskBuffer*> buffers;  // borrowed: the ones of this call that still live
  unsigned allocating;               // calls of alloc() that have released the GIL
  std::mutex alloc_mutex;            // held by one of these
};

/// Made once. Throws error_already_set.
PyTypeObject* task_context_type();

/// `type` is TaskContext or a subclass of it. Null with a Python error when there is no memory.
PyObject* make_task_context(PyTypeObject* type, PyTypeObject* data_type,
                            tasklib::Context& context) noexcept;

/// The call is over. Waits for other threads of the task that are still in alloc().
void end_call(TaskContext& self) noexcept;

void forget_buffer(TaskContext& self, TaskBuffer* buffer) noexcept;

/// What a task returned, or gave to ctx.blob(), as an instance; a buffer of this call is sealed
/// instead of copied. `may_shrink`: a view of a buffer's first bytes seals just these.
/// Null when it is nothing that can be sent. Throws error_already_set.
tasklib::DataInstancePtr to_instance(TaskContext& self, PyObject* value, bool may_shrink);

}  // namespace rain::bindings
