#include "task_data.h"

#include <pybind11/pybind11.h>

#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "executor/access.h"
#include "pages.h"
#include "task_context.h"
#include "values.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using tasklib::DataInstance;
using tasklib::executor::Access;

// Below this, copying is cheaper than keeping a Python object until the result was sent. No more
// than a governor's inline limit: what goes through regions may be part of an input.
constexpr std::size_t kCopiedBytes = 8 << 10;

DataInstance& instance_of(PyObject* self) { return *reinterpret_cast<TaskData*>(self)->instance; }

/// Runs `body`; an exception becomes the Python error.
template <class Body>
auto guarded(decltype(std::declval<Body>()()) failure, Body body) noexcept {
  try {
    return body();
  } catch (...) {
    set_python_error();
    return failure;
  }
}

PyObject* to_text(const std::string& text) {
  return PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
}

// ---- TaskData -------------------------------------------------------------------------------

void task_data_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  std::destroy_at(&reinterpret_cast<TaskData*>(self)->instance);
  type->tp_free(self);
  Py_DECREF(type);
}

int task_data_getbuffer(PyObject* self, Py_buffer* view, int flags) {
  view->obj = nullptr;
  return guarded(-1, [&] {
    const DataInstance& data = live_instance(self);
    const tasklib::base::ByteView bytes(data.get_ptr(), data.get_size());
    if (keeps_lender(flags)) reinterpret_cast<TaskData*>(self)->lent_itself = true;
    return lend(data.keep_alive(), bytes, view, flags);
  });
}

Py_ssize_t task_data_length(PyObject* self) {
  return guarded(Py_ssize_t{-1},
                 [&] { return static_cast<Py_ssize_t>(live_instance(self).get_size()); });
}

PyObject* task_data_get_bytes(PyObject* self, PyObject*) {
  return guarded(static_cast<PyObject*>(nullptr), [&] {
    const DataInstance& data = live_instance(self);
    return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(data.get_ptr()),
                                     static_cast<Py_ssize_t>(data.get_size()));
  });
}

PyObject* task_data_release(PyObject* self, PyObject*) {
  return guarded(static_cast<PyObject*>(nullptr), [&] {
    auto& data = *reinterpret_cast<TaskData*>(self);
    data.released = true;
    if (!data.lent_itself) Access::drop_content(*data.instance);
    Py_RETURN_NONE;
  });
}

// Pages with the same bytes that may be written, and that nobody else sees.
PyObject* task_data_writable_copy(PyObject* self, PyObject*) {
  return guarded(static_cast<PyObject*>(nullptr), [&] {
    const DataInstance& data = live_instance(self);
    return make_writable_pages(data.writable_copy(), data.get_size());
  });
}

PyObject* task_data_set_content_type(PyObject* self, PyObject* text) {
  return guarded(static_cast<PyObject*>(nullptr), [&] {
    instance_of(self).set_content_type(py::cast<std::string>(text));
    Py_RETURN_NONE;
  });
}

PyObject* task_data_spec_attributes(PyObject* self, PyObject*) {
  return guarded(static_cast<PyObject*>(nullptr), [&] {
    return from_user_attributes(Access::spec(instance_of(self)).user).release().ptr();
  });
}

// dict: what the client gave, overlaid by what the producer set.
PyObject* task_data_get_attributes(PyObject* self, PyObject*) {
  return guarded(static_cast<PyObject*>(nullptr), [&] {
    const DataInstance& data = instance_of(self);
    py::dict attributes = from_user_attributes(Access::spec(data).user);
    if (PyDict_Update(attributes.ptr(), from_user_attributes(Access::info(data).user).ptr()) != 0)
      throw py::error_already_set();
    return attributes.release().ptr();
  });
}

PyObject* task_data_set_attribute(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded(static_cast<PyObject*>(nullptr), [&] {
    if (count != 2) throw py::type_error("_set_attribute(key, value)");
    const std::string key = py::cast<std::string>(args[0]);
    tasklib::executor::set_raw(Access::info(instance_of(self)).user, key,
                               to_raw_value(args[1], ("attributes['" + key + "']").c_str()));
    Py_RETURN_NONE;
  });
}

PyObject* get_size(PyObject* self, void*) {
  return guarded(static_cast<PyObject*>(nullptr),
                 [&] { return PyLong_FromSize_t(live_instance(self).get_size()); });
}
PyObject* get_label(PyObject* self, void*) { return to_text(instance_of(self).get_label()); }
PyObject* get_content_type(PyObject* self, void*) {
  return to_text(instance_of(self).get_content_type());
}
PyObject* get_path(PyObject* self, void*) {
  return guarded(static_cast<PyObject*>(nullptr), [&]() -> PyObject* {
    const std::string& path = live_instance(self).get_path();
    if (path.empty()) Py_RETURN_NONE;
    return PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size()));
  });
}
PyObject* get_released(PyObject* self, void*) {
  return PyBool_FromLong(reinterpret_cast<TaskData*>(self)->released);
}
PyObject* get_is_directory(PyObject* self, void*) {
  return PyBool_FromLong(instance_of(self).is_directory());
}
PyObject* get_object_id(PyObject* self, void*) {
  const tasklib::DataObjectId id = instance_of(self).get_id();
  if (!id.is_valid()) Py_RETURN_NONE;
  return Py_BuildValue("(ii)", id.get_session_id(), id.get_id());
}

