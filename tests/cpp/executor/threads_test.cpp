#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "executor/access.h"
#include "fake_governor.h"

namespace tasklib::executor::test {
namespace {

using wire::Protocol;

/// Tasks that wait for each other.
class Gate {
 public:
  void open(int number) {
    std::lock_guard<std::mutex> lock(mutex_);
    open_.insert(number);
    changed_.notify_all();
  }
  void wait_for(int number) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(30), [&] { return open_.count(number) > 0; }))
      ADD_FAILURE() << "gate " << number << " stayed closed";
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<int> open_;
};

class Threads : public ::testing::Test {
 protected:
  Threads() {
    // Config: [gate to open, gate to wait for]
    governor.executor.add_task("meet", [this](Context& ctx, auto&, auto& outputs) {
      gate.open(static_cast<int>(ctx.config().at(std::size_t{0}).as_int()));
      gate.wait_for(static_cast<int>(ctx.config().at(1).as_int()));
      outputs.push_back(std::make_unique<MemDataInstance>(std::string("met")));
    });
    governor.executor.add_task("fill", [](Context& ctx, auto& inputs, auto& outputs) {
      const auto text = inputs[0]->read_as_string();
      auto blob = ctx.alloc(10'000 + text.size());
      std::memset(blob.data(), text[0], blob.size());
      outputs.push_back(std::move(blob).seal());
    });
  }

  wire::Call meet(int opens, int waits) {
    auto call = governor.call("meet");
    call.spec.config = encode_value(Value::Array{opens, waits});
    return call;
  }

  Gate gate;
  FakeGovernor governor{Protocol::cbor2};
};

TEST_F(Threads, four_calls_run_at_once_and_end_in_any_order) {
  governor.start(4);
  EXPECT_EQ(governor.registration.threads, 4u);
  // Each waits for the next: they end last to first, which needs four threads.
  governor.send_all({meet(1, 2), meet(2, 3), meet(3, 4), meet(4, 5)});
  gate.wait_for(4);
  gate.open(5);
  std::set<std::uint32_t> done;
  for (int i = 0; i < 4; ++i) {
    const auto result = governor.receive_result();
    EXPECT_TRUE(result.success) << result.info.error;
    done.insert(result.sequence);
  }
  EXPECT_EQ(done.size(), 4u);
}

TEST_F(Threads, a_call_that_comes_while_others_run_gets_a_free_thread) {
  governor.start(3);
  governor.send(meet(1, 10));
  gate.wait_for(1);
  governor.send(meet(2, 10));
  gate.wait_for(2);
  governor.send(meet(3, 3));
  EXPECT_EQ(governor.receive_result().sequence, 3u);
  gate.open(10);
  governor.receive_result();
  governor.receive_result();
}

TEST_F(Threads, results_of_short_tasks_do_not_wait_for_long_ones) {
  governor.start(1);
  for (int i = 0; i < 5; ++i) {
    governor.send_all({meet(1, 1), meet(2, 100 + i)});
    EXPECT_TRUE(governor.receive_result().success);
    gate.open(100 + i);
    EXPECT_TRUE(governor.receive_result().success);
  }
}

TEST_F(Threads, a_cancel_message_reaches_a_call_that_runs_in_another_thread) {
  governor.with_board = false;
  governor.executor.add_task("wait", [this](Context& ctx, auto&, auto&) {
    gate.open(1);
    while (!ctx.cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  governor.start(2);
  const auto call = governor.call("wait");
  governor.send(call);
  gate.wait_for(1);
  governor.send(wire::Cancel{call.spec.id, call.sequence});
  EXPECT_TRUE(governor.receive_result().cancelled);
}

TEST_F(Threads, shutdown_cancels_what_runs) {
  governor.executor.add_task("wait", [this](Context& ctx, auto&, auto&) {
    gate.open(1);
    while (!ctx.cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  governor.start(2);
  governor.send(governor.call("wait"));
  gate.wait_for(1);
  governor.send(wire::Shutdown{});
  EXPECT_TRUE(governor.receive_result().cancelled);
  EXPECT_EQ(governor.wait_for_end(), "");
}

TEST_F(Threads, an_error_in_one_thread_ends_them_all) {
  governor.start(4);
  governor.send_bytes(std::string("\x03\0\0\0abc", 7));
  EXPECT_NE(governor.wait_for_end(), "");
}

TEST_F(Threads, all_get_room_for_their_outputs_though_leases_come_one_by_one) {
  constexpr int kCalls = 200;
  governor.start(4);
  std::map<std::uint32_t, char> expected;
  std::vector<std::string> texts;
  for (int i = 0; i < kCalls; ++i) texts.emplace_back(1 + i, static_cast<char>('a' + i % 26));
  std::vector<wire::ToExecutor> calls;
  for (const std::string& text : texts) {
    auto call = governor.call("fill", {memory(text)});
    expected[call.sequence] = text[0];
    calls.emplace_back(std::move(call));
  }
  governor.send_all(calls);
  int results = 0;
  while (results < kCalls) {
    const auto message = governor.receive();
    if (const auto* request = std::get_if<wire::LeaseRequest>(&message)) {
      governor.lease(32 << 10, request->request);
    } else if (const auto* result = std::get_if<wire::Result>(&message)) {
      ++results;
      ASSERT_TRUE(result->success) << result->info.error;
      const std::string bytes = governor.bytes_of(result->outputs.at(0).location);
      EXPECT_EQ(bytes, std::string(bytes.size(), expected.at(result->sequence)));
    }
  }
  EXPECT_EQ(governor.end_by_shutdown(), "");
}

TEST(ThreadsCbor1, several_threads_serve_a_governor_that_sends_one_call_at_a_time) {
  FakeGovernor governor{Protocol::cbor1};
  governor.executor.add_task("f", [](Context&, auto&, auto& outputs) {
    outputs.push_back(std::make_unique<MemDataInstance>(std::string("x")));
  });
  governor.start(3);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(governor.run("f").success);
  EXPECT_EQ(governor.end_by_closing(), "");
}

}  // namespace
}  // namespace tasklib::executor::test
