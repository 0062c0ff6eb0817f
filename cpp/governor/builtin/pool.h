#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace rain::builtin {

/// Threads for what would block the loop: file work and large copies. They start when there is
/// something to do, with all signals blocked. submit() and take_done() are thread-safe.
class Pool {
 public:
  static constexpr std::size_t kThreads = 2;

  struct Work {
    virtual ~Work() = default;
    /// On a thread of the pool.
    virtual void run() noexcept = 0;
    /// After run(), under the token.
    virtual void finish() = 0;
  };

  /// `wake` is called on a thread of the pool when take_done() has something to give.
  explicit Pool(std::function<void()> wake) : wake_(std::move(wake)) {}
  ~Pool() { close(); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void submit(std::shared_ptr<Work> work);
  /// What has run since the last call, in the order in which it ended; finish() is the caller's.
  std::vector<std::shared_ptr<Work>> take_done();
  /// Forgets what has not begun, waits for what has, ends the threads. finish() is called for none
  /// of it. Idempotent.
  /// (A forked child has none of the threads: it must neither call this nor destroy the pool.)
  void close();

 private:
  void work();

  const std::function<void()> wake_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Work>> queue_;
  std::vector<std::shared_ptr<Work>> done_;
  std::vector<std::thread> threads_;
  std::size_t idle_ = 0;
  bool closed_ = false;
};

}  // namespace rain::builtin
