#include "starts.h"

#include <utility>

namespace rain {

using graph::TaskRef;
using graph::TaskState;
using graph::TimePoint;

void Starts::watch(const graph::SessionRecord& session,
                   const std::shared_ptr<CompletionQueue>& queue) {
  queues_[&session] = queue;
}

void Starts::forget(const graph::SessionRecord& session) { queues_.erase(&session); }

std::optional<TimePoint> Starts::next_tick() const {
  if (assigned_.empty()) return std::nullopt;
  return assigned_.front().when + kDelay;
}

void Starts::tick(TimePoint now) {
  while (!assigned_.empty() && assigned_.front().when + kDelay <= now) {
    const TaskRef task = std::move(assigned_.front().task);
    assigned_.pop_front();
    // Its session may be gone, unless it is there still.
    if (task->state.load(std::memory_order_relaxed) != TaskState::assigned) continue;
    const auto found = queues_.find(task->session);
    const auto queue = found == queues_.end() ? nullptr : found->second.lock();
    if (!queue) continue;
    queue->push_started(task);
    queue->signal();
  }
}

}  // namespace rain
