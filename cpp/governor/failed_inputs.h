#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "graph/records.h"
#include "object_data.h"

namespace rain {

/// The inputs of failed tasks, which Task.reproduce() writes to files: else they would go with the
/// task's end. Kept for up to kPerSession tasks of a session, while it is open and somebody but
/// this has the task, and until memory is short. Owned by the Runtime. Thread: token holder.
class FailedInputs {
 public:
  static constexpr std::size_t kPerSession = 8;

  /// The task has just failed. Data that the Core drops at this moment come by dropped().
  void failed(const graph::TaskRef& task);
  void dropped(const graph::ObjectRecord& object, const std::shared_ptr<graph::ObjectData>& data);

  /// Parallel to the task's inputs; null when they are not kept.
  const std::vector<std::shared_ptr<graph::ObjectData>>* find(const graph::TaskRecord& task) const;

  struct Kept {
    graph::TaskRef task;
    std::vector<std::shared_ptr<graph::ObjectData>> inputs;
  };
  const std::vector<Kept>& all() const { return kept_; }

  /// Those of a session that closes.
  void forget(const graph::SessionRecord& session);
  /// Those of tasks that nobody has any more.
  void forget_abandoned();
  /// False: there was nothing.
  bool forget_all();

 private:
  template <class Condition>
  void forget_if(Condition condition);

  std::vector<Kept> kept_;
  std::size_t awaited_ = 0;  // inputs that dropped() has to bring
};

}  // namespace rain
