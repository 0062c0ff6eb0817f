#include "loop.h"

#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/syscall.h"

namespace rain {

using tasklib::base::checked;
using tasklib::base::Clock;
using tasklib::base::TimePoint;

namespace {

/// 0: woken or the value differs; else ETIMEDOUT or EINTR.
int futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected,
               std::chrono::nanoseconds limit) {
  timespec timeout{limit.count() / 1'000'000'000, limit.count() % 1'000'000'000};
  const long result =
      ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, &timeout, nullptr, 0);
  if (result == 0 || errno == EAGAIN) return 0;
  return errno;
}

/// The word may be gone by now: a futex is its address, and nobody reads it here.
void futex_wake(std::atomic<std::uint32_t>* word) {
  ::syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

Loop::Loop(Runtime& runtime)
    : runtime_(runtime),
      stop_event_(checked("eventfd", "", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); })) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    background_ = std::thread([this] { background(); });
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Loop::~Loop() { stop(); }

bool Loop::try_acquire() {
  std::lock_guard lock(mutex_);
  if (held_) return false;
  held_ = true;
  ++epoch_;
  return true;
}

void Loop::run(const std::function<void()>& action) {
  Posted posted{&action, nullptr};
  {
    std::unique_lock lock(mutex_);
    if (held_) {
      posted_.push_back(&posted);
      has_posted_.store(true, std::memory_order_relaxed);
      lock.unlock();
      runtime_.wake();
      while (posted.done.load(std::memory_order_acquire) == 0) {
        futex_wait(posted.done, 0, std::chrono::seconds(1));
      }
      if (posted.error) std::rethrow_exception(posted.error);
      return;
    }
    held_ = true;
    ++epoch_;
  }
  try {
    action();
    runtime_.pump();
  } catch (...) {
    leave();
    throw;
  }
  leave();
}

bool Loop::serve_posted() {
  std::vector<Posted*> batch;
  {
    std::lock_guard lock(mutex_);
    batch = std::exchange(posted_, {});
    has_posted_.store(false, std::memory_order_relaxed);
  }
  if (batch.empty()) return false;
  for (auto* posted : batch) {
    try {
      (*posted->action)();
      runtime_.pump();
    } catch (...) {
      posted->error = std::current_exception();
    }
    posted->done.store(1, std::memory_order_release);
    futex_wake(&posted->done);
  }
  return true;
}

void Loop::wake_ready_waiters() {
  auto keep = waiters_.begin();
  for (auto* waiter : waiters_) {
    if ((*waiter->ready)()) {
      waiter->signal.store(kReady, std::memory_order_release);
      futex_wake(&waiter->signal);
    } else {
      *keep++ = waiter;
    }
  }
  waiters_.erase(keep, waiters_.end());
  waiting_.store(static_cast<std::uint32_t>(waiters_.size()), std::memory_order_relaxed);
}

void Loop::leave() {
  while (true) {
    serve_posted();
    std::lock_guard lock(mutex_);
    if (!posted_.empty()) continue;
    wake_ready_waiters();
    if (!waiters_.empty()) {
      Waiter* next = waiters_.front();
      waiters_.erase(waiters_.begin());
      waiting_.store(static_cast<std::uint32_t>(waiters_.size()), std::memory_order_relaxed);
      ++epoch_;
      next->signal.store(kPromoted, std::memory_order_release);
      futex_wake(&next->signal);
      return;
    }
    held_ = false;
    if (parked_deep_) parked_.notify_one();
    return;
  }
}

