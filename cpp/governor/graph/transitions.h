#pragma once

#include "graph/records.h"

namespace rain::graph {

/// Which moves of a task's state are legal: the one table. Terminal states have none.
constexpr bool may_move(TaskState from, TaskState to) {
  const auto one_of = [to](auto... states) { return ((to == states) || ...); };
  using S = TaskState;
  switch (from) {
    case S::draft:  // submit
      return one_of(S::waiting, S::ready);
    case S::waiting:
      return one_of(S::ready, S::cancelled, S::aborted);
    case S::ready:  // failed: no executor can be started; in a mirror, any end
      return one_of(S::assigned, S::finished, S::failed, S::cancelled, S::aborted);
    case S::assigned:  // ready: taken back, its executor died innocently, or failed and tried
                       // again; aborted: in a mirror, where it ran again and lost an input
      return one_of(S::ready, S::finished, S::failed, S::cancelled, S::aborted);
    case S::finished:
    case S::failed:
    case S::cancelled:
    case S::aborted:
      return false;
  }
  return false;
}

constexpr const char* to_string(TaskState state) {
  switch (state) {
    case TaskState::draft:
      return "draft";
    case TaskState::waiting:
      return "waiting";
    case TaskState::ready:
      return "ready";
    case TaskState::assigned:
      return "assigned";
    case TaskState::finished:
      return "finished";
    case TaskState::failed:
      return "failed";
    case TaskState::cancelled:
      return "cancelled";
    case TaskState::aborted:
      return "aborted";
  }
  return "unknown";
}

}  // namespace rain::graph
