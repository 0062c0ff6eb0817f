#include "pages.h"

#include <pybind11/pybind11.h>

#include <new>
#include <utility>

namespace py = pybind11;

namespace rain::bindings {
namespace {

struct Pages {
  PyObject ob_base;
  std::shared_ptr<const void> owner;
  unsigned char* data;
  Py_ssize_t size_bytes;
  bool writable;
};

Pages& pages_of(PyObject* self) { return *reinterpret_cast<Pages*>(self); }

void pages_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  std::destroy_at(&pages_of(self).owner);
  type->tp_free(self);
  Py_DECREF(type);
}

int pages_getbuffer(PyObject* self, Py_buffer* view, int flags) {
  const Pages& pages = pages_of(self);
  return PyBuffer_FillInfo(view, self, pages.data, pages.size_bytes, !pages.writable, flags);
}

Py_ssize_t pages_length(PyObject* self) { return pages_of(self).size_bytes; }

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(pages_dealloc)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(pages_getbuffer)},
    {Py_sq_length, reinterpret_cast<void*>(pages_length)},
    {Py_tp_doc, const_cast<char*>("Bytes of a DataInstance, kept for whoever looks at them.")},
    {0, nullptr}};

PyType_Spec spec{"rain._core.Pages", sizeof(Pages), 0,
                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

PyObject* make_pages(std::shared_ptr<const void> owner, unsigned char* data, std::size_t size_bytes,
                     bool writable) noexcept {
  static unsigned char nothing = 0;
  PyTypeObject* type = pages_type();
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  Pages& pages = pages_of(self);
  new (&pages.owner) std::shared_ptr<const void>(std::move(owner));
  pages.data = data ? data : &nothing;
  pages.size_bytes = static_cast<Py_ssize_t>(size_bytes);
  pages.writable = writable;
  return self;
}

}  // namespace

PyTypeObject* pages_type() {
  static PyTypeObject* const type = [] {
    PyObject* made = PyType_FromSpec(&spec);
    if (!made) throw py::error_already_set();
    return reinterpret_cast<PyTypeObject*>(made);
  }();
  return type;
}

int lend(std::shared_ptr<const void> owner, tasklib::base::ByteView bytes, Py_buffer* view,
         int flags) noexcept {
  view->obj = nullptr;
  PyObject* pages =
      make_pages(std::move(owner), const_cast<unsigned char*>(bytes.data), bytes.size, false);
  if (!pages) return -1;
  const int outcome = pages_getbuffer(pages, view, flags);
  Py_DECREF(pages);
  return outcome;
}

PyObject* make_writable_pages(std::shared_ptr<unsigned char> bytes,
                              std::size_t size_bytes) noexcept {
  unsigned char* data = bytes.get();
  return make_pages(std::move(bytes), data, size_bytes, true);
}

void nothing_to_release(PyObject*, Py_buffer*) {}

bool keeps_lender(int flags) { return (flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS; }

}  // namespace rain::bindings
