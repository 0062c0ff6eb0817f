#include "task_context.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "errors.h"
#include "executor/access.h"
#include "task_data.h"
#include "values.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using tasklib::executor::Access;

TaskContext& self_of(PyObject* self) { return *reinterpret_cast<TaskContext*>(self); }

tasklib::Context& context_of(PyObject* self) {
  if (!self_of(self).context)
    throw std::runtime_error(
        "this context belongs to a call that is over; use it only while the "
        "task runs");
  return *self_of(self).context;
}

template <class Body>
PyObject* guarded(Body body) noexcept {
  try {
    return body();
  } catch (const tasklib::StoreFull& error) {
    try {
      raise("StoreFull", error.what());
    } catch (py::error_already_set& set) {
      set.restore();
    }
    return nullptr;
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* to_text(const std::string& text) {
  return PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
}

void task_context_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  end_call(self_of(self));
  Py_CLEAR(self_of(self).config);
  std::destroy_at(&self_of(self).buffers);
  std::destroy_at(&self_of(self).alloc_mutex);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* get_task_id(PyObject* self, void*) {
  return guarded([&] {
    const tasklib::TaskId id = context_of(self).task_id();
    return Py_BuildValue("(ii)", id.get_session_id(), id.get_id());
  });
}
PyObject* get_task_type(PyObject* self, void*) {
  return guarded([&] { return to_text(context_of(self).task_type()); });
}
PyObject* get_name(PyObject* self, void*) {
  return guarded([&] { return to_text(context_of(self).name()); });
}
PyObject* get_cpus(PyObject* self, void*) {
  return guarded([&] { return PyLong_FromUnsignedLong(context_of(self).cpus()); });
}
PyObject* get_resources(PyObject* self, void*) {
  return guarded([&] {
    py::dict resources;
    for (const auto& [name, ids] : Access::spec(context_of(self)).resources)
      resources[py::str(name)] = py::cast(ids);
    return resources.release().ptr();
  });
}
PyObject* get_config(PyObject* self, void*) {
  return guarded([&] {
    PyObject*& config = self_of(self).config;
    if (!config) {
      const std::string& raw = Access::spec(context_of(self)).config;
      config = from_cbor(tasklib::base::ByteView(std::string_view(raw))).release().ptr();
    }
    Py_INCREF(config);
    return config;
  });
}

// [(label, content type, is directory, attributes)], one for each declared output.
PyObject* context_outputs(PyObject* self, PyObject*) {
  return guarded([&] {
    const tasklib::Context& context = context_of(self);
    py::list outputs;
    for (std::size_t i = 0; i < context.n_outputs(); ++i) {
      const auto& spec = Access::output_spec(context, i);
      outputs.append(py::make_tuple(spec.label, spec.content_type,
                                    spec.data_type == tasklib::wire::DataType::directory,
                                    from_user_attributes(spec.user)));
    }
    return outputs.release().ptr();
  });
}

PyObject* context_output_ids(PyObject* self, PyObject*) {
  return guarded([&] {
    const tasklib::Context& context = context_of(self);
    py::list ids;
    for (const auto id : Access::spec(context).outputs)
      ids.append(py::make_tuple(id.session, id.id));
    return ids.release().ptr();
  });
}

PyObject* context_get_attributes(PyObject* self, PyObject*) {
  return guarded([&] {
    tasklib::Context& context = context_of(self);
    py::dict attributes = from_user_attributes(Access::spec(context).user);
    if (PyDict_Update(attributes.ptr(), from_user_attributes(Access::info(context).user).ptr()) !=
        0)
      throw py::error_already_set();
    return attributes.release().ptr();
  });
}

PyObject* context_set_attribute(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&] {
    if (count != 2) throw py::type_error("_set_attribute(key, value)");
    const std::string key = py::cast<std::string>(args[0]);
    tasklib::executor::set_raw(Access::info(context_of(self)).user, key,
                               to_raw_value(args[1], ("attributes['" + key + "']").c_str()));
    Py_RETURN_NONE;
  });
}

PyObject* context_debug(PyObject* self, PyObject* message) {
  return guarded([&] {
    context_of(self).debug(py::cast<std::string>(message));
    Py_RETURN_NONE;
  });
}

PyObject* context_log(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&] {
    if (count != 2) throw py::type_error("_log(level, message)");
    context_of(self).log(static_cast<tasklib::LogLevel>(py::cast<unsigned>(args[0])),
                         py::cast<std::string>(args[1]));
    Py_RETURN_NONE;
  });
}

PyObject* context_cancelled(PyObject* self, PyObject*) {
  return guarded([&] { return PyBool_FromLong(context_of(self).cancelled()); });
}

// alloc() may wait for the governor, hence without the GIL. Meanwhile another thread of the task
// may come here, for which a Context isn't made, or the task may return: `allocating` tells
// end_call().
tasklib::MutableBlob alloc_without_gil(TaskContext& self, std::size_t size_bytes) {
  struct Allocating {
    explicit Allocating(TaskContext& of) : self(of) { ++self.allocating; }
    ~Allocating() { --self.allocating; }
    TaskContext& self;
  } allocating(self);
  tasklib::Context& context = *self.context;
  const py::gil_scoped_release no_gil;
  const std::lock_guard lock(self.alloc_mutex);
  return context.alloc(size_bytes);
}

