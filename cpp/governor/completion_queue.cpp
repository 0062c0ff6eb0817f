#include "completion_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "base/syscall.h"

namespace rain {

using graph::TaskRef;
using tasklib::base::checked;
using tasklib::base::UniqueFd;

CompletionQueue::CompletionQueue() : owner_(::getpid()) {}

bool CompletionQueue::forked() const { return ::getpid() != owner_; }

int CompletionQueue::fd() {
  std::lock_guard lock(mutex_);
  if (!event_) {
    event_ =
        UniqueFd(checked("eventfd", "", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }));
    if (!tasks_.empty()) write_event();
  }
  return event_.get();
}

std::vector<TaskRef> CompletionQueue::take() {
  if (forked()) return {};  // the lock may be held by a thread that isn't here
  std::lock_guard lock(mutex_);
  if (std::exchange(readable_, false)) {
    std::uint64_t ignored = 0;
    (void)!::read(event_.get(), &ignored, sizeof ignored);
  }
  return std::exchange(tasks_, {});
}

std::vector<TaskRef> CompletionQueue::take_started() {
  if (forked()) return {};
  std::lock_guard lock(mutex_);
  return std::exchange(started_, {});
}

bool CompletionQueue::empty() const {
  if (forked()) return true;
  std::lock_guard lock(mutex_);
  return tasks_.empty();
}

void CompletionQueue::nudge() {
  if (forked()) return;
  std::lock_guard lock(mutex_);
  write_event();
}

void CompletionQueue::push(TaskRef task) {
  if (forked()) return;
  std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
}

void CompletionQueue::push_started(TaskRef task) {
  if (forked()) return;
  std::lock_guard lock(mutex_);
  started_.push_back(std::move(task));
}

void CompletionQueue::write_event() {
  if (!event_ || std::exchange(readable_, true)) return;
  const std::uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof one);
}

}  // namespace rain
