#include "graph/ready_tasks.h"

#include <algorithm>

namespace rain::graph {

ReadyTasks::Lane& ReadyTasks::lane_of(const TaskRecord& task) {
  for (Lane& lane : lanes_)
    if (lane.session == task.session) return lane;
  return lanes_.emplace_back(Lane{task.session, {}});
}

void ReadyTasks::push_back(TaskRecord& task) {
  lane_of(task).by_depth[task.depth].push_back(task);
  ++size_;
}

void ReadyTasks::push_front(TaskRecord& task) {
  lane_of(task).by_depth[task.depth].push_front(task);
  ++size_;
}

void ReadyTasks::remove(TaskRecord& task) {
  const auto lane = std::find_if(lanes_.begin(), lanes_.end(),
                                 [&](const Lane& l) { return l.session == task.session; });
  remove_from(static_cast<std::size_t>(lane - lanes_.begin()), task);
}

TaskRecord& ReadyTasks::pop() {
  TaskRecord& task = next();
  const std::size_t lane = turn_;
  const std::size_t lanes = lanes_.size();
  remove_from(lane, task);
  // A lane that is gone has already given its place to the one after it.
  if (lanes_.size() == lanes) turn_ = (lane + 1) % lanes;
  return task;
}

void ReadyTasks::remove_from(std::size_t lane, TaskRecord& task) {
  auto& by_depth = lanes_[lane].by_depth;
  const auto list = by_depth.find(task.depth);
  list->second.remove(task);
  --size_;
  if (!list->second.empty()) return;
  by_depth.erase(list);
  if (!by_depth.empty()) return;
  lanes_.erase(lanes_.begin() + static_cast<std::ptrdiff_t>(lane));
  if (turn_ > lane) --turn_;
  if (turn_ >= lanes_.size()) turn_ = 0;
}

}  // namespace rain::graph
