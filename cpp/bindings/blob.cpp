#include "blob.h"

#include <structmember.h>

#include <cstddef>
#include <new>
#include <utility>

#include "errors.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using tasklib::base::ByteView;

struct BlobObject {
  PyObject_HEAD PyObject* weak_references;
  std::shared_ptr<const void> keep_alive;
  ByteView bytes;  // of a directory: no data, but the size
  PyObject* path;  // owned; of a directory, else null
};

PyTypeObject* blob_type = nullptr;

BlobObject* blob_of(PyObject* self) { return reinterpret_cast<BlobObject*>(self); }

/// A buffer of another exporter, as something to keep alive; released under the GIL.
std::shared_ptr<const void> hold_buffer(PyObject* source, ByteView& bytes) {
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(source, view.get(), PyBUF_SIMPLE) != 0) throw py::error_already_set();
  bytes = ByteView(view->buf, static_cast<std::size_t>(view->len));
  return std::shared_ptr<const void>(view.release(), [](Py_buffer* held) {
    const py::gil_scoped_acquire locked;
    PyBuffer_Release(held);
    delete held;
  });
}

PyObject* blob_new(PyTypeObject* type, PyObject* args, PyObject*) {
  // A subclass may take more arguments; the first is the source of the bytes.
  if (PyTuple_GET_SIZE(args) < 1) {
    PyErr_SetString(PyExc_TypeError, "Blob needs a bytes-like object");
    return nullptr;
  }
  PyObject* source = PyTuple_GET_ITEM(args, 0);
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  BlobObject* blob = blob_of(self);
  new (&blob->keep_alive) std::shared_ptr<const void>();
  new (&blob->bytes) ByteView();
  try {
    if (PyObject_TypeCheck(source, blob_type)) {
      blob->keep_alive = blob_of(source)->keep_alive;
      blob->bytes = blob_of(source)->bytes;
      blob->path = blob_of(source)->path;
      Py_XINCREF(blob->path);
    } else {
      blob->keep_alive = hold_buffer(source, blob->bytes);
    }
  } catch (...) {
    Py_DECREF(self);
    set_python_error();
    return nullptr;
  }
  return self;
}

void blob_dealloc(PyObject* self) {
  BlobObject* blob = blob_of(self);
  if (blob->weak_references) PyObject_ClearWeakRefs(self);
  blob->keep_alive.~shared_ptr();
  Py_XDECREF(blob->path);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

int blob_getbuffer(PyObject* self, Py_buffer* view, int flags) {
  static unsigned char nothing = 0;
  if (blob_of(self)->path) {
    view->obj = nullptr;
    PyErr_SetString(PyExc_BufferError,
                    "a directory has no bytes: look at its path, or write(path) a copy");
    return -1;
  }
  const ByteView bytes = blob_of(self)->bytes;
  void* data = const_cast<unsigned char*>(bytes.size ? bytes.data : &nothing);
  return PyBuffer_FillInfo(view, self, data, static_cast<Py_ssize_t>(bytes.size), 1, flags);
}

Py_ssize_t blob_length(PyObject* self) {
  return static_cast<Py_ssize_t>(blob_of(self)->bytes.size);
}

PyObject* blob_get_bytes(PyObject* self, PyObject*) {
  if (blob_of(self)->path) return PyErr_Format(PyExc_TypeError, "a directory has no bytes");
  const ByteView bytes = blob_of(self)->bytes;
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data),
                                   static_cast<Py_ssize_t>(bytes.size));
}

PyObject* blob_path(PyObject* self, void*) {
  PyObject* path = blob_of(self)->path ? blob_of(self)->path : Py_None;
  Py_INCREF(path);
  return path;
}

PyObject* blob_address(PyObject* self, void*) {
  return PyLong_FromVoidPtr(const_cast<unsigned char*>(blob_of(self)->bytes.data));
}

PyMethodDef methods[] = {
    {"get_bytes", blob_get_bytes, METH_NOARGS, "A copy of the data, as bytes."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef getset[] = {
    {"_path", blob_path, nullptr, "Of a directory: where it is.", nullptr},
    {"_address", blob_address, nullptr, "Where the bytes lie, for tests of zero copy.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(BlobObject, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("Blob(source): read-only bytes, through the buffer protocol.")},
    {Py_tp_new, reinterpret_cast<void*>(blob_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(blob_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(blob_getbuffer)},
    {Py_sq_length, reinterpret_cast<void*>(blob_length)},
    {Py_tp_members, members},
    {Py_tp_getset, getset},
    {Py_tp_methods, methods},
    {0, nullptr}};

PyType_Spec spec{"rain._core.Blob", sizeof(BlobObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                 slots};

}  // namespace

py::object make_blob(std::shared_ptr<const void> keep_alive, ByteView bytes) {
  PyObject* self = blob_type->tp_alloc(blob_type, 0);
  if (!self) throw py::error_already_set();
  BlobObject* blob = blob_of(self);
  new (&blob->keep_alive) std::shared_ptr<const void>(std::move(keep_alive));
  new (&blob->bytes) ByteView(bytes);
  return py::reinterpret_steal<py::object>(self);
}

py::object make_directory(std::shared_ptr<const void> keep_alive, const std::string& path,
                          std::uint64_t size_bytes) {
  auto name = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
  if (!name) throw py::error_already_set();
  py::object directory =
      make_blob(std::move(keep_alive), ByteView(nullptr, static_cast<std::size_t>(size_bytes)));
  blob_of(directory.ptr())->path = name.release().ptr();
  return directory;
}

void bind_blob(py::module_& module) {
  PyObject* type = PyType_FromSpec(&spec);
  if (!type) throw py::error_already_set();
  blob_type = reinterpret_cast<PyTypeObject*>(type);
  module.add_object("Blob", py::reinterpret_borrow<py::object>(type));
}

}  // namespace rain::bindings
