#pragma once

// What governor and executor say to each other, as plain values: the only place where the two
// sides meet. docs/protocol.md has the grammar; codec.h turns these into bytes and back.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"

namespace tasklib::wire {

enum class Protocol : std::uint8_t { cbor1 = 1, cbor2 = 2 };

/// One CBOR item, already encoded and checked to be JSON-like (null, bool, int, float, text,
/// array, map with text keys; reference 1.3). Empty: absent.
using RawValue = std::string;
using UserAttributes = std::vector<std::pair<std::string, RawValue>>;

enum class DataType : std::uint8_t { blob, directory };

/// Reference 2.2. `inputs[i].label` is empty when there is none.
struct TaskInput {
  base::DataObjectId id;
  std::string label;
};
struct TaskSpec {
  base::TaskId id;
  std::vector<TaskInput> inputs;
  std::vector<base::DataObjectId> outputs;
  std::string task_type;  ///< "executor/method"
  RawValue config;
  std::uint32_t cpus = 1;
  /// cbor-2 only: named resources that the call was given; of indexed ones which, by their ids.
  std::vector<std::pair<std::string, std::vector<std::string>>> resources = {};
  std::string name;
  UserAttributes user;
};

/// Reference 2.3. `duration` in seconds.
struct TaskInfo {
  std::string error, debug, governor, start_time;
  std::optional<float> duration;
  UserAttributes user;
};

/// Reference 2.4.
struct ObjectSpec {
  base::DataObjectId id;
  std::string label, content_type;
  DataType data_type = DataType::blob;
  UserAttributes user;
};

/// Reference 2.5.
struct ObjectInfo {
  std::optional<std::uint64_t> size;
  std::string content_type, error, debug;
  UserAttributes user;
};

/// Where a blob lies: `size_bytes` bytes from `offset_bytes` of a region. Offsets cross
/// processes, pointers never. cbor-2 only.
struct BlobRef {
  base::RegionId region;
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;

  friend bool operator==(const BlobRef& a, const BlobRef& b) {
    return a.region == b.region && a.offset_bytes == b.offset_bytes && a.size_bytes == b.size_bytes;
  }
};

/// Data in the message itself. The view is valid as long as the frame it was decoded from; to
/// encode, as long as the encode call. `joined` owns the bytes when they came in pieces (which
/// only a foreign cbor-1 executor sends).
struct Memory {
  base::ByteView bytes;
  std::shared_ptr<const std::string> joined = nullptr;
};
struct Path {
  std::string path;
};
/// The data of another object, in a result: of an input of the same task.
struct OtherObject {
  base::DataObjectId id;
};
/// cbor-1: the executor has it in its cache.
struct Cached {};
/// Bytes of a file, in a call to who announced kFeatureSlices.
struct FileSlice {
  std::string path;
  std::uint64_t offset_bytes = 0, size_bytes = 0;
};
/// Bytes of another object, in a result: of an input of the same task. To who announced
/// kFeatureSlices.
struct ObjectSlice {
  base::DataObjectId id;
  std::uint64_t offset_bytes = 0, size_bytes = 0;
};

/// monostate: no location.
using Location = std::variant<std::monostate, Memory, Path, OtherObject, Cached, BlobRef, FileSlice,
                              ObjectSlice>;

struct ObjectIn {
  ObjectSpec spec;
  std::optional<ObjectInfo> info;
  Location location;
  bool cache_hint = false;  ///< cbor-1 only
};

struct ObjectOut {
  ObjectInfo info;
  Location location;
  bool cache_hint = false;  ///< cbor-1 only
};

// ---- executor -> governor -------------------------------------------------------------------

/// What a task offers, as its executor announces it: for whoever is about to make such a task.
struct AnnouncedValue {
  std::string type;  ///< for people: "ndarray float64 of 2 dimensions"
  std::string name;  ///< of the parameter; empty: none known
};
struct AnnouncedSignature {
  std::vector<AnnouncedValue> inputs, outputs;
};
struct AnnouncedTask {
  std::string name;                             ///< without the executor's
  std::optional<AnnouncedSignature> signature;  ///< nothing: it takes and gives what it likes
};

/// First frame of every connection.
struct Register {
  std::string protocol;  ///< "cbor-1" or "cbor-2"
  std::int32_t executor_id = 0;
  std::string executor_type;
  // cbor-2 only
  std::uint32_t threads = 1;          ///< calls that the process runs at the same time
  std::vector<std::string> features;  ///< kFeatureBoard, …; unknown ones are ignored
  std::string tasklib_version;        ///< for messages about mismatches
  std::vector<AnnouncedTask> tasks;   ///< may be empty: calls of other tasks are its own error
};

/// What a process wrote to its standard output and error, as ranges of bytes in their files.
struct Printed {
  std::uint64_t out_begin = 0, out_end = 0, err_begin = 0, err_end = 0;

