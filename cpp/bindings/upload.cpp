#include "upload.h"

#include <cstring>
#include <new>
#include <utility>

#include "buffer.h"
#include "errors.h"
#include "object_data.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

/// The bytes of a session without client.
struct OfflineData final : graph::ObjectData {};

/// What a signal handler throws (KeyboardInterrupt) ends the wait for room.
void check_signals() {
  const py::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

/// Shared memory that becomes a constant. Writable as long as anybody has a view of it.
struct Room {
  PyObject ob_base;
  Governor::Upload upload;
  std::weak_ptr<Governor> governor;  // only to know it again
};

Room& room_of(PyObject* self) { return *reinterpret_cast<Room*>(self); }

void room_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  std::destroy_at(&room_of(self).upload);
  std::destroy_at(&room_of(self).governor);
  type->tp_free(self);
  Py_DECREF(type);
}

int room_getbuffer(PyObject* self, Py_buffer* view, int flags) {
  const Governor::Upload& upload = room_of(self).upload;
  return PyBuffer_FillInfo(view, self, upload.bytes,
                           static_cast<Py_ssize_t>(upload.data->size_bytes), 0, flags);
}

Py_ssize_t room_length(PyObject* self) {
  return static_cast<Py_ssize_t>(room_of(self).upload.data->size_bytes);
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(room_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(room_getbuffer)},
    {Py_sq_length, reinterpret_cast<void*>(room_length)},
    {Py_tp_doc, const_cast<char*>("Shared memory for a constant: a buffer to be filled.")},
    {0, nullptr}};

PyType_Spec spec{"rain._core.Room", sizeof(Room), 0,
                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

PyTypeObject* room_type() {
  static PyTypeObject* const type = [] {
    PyObject* made = PyType_FromSpec(&spec);
    if (!made) throw py::error_already_set();
    return reinterpret_cast<PyTypeObject*>(made);
  }();
  return type;
}

}  // namespace

std::shared_ptr<graph::ObjectData> upload(const std::shared_ptr<Engine>& engine, PyObject* source) {
  if (Py_TYPE(source) == room_type() && engine &&
      room_of(source).governor.lock() == engine->governor())
    return room_of(source).upload.data;
  Buffer buffer(source, PyBUF_FULL_RO);
  if (!engine) {
    auto data = std::make_shared<OfflineData>();
    data->size_bytes = buffer.size_bytes();
    return data;
  }
  engine->drain();
  const std::shared_ptr<Governor> governor = engine->governor();
  if (PyBuffer_IsContiguous(&buffer.view(), 'C')) {
    const py::gil_scoped_release unlocked;
    return governor->put({buffer.view().buf, buffer.size_bytes()}, check_signals);
  }
  Governor::Upload room;
  {
    const py::gil_scoped_release unlocked;
    room = governor->allocate(buffer.size_bytes(), check_signals);
  }
  if (PyBuffer_ToContiguous(room.bytes, &buffer.view(), buffer.view().len, 'C') != 0)
    throw py::error_already_set();
  return room.data;
}

std::shared_ptr<graph::ObjectData> upload_directory(const std::shared_ptr<Engine>& engine,
                                                    const std::string& path) {
  if (!engine) return std::make_shared<OfflineData>();
  engine->drain();
  const std::shared_ptr<Governor> governor = engine->governor();
  const py::gil_scoped_release unlocked;
  return governor->put_directory(path);
}

py::object make_room(const std::shared_ptr<Engine>& engine, std::uint64_t size_bytes) {
  if (size_bytes < kInlineLimitBytes) return make_ordinary_room(size_bytes);
  engine->drain();
  const std::shared_ptr<Governor> governor = engine->governor();
  Governor::Upload upload;
  {
    const py::gil_scoped_release unlocked;
    upload = governor->allocate(size_bytes, check_signals);
  }
  PyObject* self = room_type()->tp_alloc(room_type(), 0);
  if (!self) throw py::error_already_set();
  new (&room_of(self).upload) Governor::Upload(std::move(upload));
  new (&room_of(self).governor) std::weak_ptr<Governor>(governor);
  return py::reinterpret_steal<py::object>(self);
}

py::object make_ordinary_room(std::uint64_t size_bytes) {
  auto memory = py::reinterpret_steal<py::object>(
      PyByteArray_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size_bytes)));
  if (!memory) throw py::error_already_set();
  return memory;
}

void copy_into(const py::object& target, std::size_t offset, const py::object& source) {
  Buffer to(target.ptr(), PyBUF_WRITABLE);
  Buffer from(source.ptr(), PyBUF_SIMPLE);
  if (from.size_bytes() > to.size_bytes() || offset > to.size_bytes() - from.size_bytes())
    throw py::value_error("copy_into(): the target is too short");
  const py::gil_scoped_release unlocked;
  if (from.size_bytes() > 0)
    std::memcpy(static_cast<unsigned char*>(to.view().buf) + offset, from.view().buf,
                from.size_bytes());
}

void bind_upload(py::module_& module) { module.def("copy_into", &copy_into); }

}  // namespace rain::bindings
