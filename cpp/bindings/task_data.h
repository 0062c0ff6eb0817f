#pragma once

// What a Python task reads and writes: DataInstance (TaskData) and the room for an output
// (TaskBuffer). Hand-written types: an input costs one allocation, no lookup, and lends its pages
// through the buffer protocol. Everything here runs under the GIL.

#include <Python.h>

#include <cstddef>

#include "tasklib/blob.h"
#include "tasklib/datainstance.h"

namespace rain::bindings {

struct TaskContext;

/// A DataInstance: an input, or an output on its way out. Views that Python takes of it keep the
/// pages, for as long as they like.
struct TaskData {
  PyObject ob_base;
  tasklib::DataInstancePtr instance;
  bool released;     // without bytes from now on
  bool lent_itself;  // somebody may look at the bytes who keeps this object alone
};

/// Shared memory that the task fills in place. Writable until sealed; stays mapped as long as
/// somebody looks at it.
struct TaskBuffer {
  PyObject ob_base;
  TaskContext* context;  // borrowed; null after the call
  tasklib::MutableBlob blob;
  tasklib::DataInstancePtr sealed;  // null before
  unsigned char* data;
  std::size_t size_bytes;
};

/// Both types, made once. Throws error_already_set.
PyTypeObject* task_data_type();
PyTypeObject* task_buffer_type();

/// Throws ValueError when it was released.
const tasklib::DataInstance& live_instance(PyObject* task_data);

/// `type` is TaskData or a subclass of it. Null with a Python error when there is no memory.
PyObject* make_task_data(PyTypeObject* type, tasklib::DataInstancePtr instance) noexcept;
PyObject* make_task_buffer(TaskContext* context, tasklib::MutableBlob blob) noexcept;

inline bool is_task_data(PyObject* object) {
  return PyObject_TypeCheck(object, task_data_type()) != 0;
}
inline bool is_task_buffer(PyObject* object) { return Py_TYPE(object) == task_buffer_type(); }

/// Another instance of what was written, sealing the first `size_bytes` if that was not done yet.
tasklib::DataInstancePtr seal(TaskBuffer& buffer, std::size_t size_bytes);

/// Data that a Python object holds: bytes, str (content type "text"), and what has a buffer.
/// Small ones are copied, large ones kept until they were sent. Null when it is nothing of that.
/// Throws error_already_set.
tasklib::DataInstancePtr instance_of_object(PyObject* object);

/// The bytes of `view`, which is released when nobody needs them any more, in any thread.
tasklib::DataInstancePtr instance_of_buffer(Py_buffer& view);

}  // namespace rain::bindings
