#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/ids.h"

namespace rain::graph {

enum class FailureKind : std::uint8_t {
  task,        // the handler said so: C++ exception text, Python traceback, set_error
  executor,    // the executor died, never registered, registered wrongly, or talked nonsense
  store_full,  // no room for an output
  cancelled,   // by the user
  session,     // the session closed, or failed elsewhere
  ancestor,    // an ancestor did not finish
  launcher,    // nothing can be started any more
};

/// Why a task did not finish. Immutable; shared by every task that it ended.
struct Failure {
  FailureKind kind = FailureKind::task;
  tasklib::base::TaskId origin;  // the task that failed first; session -1: none
  std::string message;           // what the user reads first; names what to do next if known
  std::string debug;             // ctx.debug text of the task
  std::string report;            // death report: signal or exit code, run time, RSS, stderr tail
  std::string pickled;           // reserved for the exception itself (universal executor)
};
using FailurePtr = std::shared_ptr<const Failure>;

}  // namespace rain::graph
