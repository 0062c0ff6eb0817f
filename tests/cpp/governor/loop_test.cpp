#include "loop.h"

#include <gtest/gtest.h>

#include <thread>

#include "governor.h"

namespace rain {
namespace {

GovernorOptions options() {
  GovernorOptions result;
  result.launcher_program = RAIN_LAUNCHER;
  result.memory_bytes = 64u << 20;
  return result;
}

TEST(LoopTest, posted_actions_run_under_the_token_one_at_a_time) {
  Runtime runtime(options());
  Loop loop(runtime);
  std::atomic<int> inside{0}, total{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        loop.run([&] {
          EXPECT_EQ(++inside, 1);
          ++total;
          --inside;
        });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(total, 1800);
}

TEST(LoopTest, what_an_action_throws_reaches_who_posted_it) {
  Runtime runtime(options());
  Loop loop(runtime);
  std::atomic<bool> stop{false};
  std::thread leader([&] {
    while (loop.wait([&] { return stop.load(); }, {}) != Loop::Wait::done) {
    }
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_THROW(loop.run([] { throw std::runtime_error("no"); }), std::runtime_error);
  }
  stop = true;
  loop.run([] {});
  leader.join();
}

TEST(LoopTest, a_waiter_is_handed_the_token_when_the_leader_leaves) {
  Runtime runtime(options());
  Loop loop(runtime);
  std::atomic<int> done{0};
  std::vector<std::thread> waiters;
  for (int t = 0; t < 4; ++t) {
    waiters.emplace_back([&, t] {
      while (loop.wait([&] { return done.load() > t; }, {}) != Loop::Wait::done) {
      }
    });
  }
  for (int t = 0; t < 4; ++t) {
    loop.run([&] { ++done; });
  }
  for (auto& waiter : waiters) waiter.join();
}

TEST(LoopTest, a_wait_ends_at_its_deadline_and_at_the_latest_after_a_slice) {
  Runtime runtime(options());
  Loop loop(runtime);
  EXPECT_EQ(loop.wait([] { return false; }, tasklib::base::Clock::now()), Loop::Wait::timed_out);
  EXPECT_EQ(loop.wait([] { return false; }, {}), Loop::Wait::interrupted);
}

}  // namespace
}  // namespace rain
