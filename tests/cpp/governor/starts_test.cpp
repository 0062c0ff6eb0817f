#include "starts.h"

#include <gtest/gtest.h>

namespace rain {
namespace {

using graph::SessionRecord;
using graph::TaskRecord;
using graph::TaskRef;
using graph::TaskState;
using graph::TimePoint;

class StartsTest : public ::testing::Test {
 protected:
  StartsTest() { starts.watch(session, queue); }

  TaskRef assigned(const SessionRecord& of, TimePoint when) {
    TaskRef task(new TaskRecord);
    task->session = const_cast<SessionRecord*>(&of);
    task->state = TaskState::assigned;
    starts.assigned(task, when);
    return task;
  }

  const TimePoint began{std::chrono::seconds(100)};
  SessionRecord session, other;
  std::shared_ptr<CompletionQueue> queue = std::make_shared<CompletionQueue>();
  Starts starts;
};

TEST_F(StartsTest, tells_only_of_what_runs_for_a_while) {
  const TaskRef lasting = assigned(session, began), short_one = assigned(session, began);
  const TaskRef later = assigned(session, began + Starts::kDelay / 2);
  EXPECT_EQ(starts.next_tick(), began + Starts::kDelay);
  starts.tick(began + Starts::kDelay / 2);
  EXPECT_TRUE(queue->take_started().empty());
  short_one->state = TaskState::finished;
  starts.tick(began + Starts::kDelay);
  EXPECT_EQ(queue->take_started(), std::vector<TaskRef>{lasting});
  EXPECT_TRUE(queue->empty()) << "none has ended";
  starts.tick(began + Starts::kDelay * 2);
  EXPECT_EQ(queue->take_started(), std::vector<TaskRef>{later});
  EXPECT_FALSE(starts.next_tick());
  EXPECT_EQ(short_one->use_count(), 1u);
}

TEST_F(StartsTest, tells_nothing_of_sessions_that_nobody_watches) {
  const TaskRef foreign = assigned(other, began), own = assigned(session, began);
  starts.forget(session);
  starts.tick(began + Starts::kDelay);
  EXPECT_TRUE(queue->take_started().empty());
  assigned(session, began);
  EXPECT_FALSE(starts.next_tick()) << "nobody watches any";
}

TEST_F(StartsTest, does_without_a_queue_that_is_gone) {
  const TaskRef task = assigned(session, began);
  queue.reset();
  starts.tick(began + Starts::kDelay);
  EXPECT_FALSE(starts.next_tick());
}

}  // namespace
}  // namespace rain