PyMethodDef task_data_methods[] = {
    {"get_bytes", task_data_get_bytes, METH_NOARGS, nullptr},
    {"_release", task_data_release, METH_NOARGS, nullptr},
    {"_writable_copy", task_data_writable_copy, METH_NOARGS, nullptr},
    {"_set_content_type", task_data_set_content_type, METH_O, nullptr},
    {"_spec_attributes", task_data_spec_attributes, METH_NOARGS, nullptr},
    {"_get_attributes", task_data_get_attributes, METH_NOARGS, nullptr},
    {"_set_attribute",
     reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(task_data_set_attribute)), METH_FASTCALL,
     nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef task_data_getset[] = {{"size", get_size, nullptr, nullptr, nullptr},
                                  {"label", get_label, nullptr, nullptr, nullptr},
                                  {"content_type", get_content_type, nullptr, nullptr, nullptr},
                                  {"path", get_path, nullptr, nullptr, nullptr},
                                  {"is_directory", get_is_directory, nullptr, nullptr, nullptr},
                                  {"object_id", get_object_id, nullptr, nullptr, nullptr},
                                  {"_released", get_released, nullptr, nullptr, nullptr},
                                  {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot task_data_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(task_data_dealloc)},
                                 {Py_bf_getbuffer, reinterpret_cast<void*>(task_data_getbuffer)},
                                 {Py_bf_releasebuffer, reinterpret_cast<void*>(nothing_to_release)},
                                 {Py_sq_length, reinterpret_cast<void*>(task_data_length)},
                                 {Py_tp_methods, task_data_methods},
                                 {Py_tp_getset, task_data_getset},
                                 {0, nullptr}};

PyType_Spec task_data_spec = {
    "rain._core.TaskData", sizeof(TaskData), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, task_data_slots};

// ---- TaskBuffer -----------------------------------------------------------------------------

void task_buffer_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  auto& buffer = *reinterpret_cast<TaskBuffer*>(self);
  if (buffer.context) forget_buffer(*buffer.context, &buffer);
  std::destroy_at(&buffer.sealed);
  std::destroy_at(&buffer.blob);
  type->tp_free(self);
  Py_DECREF(type);
}

int task_buffer_getbuffer(PyObject* self, Py_buffer* view, int flags) {
  auto& buffer = *reinterpret_cast<TaskBuffer*>(self);
  static unsigned char nothing[64];
  return PyBuffer_FillInfo(view, self, buffer.data ? buffer.data : nothing,
                           static_cast<Py_ssize_t>(buffer.size_bytes), buffer.sealed != nullptr,
                           flags);
}

Py_ssize_t task_buffer_length(PyObject* self) {
  return static_cast<Py_ssize_t>(reinterpret_cast<TaskBuffer*>(self)->size_bytes);
}

// So many of its bytes are a copy of other memory: counted when it is sent.
PyObject* task_buffer_note_copied(PyObject* self, PyObject* count) {
  const std::size_t bytes = PyLong_AsSize_t(count);
  if (bytes == static_cast<std::size_t>(-1) && PyErr_Occurred()) return nullptr;
  Access::note_copied(reinterpret_cast<TaskBuffer*>(self)->blob, bytes);
  Py_RETURN_NONE;
}

PyMethodDef task_buffer_methods[] = {{"_note_copied", task_buffer_note_copied, METH_O, nullptr},
                                     {nullptr, nullptr, 0, nullptr}};

PyType_Slot task_buffer_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(task_buffer_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(task_buffer_getbuffer)},
    {Py_sq_length, reinterpret_cast<void*>(task_buffer_length)},
    {Py_tp_methods, task_buffer_methods},
    {Py_tp_doc,
     const_cast<char*>("Shared memory for an output: supports the buffer protocol, writable until\n"
                       "the task returned it, read-only after. Context.alloc() makes it.")},
    {0, nullptr}};

PyType_Spec task_buffer_spec = {"rain._core.TaskBuffer", sizeof(TaskBuffer), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                                task_buffer_slots};

PyTypeObject* make_type(PyType_Spec& spec) {
  PyObject* type = PyType_FromSpec(&spec);
  if (!type) throw py::error_already_set();
  return reinterpret_cast<PyTypeObject*>(type);
}

tasklib::DataInstancePtr copy_of(const void* bytes, std::size_t size_bytes) {
  return std::make_unique<tasklib::MemDataInstance>(
      std::string(static_cast<const char*>(bytes), size_bytes));
}

