#pragma once

#include <optional>
#include <string>

#include "executor/method.h"

// One call run again, alone: without governor, socket or shared memory, so that debuggers and
// profilers see a plain program. The client's Task.reproduce() writes a directory with
//
//   call        payload of a cbor-2 `call` frame
//   inputs/N    the data of input N: a file or a directory
//
// An input's location in the call is "inputs/N" (relative to the directory; any other path works,
// too) if the task had it as a path, and empty bytes if it had the bytes of that file.

namespace tasklib::executor {

/// What RAIN_REPRODUCE says; from then on it is gone from the environment, so that a governor that
/// the task may start doesn't pass it on.
std::optional<std::string> reproduce_directory();

/// Runs the call in `directory` in this thread and writes its outputs to `directory`/outputs/N.
/// Says on stderr what came of it. Throws std::runtime_error with the task's error if it failed,
/// and base::Error when the directory doesn't hold what it should.
void reproduce(const std::string& type, Methods& methods, const std::string& directory);

}  // namespace tasklib::executor
