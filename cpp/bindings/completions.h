#pragma once

#include <pybind11/pybind11.h>

namespace rain::bindings {

/// Adds CompletionQueue: what asyncio, as_completed and the dispatcher of a client listen to.
void bind_completions(pybind11::module_& module);

}  // namespace rain::bindings