  bool empty() const { return out_begin == out_end && err_begin == err_end; }
};

struct Result {
  base::TaskId task;
  bool success = false;
  TaskInfo info;
  std::vector<ObjectOut> outputs;
  std::vector<base::DataObjectId> cached_objects;  ///< cbor-1 only
  // cbor-2 only
  std::uint32_t sequence = 0;       ///< the call's
  bool cancelled = false;           ///< not run, or stopped, because the governor asked
  std::uint64_t duration_ns = 0;    ///< of the handler alone
  std::uint64_t copied_bytes = 0;   ///< blob bytes that the executor copied for this task
  std::vector<std::uint32_t> held;  ///< indices of region inputs still viewed after the call
  Printed printed;                  ///< while the handler ran
  std::string exception;            ///< of a failed task in Python, pickled; empty: none
  std::uint64_t began_ns = 0;  ///< when the handler began, by CLOCK_MONOTONIC; 0: not told. To a
                               ///< governor that announced kFeatureBegan
};
/// Longer pickled exceptions are not sent: the text of the error is.
constexpr std::size_t kMaxExceptionBytes = 1u << 20;

/// cbor-2. Blobs (inputs of earlier calls, named in `held`) that the process no longer views.
struct Released {
  std::vector<BlobRef> blobs;
};

/// cbor-2. Asks for a region with a free extent of at least `size_bytes`; answered by Region
/// (access write) or LeaseRefused with the same `request`.
struct LeaseRequest {
  std::uint32_t request = 0;
  std::uint64_t size_bytes = 0;
};

/// cbor-2. A line that a task wrote for the client's log. Only if the governor announced
/// kFeatureLog, as Debug.
struct Log {
  std::uint32_t sequence = 0;  ///< of the call
  std::uint32_t level = 0;     ///< as Python's logging counts: 10 debug, 20 info, 30 warning, …
  std::string text;
  std::uint64_t lost = 0;  ///< lines of the same executor before this one that found no room
};
/// Longer lines are cut, by either side.
constexpr std::size_t kMaxLogBytes = 8u << 10;

/// cbor-2. What was added to a task's debug text since the last such message, in case that the
/// process dies; a result has all of it once more.
struct Debug {
  std::uint32_t sequence = 0;  ///< of the call
  std::string text;
};
/// So much of a running task's debug text is kept by the governor, of its end.
constexpr std::size_t kMaxDebugBytes = 64u << 10;

/// cbor-2. Answers a Ping, as soon as somebody reads it.
struct Pong {
  std::uint32_t number = 0;  ///< the Ping's
};

/// cbor-2. Gives leases back; what was sealed in them stays.
struct LeaseReturned {
  std::vector<base::RegionId> regions;
};

// ---- governor -> executor -------------------------------------------------------------------

/// cbor-2: answer to Register. Carries the call board's descriptor (blob/board.h) when the
/// executor announced kFeatureBoard.
struct Welcome {
  std::uint32_t credit = 1;                ///< calls that may be in flight
  std::uint64_t inline_limit_bytes = 0;    ///< blobs of at least this size go through regions
  bool board = false;                      ///< a descriptor follows
  std::vector<std::string> features = {};  ///< kFeatureLog, …; unknown: ignored
  std::string tasklib_version = {};        ///< of the governor, for messages about mismatches
};

struct Call {
  TaskSpec spec;
  std::vector<ObjectIn> inputs;   ///< same order and multiplicity as spec.inputs
  std::vector<ObjectIn> outputs;  ///< as spec.outputs; no info, no location
  std::uint32_t sequence = 0;     ///< cbor-2: counts the calls of this connection from 1, wraps
};

/// cbor-1.
struct DropCached {
  std::vector<base::DataObjectId> objects;
};

struct Extent {
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
  friend bool operator==(const Extent& a, const Extent& b) {
    return a.offset_bytes == b.offset_bytes && a.size_bytes == b.size_bytes;
  }
};

/// cbor-2. A region; its descriptor travels with the frame. `writable`: this is a lease, and the
/// process may allocate in `free` (everything else holds other people's blobs). A region comes
/// before the first call that names it.
struct Region {
  base::RegionId id;
  std::uint64_t size_bytes = 0;
  bool writable = false;
  std::uint32_t request = 0;  ///< of the LeaseRequest that it answers; 0: none
  std::vector<Extent> free;
};

/// cbor-2: the store is full. `message` is for the user.
struct LeaseRefused {
  std::uint32_t request = 0;
  std::string message;
};

/// cbor-2. Extents of a leased region that nobody views any more: the lease holder may reuse them.
struct Freed {
  base::RegionId region;
  std::vector<Extent> extents;
};

/// cbor-2. The governor forgets a region; the process unmaps it once it views none of it.
struct RegionDropped {
  base::RegionId id;
};

/// cbor-2. Stop this call if it can be stopped; answered by a Result, `cancelled` or not.
struct Cancel {
  base::TaskId task;
  std::uint32_t sequence = 0;
};

/// cbor-2. Finish: no further calls come. The process exits 0 after this.
struct Shutdown {};

/// cbor-2. The store is short: give back the leases in which nothing is being written. Answered by
/// one LeaseReturned, empty or not. Only if the executor announced kFeatureLeaseWanted.
struct LeaseWanted {};

/// cbor-2. Answered by a Pong. Only if the executor announced kFeaturePing.
struct Ping {
  std::uint32_t number = 0;
};

using ToGovernor =
    std::variant<Register, Result, Released, LeaseRequest, LeaseReturned, Log, Debug, Pong>;
using ToExecutor = std::variant<Call, DropCached, Welcome, Region, LeaseRefused, Freed,
                                RegionDropped, Cancel, Shutdown, LeaseWanted, Ping>;

// Of executors.
constexpr const char* kFeatureBoard = "board";
constexpr const char* kFeatureLeaseWanted = "lease_wanted";
constexpr const char* kFeaturePing = "ping";
constexpr const char* kFeatureSlices = "slices";  ///< of both sides
// Of governors.
constexpr const char* kFeatureLog = "log";
constexpr const char* kFeatureBegan = "began";

}  // namespace tasklib::wire
