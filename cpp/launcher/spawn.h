#pragma once

#include <sys/types.h>

#include "launcher/protocol.h"

namespace rain::launcher {

/// What to start; the strings belong to the caller.
struct Program {
  char** argv;  // at least argv[0], then null
  char** env;   // whole environment, then null
  const char* working_directory;
  const char* stdin_path;
  const char* stdout_path;
  const char* stderr_path;
};

struct Started {
  pid_t pid;         // when error_number is 0
  int error_number;  // of the step that failed; no process is left then
  SpawnStep failed_step;
};

/// Starts a program in a session of its own, with stdin_path as input, the two log files as output
/// and no other descriptor, default signal dispositions and an empty signal mask; it dies with
/// this process (PR_SET_PDEATHSIG). argv[0] without a slash is looked up in the PATH of `env`.
/// Returns after the exec. Requires: one thread, default dispositions, no descriptor that is not
/// close-on-exec but 0, 1 and 2.
Started spawn(const Program& program);

}  // namespace rain::launcher
