#pragma once

#include <string>

#include "tasklib/datainstance.h"

namespace tasklib::executor {

/// What an input is, in the words of a TypeMismatch: "ndarray int32 of 2 dimensions", "text".
std::string describe_input(const DataInstance& input);

}  // namespace tasklib::executor
