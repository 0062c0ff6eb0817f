#include "builtin/pool.h"

#include <signal.h>

#include <utility>

namespace rain::builtin {

void Pool::submit(std::shared_ptr<Work> work) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  if (idle_ <= queue_.size() && threads_.size() < kThreads) {
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      threads_.emplace_back([this] { this->work(); });
    } catch (...) {
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      if (threads_.empty()) throw;  // else the other one does it
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  queue_.push_back(std::move(work));
  changed_.notify_one();
}

std::vector<std::shared_ptr<Pool::Work>> Pool::take_done() {
  std::lock_guard lock(mutex_);
  return std::exchange(done_, {});
}

void Pool::close() {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    queue_.clear();
    threads = std::exchange(threads_, {});
    changed_.notify_all();
  }
  for (auto& thread : threads) thread.join();
  done_.clear();
}

void Pool::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    changed_.wait(lock, [this] { return closed_ || !queue_.empty(); });
    --idle_;
    if (closed_) return;
    auto work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work->run();
    lock.lock();
    done_.push_back(std::move(work));
    if (done_.size() == 1) wake_();
  }
}

}  // namespace rain::builtin
