#pragma once

// Python values to CBOR and back. Everything here runs under the GIL.

#include <pybind11/pybind11.h>

#include <string>

#include "base/bytes.h"
#include "wire/messages.h"

namespace rain::bindings {

/// A JSON-like value (None, bool, int, float, str, list, tuple, dict with str keys; also what
/// turns into an int or a float, as numpy's scalars do) as the governor writes such values: maps
/// sorted by key. `what` names the value in errors: "config".
/// Throws error_already_set: TypeError or ValueError that names the place, "config['a'][3]".
tasklib::wire::RawValue to_raw_value(pybind11::handle value, const char* what);

/// A dict with str keys as user attributes; None is none.
tasklib::wire::UserAttributes to_user_attributes(pybind11::handle value, const char* what);
pybind11::dict from_user_attributes(const tasklib::wire::UserAttributes& attributes);

/// Content type "cbor": also bytes (and what has a buffer), and any hashable key. Floats are
/// written as doubles unless single precision keeps the value. Ints beyond 64 bits: ValueError.
std::string to_cbor(pybind11::handle value);

/// Any one CBOR item; an empty view is None. Throws ProtocolError with the offset.
pybind11::object from_cbor(tasklib::base::ByteView item);

/// A path as the file system has it: names that are no UTF-8 come as surrogate escapes. Throws.
std::string path_text(PyObject* path);

}  // namespace rain::bindings
