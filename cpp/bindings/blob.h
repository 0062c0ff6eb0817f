#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "base/bytes.h"
#include "object_data.h"

namespace rain::bindings {

/// A new _core.Blob: a read-only PEP 3118 exporter of the bytes of `data`. They stay until the Blob
/// is released or gone, and as long as any buffer taken from it. Throws error_already_set.
pybind11::object make_blob(std::shared_ptr<const Data> data, tasklib::base::ByteView bytes);
/// The same of a directory: no buffer, but `_path` (in the file system's bytes) and a length.
pybind11::object make_directory(std::shared_ptr<const Data> data, const std::string& path,
                                std::uint64_t size_bytes);

/// What a Blob, which is not released, shows of an object's data; null: it is none, or it shows
/// some other buffer.
std::shared_ptr<const Data> data_of_blob(PyObject* object);

void bind_blob(pybind11::module_& module);

}  // namespace rain::bindings