Loop::Wait Loop::wait(const std::function<bool()>& ready, std::optional<TimePoint> deadline) {
  Waiter waiter{&ready};
  {
    std::unique_lock lock(mutex_);
    if (!held_) {
      held_ = true;
      ++epoch_;
      lock.unlock();
      return drive(ready, deadline);
    }
    // Under the lock: a change after this is followed by wake_ready_waiters, which waits for it.
    if (ready()) return Wait::done;
    waiters_.push_back(&waiter);
    waiting_.store(static_cast<std::uint32_t>(waiters_.size()), std::memory_order_relaxed);
  }
  // The holder looks at waiters only after a change; one that came before may be all there is.
  std::chrono::nanoseconds limit = kSlice;
  if (deadline) {
    limit = std::clamp<std::chrono::nanoseconds>(*deadline - Clock::now(),
                                                 std::chrono::nanoseconds(0), limit);
  }
  const TimePoint end = Clock::now() + limit;
  Wait result = Wait::interrupted;
  while (true) {
    const std::uint32_t signal = waiter.signal.load(std::memory_order_acquire);
    if (signal == kReady) return Wait::done;
    if (signal == kPromoted) return drive(ready, deadline);
    const auto left = end - Clock::now();
    if (left.count() > 0 && futex_wait(waiter.signal, kNone, left) == 0) continue;
    break;
  }
  std::unique_lock lock(mutex_);
  const std::uint32_t signal = waiter.signal.load(std::memory_order_acquire);
  if (signal == kReady) return Wait::done;
  if (signal == kPromoted) {
    lock.unlock();
    return drive(ready, deadline);
  }
  waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &waiter));
  waiting_.store(static_cast<std::uint32_t>(waiters_.size()), std::memory_order_relaxed);
  if (ready()) return Wait::done;
  if (deadline && *deadline <= Clock::now()) result = Wait::timed_out;
  return result;
}

Loop::Wait Loop::drive(const std::function<bool()>& ready,
                       const std::optional<TimePoint>& deadline) {
  Wait result = Wait::done;
  const TimePoint slice_end = Clock::now() + kSlice;
  std::uint64_t seen = runtime_.changes();
  try {
    while (true) {
      if (has_posted_.load(std::memory_order_relaxed)) serve_posted();
      if (waiting_.load(std::memory_order_relaxed) > 0 && seen != runtime_.changes()) {
        seen = runtime_.changes();
        std::lock_guard lock(mutex_);
        wake_ready_waiters();
      }
      if (ready()) break;
      TimePoint now = Clock::now();
      if (deadline && *deadline <= now) {
        result = Wait::timed_out;
        break;
      }
      if (slice_end <= now) {
        result = Wait::interrupted;
        break;
      }
      auto events = Runtime::Events::none;
      if (runtime_.should_poll() && poll_advice_.worth_it()) {
        const TimePoint poll_end = now + kPoll;
        do {
          events = runtime_.iterate(0);
        } while (events == Runtime::Events::none && Clock::now() < poll_end);
        events == Runtime::Events::none ? poll_advice_.failed() : poll_advice_.succeeded();
      }
      if (events == Runtime::Events::none) {
        now = Clock::now();
        TimePoint until = slice_end;
        if (deadline && *deadline < until) until = *deadline;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
        events = runtime_.iterate(static_cast<int>(std::max<std::int64_t>(left, 0)));
      }
      if (events == Runtime::Events::interrupted) {
        result = ready() ? Wait::done : Wait::interrupted;
        break;
      }
    }
  } catch (...) {
    leave();
    throw;
  }
  leave();
  return result;
}

void Loop::background() {
  pollfd fds[2] = {{runtime_.epoll_fd(), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}};
  while (true) {
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[1].revents) return;
    if (try_acquire()) {
      try {
        runtime_.iterate(0);
      } catch (...) {
        // Nobody can be told here; the next client thread that drives meets the same error.
      }
      leave();
      continue;
    }
    // Somebody leads. Look again in a moment; if it is still the same one, sleep until it leaves.
    std::unique_lock lock(mutex_);
    const std::uint64_t epoch = epoch_;
    parked_.wait_for(lock, kPark, [this] { return stopping_; });
    if (held_ && epoch == epoch_) {
      parked_deep_ = true;
      parked_.wait(lock, [this] { return stopping_ || !held_; });
      parked_deep_ = false;
    }
    if (stopping_) return;
  }
}

void Loop::stop() {
  if (!background_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  parked_.notify_one();
  const std::uint64_t one = 1;
  (void)!::write(stop_event_.get(), &one, sizeof one);
  background_.join();
}

void Loop::abandon_after_fork() noexcept { stop_event_.reset(); }

}  // namespace rain
