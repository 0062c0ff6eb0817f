#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "engine.h"

namespace rain::bindings {

/// Adds what shows an engine to those who look while it runs: dashboards and metrics.
void def_activity(pybind11::class_<Engine, std::shared_ptr<Engine>>& engine);

}  // namespace rain::bindings
