#pragma once

// What becomes of tasks that run in another process' governor: values, and their bytes.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "graph/failure.h"
#include "graph/records.h"
#include "wire/messages.h"

namespace rain::remote {

/// An output of a finished task. Its bytes stay where they are, unless `content` has them.
struct ObjectUpdate {
  std::int32_t id = 0;
  std::uint64_t size_bytes = 0;
  bool is_directory = false;
  tasklib::wire::ObjectInfo info;
  std::optional<std::string> content;  // small and kept
};

/// The end of one task. Ids are those of its session; the reader knows which one that is.
struct TaskUpdate {
  std::int32_t id = 0;
  graph::TaskState state = graph::TaskState::finished;  // terminal
  tasklib::base::Duration run_time{0};                  // of the handler
  tasklib::wire::TaskInfo info;
  std::vector<ObjectUpdate> outputs;  // finished: parallel to the task's
  graph::FailurePtr failure;          // else; its origin's session is the writer's
  std::int32_t pid = 0;               // of the executor, as the next: for reports
  std::uint32_t executor = 0;         // 0: it reached none
  std::uint32_t attempts = 0;         // calls, the last one included
  std::uint64_t copied_bytes = 0;
  tasklib::wire::Printed printed;
  std::string stdout_path, stderr_path;  // what `printed` is in, where it ran; empty: nothing
};

struct Updates {
  std::vector<TaskUpdate> ends;
  std::vector<std::int32_t> started;  // ids of tasks that an executor has; ascending, each once
};

/// `started` may be in any order.
std::string encode_updates(const std::vector<TaskUpdate>& ends,
                           std::vector<std::int32_t> started = {});
/// Throws ProtocolError.
Updates decode_updates(tasklib::base::ByteView bytes);

}  // namespace rain::remote
