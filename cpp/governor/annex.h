#pragma once

// What tasks and objects carry beyond the graph: opaque to the Core.

#include <string>
#include <vector>

#include "graph/records.h"
#include "wire/messages.h"

namespace rain {

/// TaskRecord::annex: what the user gave it. Immutable after submit. Tasks without any of it have
/// none.
struct TaskAnnex final : graph::Annex {
  std::string name;
  tasklib::wire::RawValue config;
  tasklib::wire::UserAttributes user;
  std::vector<std::string> input_labels;  // empty, or parallel to the task's inputs
};

/// ObjectRecord::annex, likewise.
struct ObjectAnnex final : graph::Annex {
  std::string label, content_type;
  tasklib::wire::DataType data_type = tasklib::wire::DataType::blob;
  tasklib::wire::UserAttributes user;
};

/// TaskRecord::result: what the executor said of it, unless that was nothing.
struct TaskResult final : graph::Annex {
  tasklib::wire::TaskInfo info;
  tasklib::wire::Printed printed;
  std::string stdout_path, stderr_path;  // what `printed` is in; empty: it printed nothing
};

/// ObjectRecord::result, likewise.
struct ObjectResult final : graph::Annex {
  tasklib::wire::ObjectInfo info;
};

inline const TaskAnnex* annex_of(const graph::TaskRecord& task) {
  return static_cast<const TaskAnnex*>(task.annex.get());
}
inline const ObjectAnnex* annex_of(const graph::ObjectRecord& object) {
  return static_cast<const ObjectAnnex*>(object.annex.get());
}
/// Null when there is nothing. Requires: the state was seen terminal (finished) by this thread.
inline const tasklib::wire::TaskInfo* result_of(const graph::TaskRecord& task) {
  return task.result ? &static_cast<const TaskResult&>(*task.result).info : nullptr;
}
inline const tasklib::wire::ObjectInfo* result_of(const graph::ObjectRecord& object) {
  return object.result ? &static_cast<const ObjectResult&>(*object.result).info : nullptr;
}

}  // namespace rain
