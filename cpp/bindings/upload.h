#pragma once

// How bytes of the program become constants: written once, to where they stay.

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>

#include "engine.h"
#include "graph/records.h"

namespace rain::bindings {

// `engine` null: of a session without client.

/// The bytes of a buffer, which is a Room or copied. Releases the GIL. Throws error_already_set,
/// StoreFull.
std::shared_ptr<graph::ObjectData> upload(const std::shared_ptr<Engine>& engine, PyObject* source);

/// A directory of the user, as a read-only copy. Releases the GIL.
std::shared_ptr<graph::ObjectData> upload_directory(const std::shared_ptr<Engine>& engine,
                                                    const std::string& path);

/// A writable buffer for data that are made by writing: a _core.Room in shared memory, which
/// upload() takes as it is; ordinary memory if it is small. Releases the GIL. Throws StoreFull.
/// Requires: an engine.
pybind11::object make_room(const std::shared_ptr<Engine>& engine, std::uint64_t size_bytes);

/// The same in ordinary memory.
pybind11::object make_ordinary_room(std::uint64_t size_bytes);

/// copy_into(target, offset, source): of bytes-like objects, without the GIL.
void copy_into(const pybind11::object& target, std::size_t offset, const pybind11::object& source);

void bind_upload(pybind11::module_& module);

}  // namespace rain::bindings
