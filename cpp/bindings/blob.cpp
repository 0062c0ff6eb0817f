#include "blob.h"

#include <structmember.h>

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "errors.h"
#include "pages.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using tasklib::base::ByteView;

struct BlobObject {
  PyObject_HEAD PyObject* weak_references;
  std::shared_ptr<const void> keep_alive;  // none once released
  const Data* data;                        // what keep_alive keeps; null: some other buffer
  ByteView bytes;                          // of a directory: no data, but the size
  PyObject* path;                          // owned; of a directory, else null
  bool released;
  bool lent_itself;  // somebody may look at the bytes who keeps this object alone
};

PyTypeObject* blob_type = nullptr;

BlobObject* blob_of(PyObject* self) { return reinterpret_cast<BlobObject*>(self); }

/// Null with a Python error when it was released.
BlobObject* live_blob_of(PyObject* self) {
  BlobObject* blob = blob_of(self);
  if (!blob->released) return blob;
  PyErr_SetString(PyExc_ValueError,
                  "these data were released, by release() or the end of a `with` block: fetch() "
                  "them again, or use them before");
  return nullptr;
}

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
      const BlobObject* other = live_blob_of(source);
      if (!other) throw py::error_already_set();
      blob->keep_alive = other->keep_alive;
      blob->data = other->data;
      blob->bytes = other->bytes;
      blob->path = other->path;
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
  view->obj = nullptr;
  BlobObject* blob = live_blob_of(self);
  if (!blob) return -1;
  if (blob->path) {
    PyErr_SetString(PyExc_BufferError,
                    "a directory has no bytes: look at its path, or write(path) a copy");
    return -1;
  }
  if (keeps_lender(flags)) blob->lent_itself = true;
  return lend(blob->keep_alive, blob->bytes, view, flags);
}

Py_ssize_t blob_length(PyObject* self) {
  const BlobObject* blob = live_blob_of(self);
  return blob ? static_cast<Py_ssize_t>(blob->bytes.size) : -1;
}

PyObject* blob_get_bytes(PyObject* self, PyObject*) {
  const BlobObject* blob = live_blob_of(self);
  if (!blob) return nullptr;
  if (blob->path) return PyErr_Format(PyExc_TypeError, "a directory has no bytes");
  const ByteView bytes = blob->bytes;
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data),
                                   static_cast<Py_ssize_t>(bytes.size));
}

PyObject* blob_release(PyObject* self, PyObject*) {
  BlobObject* blob = blob_of(self);
  blob->released = true;
  if (!blob->lent_itself) blob->keep_alive.reset();
  Py_RETURN_NONE;
}

// Pages with the same bytes that may be written, and that nobody else sees.
PyObject* blob_writable_copy(PyObject* self, PyObject*) {
  constexpr std::size_t kMappedBytes = 64 << 10;  // below, copying is cheaper than a mapping
  const BlobObject* blob = live_blob_of(self);
  if (!blob) return nullptr;
  if (blob->path) return PyErr_Format(PyExc_TypeError, "a directory has no bytes");
  const ByteView bytes = blob->bytes;
  try {
    std::shared_ptr<unsigned char> mapped;
    if (blob->data && bytes.size >= kMappedBytes) {
      try {
        mapped = blob->data->map_private();
      } catch (const tasklib::base::SystemError&) {
        // Its file went with the client: copied.
      }
    }
    if (mapped) {
      unsigned char* const writable = mapped.get();
      return make_writable_pages(
          {std::make_shared<std::pair<std::shared_ptr<const void>, std::shared_ptr<void>>>(
               blob->keep_alive, std::move(mapped)),
           writable},
          bytes.size);
    }
    const auto copy =
        std::make_shared<std::vector<unsigned char>>(bytes.data, bytes.data + bytes.size);
    return make_writable_pages({copy, copy->data()}, bytes.size);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* blob_path(PyObject* self, void*) {
  const BlobObject* blob = live_blob_of(self);
  if (!blob) return nullptr;
  PyObject* path = blob->path ? blob->path : Py_None;
  Py_INCREF(path);
  return path;
}

PyObject* blob_address(PyObject* self, void*) {
  const BlobObject* blob = live_blob_of(self);
  return blob ? PyLong_FromVoidPtr(const_cast<unsigned char*>(blob->bytes.data)) : nullptr;
}

PyObject* blob_released(PyObject* self, void*) { return PyBool_FromLong(blob_of(self)->released); }

PyMethodDef methods[] = {
    {"get_bytes", blob_get_bytes, METH_NOARGS, "A copy of the data, as bytes."},
    {"_release", blob_release, METH_NOARGS, nullptr},
    {"_writable_copy", blob_writable_copy, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef getset[] = {
    {"_path", blob_path, nullptr, "Of a directory: where it is.", nullptr},
    {"_address", blob_address, nullptr, "Where the bytes lie, for tests of zero copy.", nullptr},
    {"_released", blob_released, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(BlobObject, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("Blob(source): read-only bytes, through the buffer protocol.")},
    {Py_tp_new, reinterpret_cast<void*>(blob_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(blob_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(blob_getbuffer)},
    {Py_bf_releasebuffer, reinterpret_cast<void*>(nothing_to_release)},
    {Py_sq_length, reinterpret_cast<void*>(blob_length)},
    {Py_tp_members, members},
    {Py_tp_getset, getset},
    {Py_tp_methods, methods},
    {0, nullptr}};

PyType_Spec spec{"rain._core.Blob", sizeof(BlobObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                 slots};

}  // namespace

py::object make_blob(std::shared_ptr<const Data> data, ByteView bytes) {
  PyObject* self = blob_type->tp_alloc(blob_type, 0);
  if (!self) throw py::error_already_set();
  BlobObject* blob = blob_of(self);
  blob->data = data.get();
  new (&blob->keep_alive) std::shared_ptr<const void>(std::move(data));
  new (&blob->bytes) ByteView(bytes);
  return py::reinterpret_steal<py::object>(self);
}

py::object make_directory(std::shared_ptr<const Data> data, const std::string& path,
                          std::uint64_t size_bytes) {
  auto name = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
  if (!name) throw py::error_already_set();
  py::object directory =
      make_blob(std::move(data), ByteView(nullptr, static_cast<std::size_t>(size_bytes)));
  blob_of(directory.ptr())->path = name.release().ptr();
  return directory;
}

std::shared_ptr<const Data> data_of_blob(PyObject* object) {
  if (!PyObject_TypeCheck(object, blob_type)) return nullptr;
  const BlobObject* blob = live_blob_of(object);
  if (!blob) throw py::error_already_set();
  if (!blob->data) return nullptr;
  return {blob->keep_alive, blob->data};
}

void bind_blob(py::module_& module) {
  PyObject* type = PyType_FromSpec(&spec);
  if (!type) throw py::error_already_set();
  blob_type = reinterpret_cast<PyTypeObject*>(type);
  module.add_object("Blob", py::reinterpret_borrow<py::object>(type));
  module.add_object("Pages", py::handle(reinterpret_cast<PyObject*>(pages_type())));
}

}  // namespace rain::bindings
