#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "graph/records.h"
#include "graph/task_list.h"

namespace rain::graph {

/// The ready tasks of one executor type that need the same cpus. Next is one of the sessions'
/// deepest tasks, sessions taking turns; equally deep ones go in the order they became ready.
/// Owns no task. Thread: token holder.
class ReadyTasks {
 public:
  std::uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  void push_back(TaskRecord& task);
  /// For a task that had been sent already: before its equals.
  void push_front(TaskRecord& task);
  /// Requires: the task is in here.
  void remove(TaskRecord& task);
  /// The task that pop() returns next. Requires: not empty.
  TaskRecord& next() const { return *lanes_[turn_].by_depth.begin()->second.front(); }
  TaskRecord& pop();

  template <class Visit>
  void for_each(Visit visit) const {
    for (const Lane& lane : lanes_)
      for (const auto& [depth, list] : lane.by_depth)
        for (TaskRecord* task = list.front(); task; task = task->next) visit(*task);
  }

 private:
  struct Lane {
    SessionRecord* session;
    std::map<std::uint32_t, TaskList, std::greater<>> by_depth;  // no list is empty
  };

  Lane& lane_of(const TaskRecord& task);
  void remove_from(std::size_t lane, TaskRecord& task);

  std::vector<Lane> lanes_;  // none is empty
  std::size_t turn_ = 0;     // index of the lane that is next
  std::uint32_t size_ = 0;
};

}  // namespace rain::graph
