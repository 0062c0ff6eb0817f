#pragma once

#include <Python.h>
#include <pybind11/pybind11.h>

#include <cstddef>

#include "base/bytes.h"

namespace rain::bindings {

/// A view of a bytes-like object while this lives. Under the GIL; the bytes may be read without.
class Buffer {
 public:
  /// Throws error_already_set: it is none, or not of the kind that the PyBUF_ flags ask for.
  explicit Buffer(PyObject* object, int flags = PyBUF_SIMPLE) {
    if (PyObject_GetBuffer(object, &view_, flags) != 0) throw pybind11::error_already_set();
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  Py_buffer& view() { return view_; }
  std::size_t size_bytes() const { return static_cast<std::size_t>(view_.len); }
  /// Requires: contiguous.
  tasklib::base::ByteView bytes() const { return {view_.buf, size_bytes()}; }

 private:
  Py_buffer view_;
};

}  // namespace rain::bindings
