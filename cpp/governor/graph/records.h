#pragma once

// The records of tasks and data objects: made by the client as drafts, frozen by submit, moved
// through their states by the Core. One allocation each; a million of them is an ordinary graph.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "graph/failure.h"
#include "graph/ref.h"

namespace rain::graph {

using tasklib::base::DataObjectId;
using tasklib::base::Duration;
using tasklib::base::ExecutorId;
using tasklib::base::TaskId;
using tasklib::base::TimePoint;

struct SessionRecord;
struct TaskRecord;
struct ObjectRecord;
using TaskRef = Ref<TaskRecord>;
using ObjectRef = Ref<ObjectRecord>;
using SessionRef = std::shared_ptr<SessionRecord>;

/// Index of an executor type, given out by the caller of the Core (0, 1, …).
using TypeIndex = std::uint16_t;

/// A task's state. Legal moves: transitions.h, one table.
enum class TaskState : std::uint8_t {
  draft,      // not submitted
  waiting,    // some inputs are unfinished
  ready,      // waits for an executor
  assigned,   // sent to an executor, which may or may not have begun
  finished,   // terminal, as all below
  failed,     // its own failure
  cancelled,  // by the user, by Ctrl-C, or because its session failed or closed
  aborted,    // an ancestor failed or was cancelled (on_error="continue")
};
constexpr bool is_terminal(TaskState state) { return state >= TaskState::finished; }

enum class ObjectState : std::uint8_t {
  draft,
  unfinished,
  finished,
  removed,  // was finished, nobody needs the data any more; or its producer did not finish
};

/// What the data of a finished object is. The Core only passes it on; the Governor defines it.
struct ObjectData {
  virtual ~ObjectData() = default;
  std::uint64_t size_bytes = 0;
};

/// What only the Governor and the client need to know of a task or an object (labels, content
/// types, config, attributes, …). Opaque to the Core.
struct Annex {
  virtual ~Annex() = default;
};

struct ObjectRecord : RefCounted<ObjectRecord> {
  // Immutable after submit.
  DataObjectId id;
  SessionRecord* session = nullptr;  // outlives: kept alive by its records' owner, the Governor
  TaskRecord* producer = nullptr;    // not owned; null for constants and once the task is freed
  std::unique_ptr<Annex> annex;

  // Written once by the Governor before `state` becomes finished; readable after loading that.
  std::unique_ptr<Annex> result;

  std::atomic<ObjectState> state{ObjectState::draft};
  std::atomic<bool> kept{false};  // written by the client before submit, then under the token

  // Token holder.
  std::shared_ptr<ObjectData> data;  // set while finished
  std::uint32_t unfinished_consumers = 0;
  std::vector<TaskRecord*> waiting_consumers;  // until finished
};

struct TaskRecord : RefCounted<TaskRecord> {
  // Immutable after submit.
  TaskId id;
  SessionRecord* session = nullptr;
  TypeIndex type = 0;
  std::uint32_t method = 0;  // interned "executor/method", as the Governor numbers them
  std::uint32_t cpus = 1;
  std::vector<ObjectRef> inputs;  // with multiplicity
  std::vector<ObjectRef> outputs;
  std::unique_ptr<Annex> annex;  // may be null

  // Written once by the Governor before `state` becomes terminal; readable after loading that.
  std::unique_ptr<Annex> result;

  std::atomic<TaskState> state{TaskState::draft};

  // Token holder.
  std::uint32_t unfinished_inputs = 0;  // waiting
  std::uint32_t depth = 0;              // longest path from a source; deeper goes first
  ExecutorId executor;                  // assigned; kept afterwards for reports
  std::uint32_t sequence = 0;           // assigned: of the call
  std::uint8_t attempts = 0;            // calls that ended with the executor's death
  bool cancel_requested = false;        // assigned
  bool watched = false;                 // somebody wants to hear of the terminal state
  FailurePtr failure;                   // failed, cancelled, aborted
  Duration run_time{0};                 // of the handler, when finished or failed
  std::uint64_t input_bytes = 0, output_bytes = 0, copied_bytes = 0;

  ~TaskRecord() {
    for (auto& output : outputs) output->producer = nullptr;
  }
};

enum class OnError : std::uint8_t { fail, continue_ };

struct SessionRecord {
  std::int32_t id = 0;
  std::string name;
  OnError on_error = OnError::fail;

  std::atomic<std::uint64_t> unfinished_tasks{0};  // submitted and not terminal
  std::atomic<bool> closed{false};
  std::atomic<bool> failed{false};

  // Token holder.
  FailurePtr failure;         // the first one by event order (OnError::fail)
  std::vector<TaskRef> live;  // submitted and not terminal, unordered
};

}  // namespace rain::graph
