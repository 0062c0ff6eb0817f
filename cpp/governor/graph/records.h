#pragma once

// The records of tasks and data objects: made by the client as drafts, frozen by submit, moved
// through their states by the Core. One allocation each; a million of them is an ordinary graph.
//
// Order of writes: the Core stores a state with release after everything that belongs to it. A
// client thread that loads a terminal task state with acquire may read that task's failure,
// run_time, ended and *_bytes; one that sees `finished` may read its outputs' states, too. All else
// is the token holder's (an object's `data` as well: it may be dropped at any moment).

#include <array>
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
constexpr std::size_t kTaskStates = 8;

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

/// Index of a record that is in no table.
constexpr std::uint32_t kNoIndex = 0xffffffff;

struct ObjectRecord : RefCounted<ObjectRecord> {
  // Immutable after submit.
  DataObjectId id;

  std::atomic<ObjectState> state{ObjectState::draft};
  std::atomic<bool> kept{false};  // written by the client before submit, then under the token
  /// Of a mirror: somebody else's governor has the data, or will, and holds them until it is told
  /// to let go. Written before the governor hears of the object.
  std::atomic<bool> lent{false};

  // Immutable after submit.
  SessionRecord* session = nullptr;  // outlives: kept alive by its records' owner, the Governor
  TaskRecord* producer = nullptr;    // not owned; null for constants and once the task is freed
  std::unique_ptr<Annex> annex;

  // Written once by the Governor before `state` becomes finished; readable after loading that.
  std::unique_ptr<Annex> result;

  // Token holder.
  std::shared_ptr<ObjectData> data;            // set while finished
  std::uint64_t size_bytes = 0;                // of the data, also of those that were dropped
  std::vector<TaskRecord*> waiting_consumers;  // until finished; with multiplicity
  std::uint32_t unfinished_consumers = 0;      // inputs of live tasks; with multiplicity
  std::uint32_t holding_index = kNoIndex;      // in session->holding; in a draft: submit's mark
};

/// What is known of the call of an assigned task (or of one that was cancelled while assigned).
enum class CallState : std::uint8_t {
  none,        // no call is out
  sent,        // may have begun
  retracting,  // Retract was asked
  begun,       // Retract was refused
  stopping,    // RequestCancel was asked
};

/// So much of a resource, in units of 1/kResourceUnit (memory: in bytes).
struct ResourceAmount {
  std::string name;
  std::uint64_t amount = 0;
};
constexpr std::uint64_t kResourceUnit = 10'000;
/// The resource that TaskExtras::memory_bytes is taken from.
constexpr const char* kMemoryResource = "memory";

/// The same with the resource's index in Core::Options::resources.
struct Need {
  std::uint16_t resource = 0;
  std::uint64_t amount = 0;
  friend bool operator==(const Need&, const Need&) = default;
};

/// Which ones of an indexed resource a call has.
struct Grant {
  std::uint16_t resource = 0;
  std::vector<std::uint32_t> indices;  // into its ids
};

/// What few tasks have: options beyond cpus.
struct TaskExtras {
  // Immutable after submit.
  std::uint32_t retries = 0;                // so often again after a failure of its own
  Duration timeout{0};                      // of each call; 0: none
  std::uint64_t memory_bytes = 0;           // its executor's limit; 0: none
  std::vector<ResourceAmount> resources{};  // each once

  // Token holder.
  std::vector<Need> needs{};        // resources and memory; by resource, none zero
  std::vector<Attempt> attempts{};  // that failed
  std::vector<Grant> grants{};      // while a call is out
  TimePoint began{};                // when the last call was sent
  TimePoint deadline{};  // while a call with a timeout is out that is still wanted; else 0
  FailurePtr doom{};     // how the call that is out ends, whatever its executor says
};

struct TaskRecord : RefCounted<TaskRecord> {
  // Immutable after submit.
  TaskId id;
  std::uint32_t method = 0;  // interned "executor/method", as the Governor numbers them
  SessionRecord* session = nullptr;
  std::vector<ObjectRef> inputs;  // with multiplicity
  std::vector<ObjectRef> outputs;
  std::unique_ptr<Annex> annex;        // may be null
  std::unique_ptr<Annex> result;       // of the Governor, written once before a terminal state
  std::unique_ptr<TaskExtras> extras;  // null: none of it
  std::uint32_t cpus = 1;              // may be 0
  TypeIndex type = 0;

  std::atomic<TaskState> state{TaskState::draft};

  // Token holder.
  std::uint8_t crashes = 0;             // calls that ended with the executor's death, innocently
  std::uint32_t unfinished_inputs = 0;  // waiting
  std::uint32_t depth = 0;              // longest path over unfinished tasks; deeper goes first
  ExecutorId executor;                  // assigned; kept afterwards for reports
  std::uint32_t sequence = 0;           // assigned: of the call
  bool cancel_requested = false;        // cancelled while assigned
  bool watched = false;                 // somebody wants to hear of the terminal state
  CallState call = CallState::none;     // the Core's
  std::uint32_t live_index = kNoIndex;  // in session->live; in a draft: submit's mark
  std::uint32_t queued_ns = 0;          // while a call is out: the estimate it was sent with
  TaskRecord* previous = nullptr;       // in the list of ready tasks, or of calls of an executor
  TaskRecord* next = nullptr;
  FailurePtr failure;    // failed, cancelled, aborted
  Duration run_time{0};  // of the handler, when finished or failed
  TimePoint ended{};     // when it became terminal
  std::uint64_t input_bytes = 0, output_bytes = 0, copied_bytes = 0;  // the last: the Governor's
  TimePoint began{};  // the Governor's: when the call that ended it began to run; 0: not known

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
  FailurePtr failure;              // the first one by event order (OnError::fail)
  std::vector<TaskRef> live;       // submitted and not terminal, unordered
  std::vector<ObjectRef> holding;  // finished objects that still have data, unordered
  std::array<std::uint64_t, kTaskStates> ended{};  // tasks, by terminal state
  bool entered = false;  // the Core knows it: had a submit, not closed since
};

}  // namespace rain::graph
