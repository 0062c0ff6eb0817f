#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/unique_fd.h"

namespace rain {

/// A line that a task wrote for the client's log while it ran.
struct LogLine {
  tasklib::base::TaskId task;
  std::string task_type, executor_type;
  std::int32_t pid = 0;
  std::uint32_t level = 0;  // as Python's logging counts
  std::string text;         // empty when only `lost` is told
  double time = 0;          // seconds since the epoch, when it came
  std::uint64_t lost = 0;   // lines of the same executor that the executor dropped before it
};

/// Log lines on their way to a thread of the client, which alone may run the user's handlers.
/// Shared by the Runtime, which pushes, and that thread. Thread-safe. In a forked child it is empty
/// and closed.
class LogQueue {
 public:
  // What comes while so much waits is dropped, and counted.
  static constexpr std::size_t kMaxLines = 10'000;
  static constexpr std::size_t kMaxBytes = 4u << 20;  // of text

  LogQueue();
  LogQueue(const LogQueue&) = delete;
  LogQueue& operator=(const LogQueue&) = delete;

  void push(LogLine line);
  /// No more will come. Idempotent.
  void close();

  struct Taken {
    std::vector<LogLine> lines;
    std::uint64_t dropped = 0;  // after them
    bool closed = false;        // and nothing is left
  };
  /// Waits until there is something or it is closed; empty when a signal came first. One thread's.
  /// Throws SystemError.
  Taken wait();
  /// All that was pushed was taken, and the taker is back for more (or it is closed).
  bool idle();

 private:
  bool forked() const;
  void signal();

  const ::pid_t owner_;
  std::mutex mutex_;
  // Guarded by mutex_.
  // From the first wait() to the end. Not a condition variable, which a forked child can't destroy.
  tasklib::base::UniqueFd event_;
  std::vector<LogLine> lines_;
  std::size_t bytes_ = 0;
  std::uint64_t dropped_ = 0;
  bool closed_ = false, waits_ = false;
};

}  // namespace rain
