#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>

#include "completion_queue.h"
#include "graph/records.h"

namespace rain {

/// Which tasks run, for those who tell clients elsewhere of it (remote/hosted_session.h): only
/// those that still do after kDelay. What ends sooner costs a look, and nobody is woken for it.
/// Owned by the Runtime. Thread: token holder.
class Starts {
 public:
  static constexpr auto kDelay = std::chrono::milliseconds(10);

  /// Those of the session go to the queue from now on, until forget().
  void watch(const graph::SessionRecord& session, const std::shared_ptr<CompletionQueue>& queue);
  void forget(const graph::SessionRecord& session);

  void assigned(const graph::TaskRef& task, graph::TimePoint when) {
    if (!queues_.empty()) assigned_.push_back({task, when});
  }
  std::optional<graph::TimePoint> next_tick() const;
  void tick(graph::TimePoint now);

 private:
  struct Assigned {
    graph::TaskRef task;
    graph::TimePoint when;
  };
  std::deque<Assigned> assigned_;  // oldest first
  std::unordered_map<const graph::SessionRecord*, std::weak_ptr<CompletionQueue>> queues_;
};

}  // namespace rain
