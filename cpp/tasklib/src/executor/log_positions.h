#pragma once

#include <unistd.h>

#include <cstdio>

#include "wire/messages.h"

namespace tasklib::executor {

/// Where this process' standard output and error are written to, to tell what a handler printed.
/// Needs files, as a governor gives them; with anything else nothing is ever printed.
///
/// Not thread-safe: each worker has its own. What is printed by several at the same time counts for
/// each of them.
class LogPositions {
 public:
  /// Before a handler. Not needed if nobody else has printed since end().
  void begin() {
    out_ = position(STDOUT_FILENO);
    err_ = position(STDERR_FILENO);
  }
  /// After it: what was printed since begin(), or the last end().
  wire::Printed end() {
    std::fflush(stdout);
    wire::Printed printed;
    printed.out_begin = out_;
    printed.err_begin = err_;
    begin();
    printed.out_end = out_ < printed.out_begin ? printed.out_begin : out_;
    printed.err_end = err_ < printed.err_begin ? printed.err_begin : err_;
    return printed;
  }

 private:
  static std::uint64_t position(int fd) {
    const off_t found = ::lseek(fd, 0, SEEK_CUR);
    return found < 0 ? 0 : static_cast<std::uint64_t>(found);
  }

  std::uint64_t out_ = 0;
  std::uint64_t err_ = 0;
};

}  // namespace tasklib::executor
