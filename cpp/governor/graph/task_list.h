#pragma once

#include "graph/records.h"

namespace rain::graph {

/// A list of tasks through their own `previous` and `next`: no allocation, removal anywhere in
/// constant time. A task is in one list at most: ready ones in that of their depth, those with a
/// call out in that of their executor. Owns nothing. Thread: token holder.
class TaskList {
 public:
  std::uint32_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  TaskRecord* front() const { return front_; }
  TaskRecord* back() const { return back_; }

  void push_back(TaskRecord& task) { insert(task, back_, nullptr); }
  void push_front(TaskRecord& task) { insert(task, nullptr, front_); }

  /// Requires: the task is in this list.
  void remove(TaskRecord& task) {
    (task.previous ? task.previous->next : front_) = task.next;
    (task.next ? task.next->previous : back_) = task.previous;
    task.previous = task.next = nullptr;
    --size_;
  }

 private:
  void insert(TaskRecord& task, TaskRecord* previous, TaskRecord* next) {
    task.previous = previous;
    task.next = next;
    (previous ? previous->next : front_) = &task;
    (next ? next->previous : back_) = &task;
    ++size_;
  }

  TaskRecord* front_ = nullptr;
  TaskRecord* back_ = nullptr;
  std::uint32_t size_ = 0;
};

}  // namespace rain::graph
