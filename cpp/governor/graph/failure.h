#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace rain::graph {

enum class FailureKind : std::uint8_t {
  task,           // the handler said so: C++ exception text, Python traceback, set_error
  executor,       // the executor died, never registered, registered wrongly, or talked nonsense
  store_full,     // no room for an output
  cancelled,      // by the user
  session,        // the session closed, or failed elsewhere
  ancestor,       // an ancestor did not finish
  launcher,       // nothing can be started any more
  timeout,        // it ran longer than its limit
  out_of_memory,  // it used more memory than its limit, or the kernel had none left
  connection,     // of a mirror: where the tasks run can't be reached any more
};

/// One call of a task that did not end well.
struct Attempt {
  FailureKind kind = FailureKind::task;
  std::string message;
  tasklib::base::ExecutorId executor;   // 0: it reached none
  std::int32_t pid = 0;                 // of the executor; 0: not known
  tasklib::base::Duration duration{0};  // 0: not known
};

/// Why a task did not finish. Immutable; shared by every task that it ended.
struct Failure {
  FailureKind kind = FailureKind::task;
  tasklib::base::TaskId origin;  // the task that failed first; session -1: none
  std::string message;           // what the user reads first; names what to do next if known
  std::string debug;             // ctx.debug text of the task
  std::string report;            // death report: signal or exit code, run time, RSS, stderr tail
  std::string pickled;           // the exception itself, of a task in Python
  std::vector<Attempt> attempts = {};  // those of the origin, the last one included
};
using FailurePtr = std::shared_ptr<const Failure>;

}  // namespace rain::graph
