#include "log_queue.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "base/syscall.h"

namespace rain {

using tasklib::base::checked;
using tasklib::base::UniqueFd;

LogQueue::LogQueue() : owner_(::getpid()) {}

bool LogQueue::forked() const { return ::getpid() != owner_; }

/// With mutex_ held.
void LogQueue::signal() {
  if (!event_) return;
  const std::uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof one);
}

void LogQueue::push(LogLine line) {
  std::lock_guard lock(mutex_);
  if (lines_.size() >= kMaxLines || bytes_ + line.text.size() > kMaxBytes) {
    const bool only_tells_of_lost = line.text.empty() && line.lost > 0;
    dropped_ += line.lost + (only_tells_of_lost ? 0 : 1);
    return;
  }
  bytes_ += line.text.size();
  lines_.push_back(std::move(line));
  if (lines_.size() == 1) signal();
}

void LogQueue::close() {
  if (forked()) return;
  std::lock_guard lock(mutex_);
  closed_ = true;
  signal();
}

bool LogQueue::idle() {
  if (forked()) return true;
  std::lock_guard lock(mutex_);
  return lines_.empty() && dropped_ == 0 && (waits_ || closed_);
}

LogQueue::Taken LogQueue::wait() {
  Taken taken;
  taken.closed = true;
  if (forked()) return taken;
  std::unique_lock lock(mutex_);
  if (!closed_ && lines_.empty()) {
    if (!event_)
      event_ =
          UniqueFd(checked("eventfd", "", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }));
    pollfd waited{event_.get(), POLLIN, 0};
    waits_ = true;
    lock.unlock();
    ::poll(&waited, 1, -1);
    lock.lock();
    waits_ = false;
    std::uint64_t ignored = 0;
    (void)!::read(event_.get(), &ignored, sizeof ignored);
  }
  taken.lines = std::exchange(lines_, {});
  taken.dropped = std::exchange(dropped_, 0);
  taken.closed = closed_;
  bytes_ = 0;
  if (closed_) event_.reset();
  return taken;
}

}  // namespace rain
