#pragma once

// What Python's views of data hold: an object of its own between the view and the data. However
// a library keeps a buffer (numpy keeps the exporter alone, and no buffer), the bytes stay as long
// as it does, also when the DataInstance that lent them is released. Everything here runs under
// the GIL.

#include <Python.h>

#include <cstddef>
#include <memory>

#include "base/bytes.h"

namespace rain::bindings {

/// For bf_getbuffer: fills `view` with read-only bytes, whose exporter is a new _core.Pages that
/// keeps `owner`. 0, or -1 with a Python error.
int lend(std::shared_ptr<const void> owner, tasklib::base::ByteView bytes, Py_buffer* view,
         int flags) noexcept;

/// A _core.Pages of bytes that may be written. Null with a Python error.
PyObject* make_writable_pages(std::shared_ptr<unsigned char> bytes,
                              std::size_t size_bytes) noexcept;

/// For bf_releasebuffer of a type that lends. Never called, for the Pages are the exporter: that it
/// is there makes numpy.frombuffer hold a buffer, and not the lender.
void nothing_to_release(PyObject*, Py_buffer*);

/// Whether `flags` ask as numpy.ndarray(buffer=x) does, which keeps x itself and no buffer.
bool keeps_lender(int flags);

/// The type, made once. Throws error_already_set.
PyTypeObject* pages_type();

}  // namespace rain::bindings
