// Several client threads that submit, wait, cancel and close at once, and an asyncio-like one that
// only listens to a completion queue. RAIN_STRESS_SECONDS says for how long (default 3). Meant for
// TSan.

#include <gtest/gtest.h>
#include <poll.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "governor.h"

namespace rain {
namespace {

using graph::ObjectRecord;
using graph::ObjectRef;
using graph::OnError;
using graph::SessionRef;
using graph::TaskRecord;
using graph::TaskRef;
using graph::TaskState;
using tasklib::base::Clock;

ExecutorSpec plain(const std::string& name, const std::string& protocol) {
  ExecutorSpec spec;
  spec.name = name;
  spec.argv = {PLAIN_EXECUTOR, name, protocol};
  return spec;
}

/// One client thread's sessions and records.
class Client {
 public:
  Client(Governor& governor, std::uint32_t seed) : governor_(governor), random_(seed) {}

  SessionRef session(OnError on_error) {
    last_id_ = 9;
    return governor_.new_session("stress", on_error);
  }
  ObjectRef object(const SessionRef& session, bool kept) {
    ObjectRef ref(new ObjectRecord);
    ref->id = {session->id, ++last_id_};
    ref->session = session.get();
    ref->kept = kept;
    return ref;
  }
  TaskRef task(const SessionRef& session, const std::string& type, std::vector<ObjectRef> inputs,
               std::size_t outputs, std::vector<ObjectRef>& objects) {
    TaskRef ref(new TaskRecord);
    ref->id = {session->id, ++last_id_};
    ref->session = session.get();
    const auto method = governor_.intern_method(type);
    ref->type = method.type;
    ref->method = method.method;
    ref->inputs = std::move(inputs);
    for (std::size_t i = 0; i < outputs; ++i) {
      objects.push_back(object(session, below(2) == 0));
      objects.back()->producer = ref.get();
      ref->outputs.push_back(objects.back());
    }
    return ref;
  }
  std::uint32_t below(std::uint32_t limit) { return random_() % limit; }

  /// A session with a random graph; ends by waiting, cancelling or closing.
  std::size_t round() {
    auto own = session(below(2) ? OnError::fail : OnError::continue_);
    std::size_t finished = 0;
    for (std::uint32_t submit = 1 + below(3); submit > 0; --submit) {
      std::vector<TaskRef> tasks;
      std::vector<ObjectRef> objects, sources;
      auto constant = object(own, false);
      const std::string text(below(4) == 0 ? 100'000 : 10, 'x');
      constant->data = governor_.put(tasklib::base::ByteView(std::string_view(text)));
      objects.push_back(constant);
      sources.push_back(constant);
      for (std::uint32_t i = 0; i < 1 + below(40); ++i) {
        static const char* const kMethods[] = {"p/none", "p/upper", "p/echo", "q/upper", "p/echo"};
        const std::uint32_t pick = below(200);
        const std::string type = pick == 0   ? "p/stop"
                                 : pick == 1 ? "p/fail"
                                 : pick == 2 ? "q/crash"
                                             : kMethods[pick % 5];
        tasks.push_back(task(own, type,
                             {sources[below(static_cast<std::uint32_t>(sources.size()))]},
                             type == "p/none" || pick <= 2 ? 0 : 1, objects));
        if (!tasks.back()->outputs.empty()) sources.push_back(tasks.back()->outputs[0]);
      }
      try {
        governor_.submit(own, tasks, objects);
      } catch (const graph::InvalidGraph&) {
        break;  // the session failed meanwhile, as it may
      }
      if (below(3) == 0) governor_.cancel({tasks[below(static_cast<std::uint32_t>(tasks.size()))]});
      if (below(3) == 0) continue;
      while (governor_.wait(tasks, {}, {}) != Governor::Wait::done) {
      }
      for (const auto& one : tasks) {
        if (one->state.load(std::memory_order_acquire) != TaskState::finished) continue;
        ++finished;
        for (const auto& output : one->outputs) {
          auto view = governor_.view(output);
          if (view && !view->bytes.empty()) {
            EXPECT_NE(view->bytes.data[0], 0);
          }
        }
      }
    }
    governor_.close_session(own);
    return finished;
  }

  /// What asyncio does: never drives, polls a descriptor.
  std::size_t listen_round(const std::shared_ptr<CompletionQueue>& queue) {
    auto own = session(OnError::continue_);
    std::vector<TaskRef> tasks;
    std::vector<ObjectRef> objects;
    for (int i = 0; i < 5; ++i) tasks.push_back(task(own, "p/none", {}, 0, objects));
    governor_.submit(own, tasks, objects);
    governor_.watch(tasks, queue);
    std::size_t heard = 0;
    pollfd readable{queue->fd(), POLLIN, 0};
    while (heard < tasks.size()) {
      ::poll(&readable, 1, -1);
      for (const auto& one : queue->take()) {
        EXPECT_TRUE(graph::is_terminal(one->state.load(std::memory_order_acquire)));
        ++heard;
      }
    }
    governor_.close_session(own);
    return tasks.size();
  }

 private:
  Governor& governor_;
  std::mt19937 random_;
  std::int32_t last_id_ = 9;
};

TEST(StressTest, eight_threads_and_a_listener_share_one_governor) {
  const char* seconds = std::getenv("RAIN_STRESS_SECONDS");
  const auto end = Clock::now() + std::chrono::seconds(seconds ? std::atoi(seconds) : 3);
  GovernorOptions options;
  options.executors = {plain("p", "cbor-2"), plain("q", "cbor-1")};
  options.cpus = 2;
  options.memory_bytes = 512u << 20;
  options.launcher_program = RAIN_LAUNCHER;
  Governor governor(options);

  std::atomic<std::size_t> finished{0}, heard{0};
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      Client client(governor, t + 1);
      while (Clock::now() < end) finished += client.round();
    });
  }
  threads.emplace_back([&] {
    Client client(governor, 99);
    const auto queue = std::make_shared<CompletionQueue>();
    while (Clock::now() < end) heard += client.listen_round(queue);
  });
  for (auto& thread : threads) thread.join();
  EXPECT_GT(finished, 0u);
  EXPECT_GT(heard, 0u);
  EXPECT_EQ(governor.store_usage().blobs, 0u);
  std::printf("%zu tasks finished, %zu heard of\n", finished.load(), heard.load());
}

}  // namespace
}  // namespace rain
