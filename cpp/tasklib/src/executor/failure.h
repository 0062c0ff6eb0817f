#pragma once

#include <string>

namespace tasklib::executor {

/// The error text of a task that the exception being handled has left: its text, its C++ type,
/// the task and its executor. Requires: inside a catch block. Rethrows what must not be swallowed
/// (the unwinding of a cancelled thread).
std::string describe_current_exception(const std::string& task_type);

}  // namespace tasklib::executor
