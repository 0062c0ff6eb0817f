#pragma once

#include <pybind11/pybind11.h>

namespace rain::bindings {

/// Adds Part and HostedSession, and what makes them to Submission and Engine. Requires:
/// bind_client(), bind_mirror().
void bind_hosted(pybind11::module_& module);

}  // namespace rain::bindings
