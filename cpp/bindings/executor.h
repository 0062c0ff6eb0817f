#pragma once

#include <pybind11/pybind11.h>

namespace rain::bindings {

/// Adds what rain.tasklib stands on: TaskExecutor, TaskContext, TaskData, TaskBuffer.
void bind_executor(pybind11::module_& module);

}  // namespace rain::bindings
