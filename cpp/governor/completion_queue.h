#pragma once

#include <sys/types.h>

#include <mutex>
#include <vector>

#include "base/unique_fd.h"
#include "graph/records.h"

namespace rain {

/// Tasks that have ended, and those that run, for a listener: asyncio and a client's dispatcher
/// wait for the descriptor, as_completed waits with Governor::wait. See Governor::watch, which
/// fills it. Shared by its listener, who owns it; the governor only refers to it. Thread-safe. In a
/// forked child it is empty and stays so.
class CompletionQueue {
 public:
  CompletionQueue();
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  /// Readable while there is something to take, and after nudge(). An eventfd, made when first
  /// asked for: a listener that doesn't ask costs no system call. Throws SystemError.
  int fd();
  /// All tasks since the last call; ends the readability of fd().
  std::vector<graph::TaskRef> take();
  /// Tasks that ran when it was said (Governor::watch_starts); meanwhile they may have ended. Call
  /// take() before: it is what ends the readability.
  std::vector<graph::TaskRef> take_started();
  /// No task has ended since take().
  bool empty() const;
  /// Makes fd() readable once more: for a listener that has other work, too.
  void nudge();

  /// The Governor's. signal() makes fd() readable after any number of push().
  void push(graph::TaskRef task);
  void push_started(graph::TaskRef task);
  void signal() { nudge(); }

 private:
  bool forked() const;
  void write_event();

  const ::pid_t owner_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<graph::TaskRef> tasks_, started_;
  tasklib::base::UniqueFd event_;
  bool readable_ = false;
};

}  // namespace rain