PyObject* context_alloc(PyObject* self, PyObject* size) {
  return guarded([&]() -> PyObject* {
    context_of(self);
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(size));
    if (!number) throw py::error_already_set();
    const Py_ssize_t size_bytes = PyLong_AsSsize_t(number.ptr());
    if (size_bytes == -1 && PyErr_Occurred()) throw py::error_already_set();
    if (size_bytes < 0)
      throw py::value_error("ctx.alloc(" + std::to_string(size_bytes) +
                            "): the number of bytes must not be negative");
    tasklib::MutableBlob blob =
        alloc_without_gil(self_of(self), static_cast<std::size_t>(size_bytes));
    PyObject* buffer = make_task_buffer(&self_of(self), std::move(blob));
    if (!buffer) throw py::error_already_set();
    self_of(self).buffers.push_back(reinterpret_cast<TaskBuffer*>(buffer));
    return buffer;
  });
}

// _make_blob(value, may_shrink=True): a DataInstance, or None when the value is nothing that can be
// sent as it is.
PyObject* context_make_blob(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    context_of(self);
    if (count != 1 && count != 2) throw py::type_error("_make_blob(value, may_shrink=True)");
    auto instance = to_instance(self_of(self), args[0], count == 1 || args[1] == Py_True);
    if (!instance) Py_RETURN_NONE;
    return make_task_data(self_of(self).data_type, std::move(instance));
  });
}

PyObject* context_make_file(PyObject* self, PyObject* path) {
  return guarded([&] {
    context_of(self);
    return make_task_data(self_of(self).data_type,
                          std::make_unique<tasklib::FileDataInstance>(py::cast<std::string>(path)));
  });
}

PyMethodDef task_context_methods[] = {
    {"cancelled", context_cancelled, METH_NOARGS,
     "cancelled()\n--\n\nTrue when nobody wants the result any more.\n\n"
     "A long task should look now and then, and return (anything) if so."},
    {"alloc", context_alloc, METH_O,
     "alloc(nbytes)\n--\n\nShared memory for an output of `nbytes` bytes, to be filled in "
     "place.\n\n"
     "Raises\n------\nStoreFull\n    There is no room."},
    {"_outputs", context_outputs, METH_NOARGS, nullptr},
    {"_output_ids", context_output_ids, METH_NOARGS, nullptr},
    {"_get_attributes", context_get_attributes, METH_NOARGS, nullptr},
    {"_set_attribute",
     reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(context_set_attribute)), METH_FASTCALL,
     nullptr},
    {"_debug", context_debug, METH_O, nullptr},
    {"_log", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(context_log)), METH_FASTCALL,
     nullptr},
    {"_make_blob", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(context_make_blob)),
     METH_FASTCALL, nullptr},
    {"_make_file", context_make_file, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef task_context_getset[] = {
    {"task_id", get_task_id, nullptr, "(session, number)", nullptr},
    {"task_type", get_task_type, nullptr, "\"executor/function\"", nullptr},
    {"name", get_name, nullptr, "What the user called the task; often empty.", nullptr},
    {"cpus", get_cpus, nullptr, "CPUs that the task was given.", nullptr},
    {"resources", get_resources, nullptr, "Named resources that the task was given.", nullptr},
    {"config", get_config, nullptr, "What the client gave as `config`; None without.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot task_context_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(task_context_dealloc)},
                                    {Py_tp_methods, task_context_methods},
                                    {Py_tp_getset, task_context_getset},
                                    {0, nullptr}};

PyType_Spec task_context_spec = {
    "rain._core.TaskContext", sizeof(TaskContext), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    task_context_slots};

}  // namespace

PyTypeObject* task_context_type() {
  static PyTypeObject* const type = [] {
    PyObject* made = PyType_FromSpec(&task_context_spec);
    if (!made) throw py::error_already_set();
    return reinterpret_cast<PyTypeObject*>(made);
  }();
  return type;
}

PyObject* make_task_context(PyTypeObject* type, PyTypeObject* data_type,
                            tasklib::Context& context) noexcept {
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  self_of(self).context = &context;
  self_of(self).data_type = data_type;
  new (&self_of(self).buffers) std::vector<TaskBuffer*>();
  new (&self_of(self).alloc_mutex) std::mutex();
  return self;
}

void end_call(TaskContext& self) noexcept {
  while (self.allocating > 0) {  // rare enough to look now and then
    const py::gil_scoped_release no_gil;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  self.context = nullptr;
  for (TaskBuffer* buffer : self.buffers) buffer->context = nullptr;
  self.buffers.clear();
}

void forget_buffer(TaskContext& self, TaskBuffer* buffer) noexcept {
  self.buffers.erase(std::remove(self.buffers.begin(), self.buffers.end(), buffer),
                     self.buffers.end());
}

tasklib::DataInstancePtr to_instance(TaskContext& self, PyObject* value, bool may_shrink) {
  if (is_task_data(value)) return live_instance(value).share();
  if (is_task_buffer(value)) {
    auto& buffer = *reinterpret_cast<TaskBuffer*>(value);
    return seal(buffer, buffer.size_bytes);
  }
  if (!self.buffers.empty() && PyObject_CheckBuffer(value)) {
    Py_buffer view;
    if (PyObject_GetBuffer(value, &view, PyBUF_CONTIG_RO) == 0) {
      const auto size_bytes = static_cast<std::size_t>(view.len);
      const void* bytes = view.buf;
      PyBuffer_Release(&view);
      for (TaskBuffer* buffer : self.buffers) {
        if (bytes != buffer->data || size_bytes > buffer->size_bytes) continue;
        if (size_bytes == buffer->size_bytes || (may_shrink && !buffer->sealed))
          return seal(*buffer, size_bytes);
      }
    } else {
      PyErr_Clear();
    }
  }
  return instance_of_object(value);
}

}  // namespace rain::bindings
