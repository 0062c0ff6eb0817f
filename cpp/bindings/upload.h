#pragma once

// How bytes of the program become constants: written once, to where they stay.

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>

#include "graph/records.h"
#include "session_core.h"

namespace rain::bindings {

/// The bytes of a buffer, which is a Room or copied. Releases the GIL. Throws error_already_set,
/// StoreFull.
std::shared_ptr<graph::ObjectData> upload(SessionCore* session, PyObject* source);

/// A directory of the user, as a read-only copy. Releases the GIL.
std::shared_ptr<graph::ObjectData> upload_directory(SessionCore* session, const std::string& path);

/// A writable buffer for a constant that is made by writing: a _core.Room in shared memory, which
/// upload() takes as it is; or ordinary memory, if it is small, or there is no room or no client.
/// Releases the GIL.
pybind11::object make_room(SessionCore* session, std::uint64_t size_bytes);

/// copy_into(target, offset, source): of bytes-like objects, without the GIL.
void copy_into(const pybind11::object& target, std::size_t offset, const pybind11::object& source);

void bind_upload(pybind11::module_& module);

}  // namespace rain::bindings
