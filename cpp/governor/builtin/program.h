#pragma once

// The built-in task `run`: an external program in a sandbox of its own.
//
// A sandbox is a directory {run directory}/programs/{n}/work, empty but for the inputs when the
// program starts, its current directory, and emptied when it has ended; beside it lie `out` and
// `err`, which take stdout and stderr. A sandbox that was found empty is used again: making
// directories and files is most of what a short program costs.

#include <cstdint>
#include <string>
#include <vector>

namespace rain::builtin {

class Host;

/// The sandboxes, and the environment of programs. Owned by Builtin. Thread: token holder.
class Programs {
 public:
  explicit Programs(Host& host) : host_(host) {}

  /// One that nobody uses: {run directory}/programs/{n}, its `work` missing or empty. Throws
  /// SystemError.
  std::string take();
  void give_back(std::string sandbox) { free_.push_back(std::move(sandbox)); }

  /// What programs inherit: the client's environment without what the libraries of executors read
  /// (this process may belong to an executor of another governor).
  const std::vector<std::string>& environment();
  /// An assignment that only this start of a program has.
  std::string next_owner();

 private:
  Host& host_;
  std::vector<std::string> free_, environment_;
  std::uint32_t last_sandbox_ = 0;
  std::uint64_t last_start_ = 0;
};

}  // namespace rain::builtin
