#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/poll_advice.h"
#include "base/unique_fd.h"
#include "runtime.h"

namespace rain {

/// The loop's token, and who drives. Whoever holds the token owns the Runtime: sockets, timers,
/// scheduling. A waiting client thread takes it if it is free and drives (leader); others wait
/// until the leader finds their condition met, or are handed the token when it leaves (oldest
/// first). While nobody waits, a background thread polls the epoll set without the token and takes
/// it for each batch of events; while somebody leads it is parked, so that a quick round trip wakes
/// no second thread. Thread-safe.
class Loop {
 public:
  enum class Wait { done, timed_out, interrupted };

  /// Starts the background thread, with all signals blocked in it.
  explicit Loop(Runtime& runtime);
  ~Loop();

  /// Runs `action` under the token: here when it is free, else in the thread that holds it, and
  /// then pumps the Runtime. Returns when it is done; throws what it threw.
  void run(const std::function<void()>& action);

  /// Waits until `ready`, driving the loop if nobody does. `ready` is called under the token or
  /// under the loop's lock, one call at a time, on any thread.
  /// `interrupted`: a signal came, or kSlice has passed: look at signals and call again.
  Wait wait(const std::function<bool()>& ready, std::optional<tasklib::base::TimePoint> deadline);

  /// Ends the background thread. Idempotent.
  void stop();
  /// In a forked child, where there is no background thread: never join it.
  void abandon_after_fork() noexcept;

 private:
  static constexpr auto kSlice = std::chrono::milliseconds(100);
  // Before blocking; longer than waking the other side takes, else two sides that each find the
  // other asleep would keep each other so.
  static constexpr auto kPoll = std::chrono::microseconds(100);
  static constexpr auto kPark = std::chrono::milliseconds(2);

  struct Posted {
    const std::function<void()>* action;
    std::exception_ptr error;
    std::atomic<std::uint32_t> done{0};
  };
  struct Waiter {
    const std::function<bool()>* ready;
    std::atomic<std::uint32_t> signal{kNone};
  };
  enum : std::uint32_t { kNone, kReady, kPromoted };

  bool try_acquire();
  /// Requires: the token. Serves what was posted, wakes who is ready, passes the token on.
  void leave();
  Wait drive(const std::function<bool()>& ready,
             const std::optional<tasklib::base::TimePoint>& deadline);
  /// Requires: the token. False when nothing was posted.
  bool serve_posted();
  /// Requires: mutex_ is held and so is the token.
  void wake_ready_waiters();
  void background();

  Runtime& runtime_;
  tasklib::base::UniqueFd stop_event_;
  tasklib::base::PollAdvice poll_advice_;  // token holder

  std::mutex mutex_;
  // Guarded by mutex_.
  bool held_ = false;
  std::uint64_t epoch_ = 0;  // counts acquisitions
  bool parked_deep_ = false;
  bool stopping_ = false;
  std::vector<Waiter*> waiters_;  // oldest first
  std::vector<Posted*> posted_;
  std::condition_variable parked_;

  std::atomic<bool> has_posted_{false};
  std::atomic<std::uint32_t> waiting_{0};
  std::thread background_;
};

}  // namespace rain
