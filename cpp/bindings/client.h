#pragma once

#include <pybind11/pybind11.h>

namespace rain::bindings {

/// Adds Engine and what rain.client does with sessions, tasks and data objects.
void bind_client(pybind11::module_& module);

}  // namespace rain::bindings
