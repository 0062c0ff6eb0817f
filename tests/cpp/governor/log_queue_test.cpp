#include "log_queue.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace rain {
namespace {

LogLine line(std::string text) {
  LogLine line;
  line.text = std::move(text);
  return line;
}

TEST(LogQueue, gives_what_came_in_order) {
  LogQueue queue;
  queue.push(line("one"));
  queue.push(line("two"));
  const auto taken = queue.wait();
  ASSERT_EQ(taken.lines.size(), 2u);
  EXPECT_EQ(taken.lines[0].text, "one");
  EXPECT_EQ(taken.lines[1].text, "two");
  EXPECT_EQ(taken.dropped, 0u);
  EXPECT_FALSE(taken.closed);
}

TEST(LogQueue, wakes_who_waits) {
  LogQueue queue;
  std::thread pushing([&] { queue.push(line("late")); });
  EXPECT_EQ(queue.wait().lines.at(0).text, "late");
  pushing.join();
  std::thread closing([&] { queue.close(); });
  const auto taken = queue.wait();
  EXPECT_TRUE(taken.lines.empty());
  EXPECT_TRUE(taken.closed);
  closing.join();
}

TEST(LogQueue, gives_the_rest_with_the_end) {
  LogQueue queue;
  queue.push(line("last"));
  queue.close();
  const auto taken = queue.wait();
  EXPECT_EQ(taken.lines.size(), 1u);
  EXPECT_TRUE(taken.closed);
  EXPECT_TRUE(queue.wait().closed);
}

TEST(LogQueue, drops_and_counts_lines_beyond_its_bounds) {
  LogQueue queue;
  for (std::size_t i = 0; i < LogQueue::kMaxLines + 5; ++i) queue.push(line("x"));
  auto taken = queue.wait();
  EXPECT_EQ(taken.lines.size(), LogQueue::kMaxLines);
  EXPECT_EQ(taken.dropped, 5u);

  const std::string large(LogQueue::kMaxBytes / 4, 'y');
  for (int i = 0; i < 6; ++i) queue.push(line(large));
  LogLine losing = line(large);
  losing.lost = 7;
  queue.push(losing);
  queue.push(line(""));  // still has room
  taken = queue.wait();
  EXPECT_EQ(taken.lines.size(), 5u);
  EXPECT_EQ(taken.dropped, 2u + 1u + 7u);
  queue.push(line("again"));
  EXPECT_EQ(queue.wait().lines.size(), 1u);
}

TEST(LogQueue, is_idle_when_its_taker_is_back_for_more) {
  LogQueue queue;
  EXPECT_FALSE(queue.idle()) << "nobody takes yet";
  queue.push(line("first"));
  std::atomic<bool> may_go_on{false};
  std::thread taker([&] {
    while (!queue.wait().closed)
      while (!may_go_on) std::this_thread::yield();
  });
  EXPECT_FALSE(queue.idle()) << "waiting, or in the taker's hands";
  may_go_on = true;
  while (!queue.idle()) std::this_thread::yield();
  queue.push(line("second"));
  queue.close();
  taker.join();
  EXPECT_TRUE(queue.idle());
}

TEST(LogQueue, is_closed_in_a_forked_child) {
  LogQueue queue;
  queue.push(line("of the parent"));
  const ::pid_t child = ::fork();
  if (child == 0) {
    queue.close();
    const auto taken = queue.wait();
    ::_exit(taken.closed && taken.lines.empty() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(queue.wait().lines.size(), 1u);
}

}  // namespace
}  // namespace rain