/// True for a struct format with Python objects in it. Field names stand between colons.
bool holds_objects(const char* format) {
  bool in_name = false;
  for (; *format; ++format) {
    if (*format == ':') in_name = !in_name;
    if (*format == 'O' && !in_name) return true;
  }
  return false;
}

void release_buffer(Py_buffer* view) {
  const PyGILState_STATE gil = PyGILState_Ensure();
  PyBuffer_Release(view);
  PyGILState_Release(gil);
  delete view;
}

}  // namespace

PyTypeObject* task_data_type() {
  static PyTypeObject* const type = make_type(task_data_spec);
  return type;
}

PyTypeObject* task_buffer_type() {
  static PyTypeObject* const type = make_type(task_buffer_spec);
  return type;
}

const tasklib::DataInstance& live_instance(PyObject* task_data) {
  const auto& data = *reinterpret_cast<TaskData*>(task_data);
  if (data.released)
    throw py::value_error(
        "these data were released, by release() or the end of a `with` block: use them before");
  return *data.instance;
}

PyObject* make_task_data(PyTypeObject* type, tasklib::DataInstancePtr instance) noexcept {
  PyObject* self = type->tp_alloc(type, 0);
  if (self)
    new (&reinterpret_cast<TaskData*>(self)->instance)
        tasklib::DataInstancePtr(std::move(instance));
  return self;
}

PyObject* make_task_buffer(TaskContext* context, tasklib::MutableBlob blob) noexcept {
  PyTypeObject* type = task_buffer_type();
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  auto& buffer = *reinterpret_cast<TaskBuffer*>(self);
  buffer.context = context;
  buffer.data = blob.data();
  buffer.size_bytes = blob.size();
  new (&buffer.blob) tasklib::MutableBlob(std::move(blob));
  new (&buffer.sealed) tasklib::DataInstancePtr();
  return self;
}

tasklib::DataInstancePtr seal(TaskBuffer& buffer, std::size_t size_bytes) {
  if (!buffer.sealed) {
    if (size_bytes < buffer.size_bytes) buffer.blob.shrink(size_bytes);
    buffer.sealed = std::move(buffer.blob).seal();
    buffer.size_bytes = size_bytes;
  }
  return buffer.sealed->share();
}

tasklib::DataInstancePtr instance_of_buffer(Py_buffer& view) {
  const auto size_bytes = static_cast<std::size_t>(view.len);
  std::unique_ptr<Py_buffer> held;
  if (size_bytes >= kCopiedBytes) held = std::make_unique<Py_buffer>(view);
  if (!held) {
    auto instance = copy_of(view.buf, size_bytes);
    PyBuffer_Release(&view);
    return instance;
  }
  const void* bytes = held->buf;
  return std::make_unique<tasklib::ForeignDataInstance>(
      std::shared_ptr<Py_buffer>(held.release(), release_buffer), bytes, size_bytes);
}

tasklib::DataInstancePtr instance_of_object(PyObject* object) {
  if (PyBytes_CheckExact(object)) {
    const auto size_bytes = static_cast<std::size_t>(PyBytes_GET_SIZE(object));
    if (size_bytes < kCopiedBytes) return copy_of(PyBytes_AS_STRING(object), size_bytes);
  } else if (PyUnicode_Check(object)) {
    Py_ssize_t size_bytes = 0;
    const char* text = PyUnicode_AsUTF8AndSize(object, &size_bytes);
    if (!text) throw py::error_already_set();
    auto instance = copy_of(text, static_cast<std::size_t>(size_bytes));
    instance->set_content_type("text");
    return instance;
  } else if (!PyObject_CheckBuffer(object)) {
    return nullptr;
  }

  Py_buffer view;
  if (PyObject_GetBuffer(object, &view, PyBUF_CONTIG_RO | PyBUF_FORMAT) != 0) {
    // Not contiguous: its items in C order, as numpy's tobytes() gives them.
    PyErr_Clear();
    if (PyObject_GetBuffer(object, &view, PyBUF_FULL_RO) != 0) throw py::error_already_set();
  }
  if (view.format && holds_objects(view.format)) {
    PyBuffer_Release(&view);
    throw py::type_error(
        "an array of Python objects can't be an output: pickle it, for instance "
        "ctx.blob(value, encode=\"pickle\")");
  }
  if (PyBuffer_IsContiguous(&view, 'C')) return instance_of_buffer(view);
  std::vector<unsigned char> bytes(static_cast<std::size_t>(view.len));
  const int failed = PyBuffer_ToContiguous(bytes.data(), &view, view.len, 'C');
  PyBuffer_Release(&view);
  if (failed) throw py::error_already_set();
  return std::make_unique<tasklib::MemDataInstance>(std::move(bytes));
}

}  // namespace rain::bindings
