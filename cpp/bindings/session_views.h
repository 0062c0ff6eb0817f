#pragma once

#include <pybind11/pybind11.h>

namespace rain::bindings {

/// Adds what shows a session to people: its progress and its graph.
void bind_session_views(pybind11::module_& module);

}  // namespace rain::bindings
