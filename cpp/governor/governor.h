#pragma once

// The embedded governor: composition root of graph, process, wire and blob store.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "activity.h"
#include "annex.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/errors.h"
#include "base/ids.h"
#include "blob/store.h"
#include "completion_queue.h"
#include "graph/core.h"
#include "graph/records.h"
#include "log_queue.h"
#include "options.h"
#include "remote/outgoing.h"
#include "remote/update.h"
#include "tally.h"
#include "wire/messages.h"

namespace rain {

struct Data;

/// Bytes of a finished object or an upload, for the client. Keeps them alive; any thread may drop
/// the last copy.
struct DataView {
  std::shared_ptr<const Data> keep_alive;
  tasklib::base::ByteView bytes;
  /// Of a directory, and of bytes that lie in a file: where. Read-only. Valid as long as
  /// keep_alive, but close() removes it with the whole run directory: what is needed longer has to
  /// be copied before.
  std::string path;
  bool directory = false;
  std::uint64_t size_bytes = 0;  // of a directory: of its files together
};

/// Thrown on use after close(), in a forked child, or with an unknown executor type.
class UsageError : public tasklib::base::Error {
 public:
  using Error::Error;
};

/// Starts executors when tasks need them, runs the tasks it is given, owns the blob store.
///
/// Thread-safe: every public method may be called from any thread, none needs the GIL, and no
/// user code runs inside. Whoever waits drives the loop (loop_token.h). All processes and files
/// are gone after close(), the last descriptors with the object.
class Governor {
 public:
  enum class Wait { done, timed_out, interrupted };

  explicit Governor(GovernorOptions options);
  ~Governor();
  Governor(const Governor&) = delete;
  Governor& operator=(const Governor&) = delete;

  /// Interns "executor/method". Throws UsageError: no "/", executor not registered (names the
  /// registered ones and the nearest).
  struct Method {
    graph::TypeIndex type;
    std::uint32_t method;
  };
  Method intern_method(const std::string& task_type);
  const std::string& task_type(std::uint32_t method) const;  // valid as long as the governor

  /// An executor's tasks, once one of its processes has registered; those of Rain 0.4
  /// announce none. Throws UsageError: not registered with this governor.
  std::optional<std::vector<tasklib::wire::AnnouncedTask>> announced_tasks(
      const std::string& executor);
  /// What one of them takes and gives; nothing if that is not known, or it is not typed. `current`:
  /// also nothing if the program was built again since, at the price of a look at its files.
  std::optional<tasklib::wire::AnnouncedSignature> announced_signature(const std::string& executor,
                                                                       const std::string& task,
                                                                       bool current);
  /// Waits until they are known; starts a process if need be. Throws Error when it can't start.
  Wait learn_tasks(const std::string& executor, std::optional<tasklib::base::TimePoint> deadline);

  graph::SessionRef new_session(std::string name, graph::OnError on_error);
  /// Throws graph::InvalidGraph, UsageError (closed).
  void submit(const graph::SessionRef& session, std::vector<graph::TaskRef> tasks,
              std::vector<graph::ObjectRef> objects);
  void close_session(const graph::SessionRef& session);
  void cancel(std::vector<graph::TaskRef> tasks);
  /// Those of them that no executor has been sent.
  void cancel_unsent(const std::vector<graph::TaskRef>& tasks);
  /// All unfinished tasks of the session, which stays alive (Ctrl-C while waiting for it).
  void cancel_all(const graph::SessionRef& session);
  void unkeep(std::vector<graph::ObjectRef> objects);

  // With GovernorOptions::mirror: what somebody else's governors run. Throw UsageError without it.

  /// What they have to be told.
  std::shared_ptr<remote::Outgoing> outgoing() const;
  /// What they said of tasks of the session with this id, in any order. Throws ProtocolError.
  void apply_updates(std::int32_t session, remote::Updates updates);
  /// Those of the objects whose data are finished and not here: to be fetched, and supplied.
  std::vector<graph::DataObjectId> remote_objects(const std::vector<graph::ObjectRef>& objects);
  /// What they offer, too, from now on.
  void add_offer(const std::vector<std::string>& executors, std::uint32_t cpus,
                 std::vector<graph::Resource> resources);
  /// Data of such an object, from put(), allocate() or take_directory(). They stay until the object
  /// is dropped, or until they were viewed and memory is short.
  void supply(graph::DataObjectId object, const std::shared_ptr<graph::ObjectData>& data);
  /// Nobody can be told or asked any more: all tasks fail with this message, now and later.
  void lose(const std::string& message);
  /// How many updates came of tasks that had ended.
  std::uint64_t late_updates();

  /// Blocks until all tasks are terminal and all objects finished or removed (wait), one of them
  /// is (wait_some), the session has no unfinished task or has failed (wait_session).
  /// wait and wait_session return early when the session of an item has failed or closed.
  /// `interrupted`: a signal came (the caller looks at it and calls again); comes at least every
  /// 100 ms while waiting.
  Wait wait(const std::vector<graph::TaskRef>& tasks, const std::vector<graph::ObjectRef>& objects,
            std::optional<tasklib::base::TimePoint> deadline);
  Wait wait_some(const std::vector<graph::TaskRef>& tasks,
                 const std::vector<graph::ObjectRef>& objects,
                 std::optional<tasklib::base::TimePoint> deadline);
  Wait wait_session(const graph::SessionRef& session,
                    std::optional<tasklib::base::TimePoint> deadline);

  /// Each task is pushed once it is terminal: at once if it is already. As often as it is watched.
  /// Requires: submitted.
  void watch(const std::vector<graph::TaskRef>& tasks,
             const std::shared_ptr<CompletionQueue>& queue);
  /// Tasks of the session that an executor has are pushed, too, if it has them for a while.
  void watch_starts(const graph::SessionRef& session,
                    const std::shared_ptr<CompletionQueue>& queue);
  /// Blocks until there is something to take, as wait() above.
  Wait wait(const CompletionQueue& queue, std::optional<tasklib::base::TimePoint> deadline);

  /// Bytes for a constant object. Below the inline limit they are copied into memory, above it
  /// into shared memory, once. Waits while something makes room; calls `interrupted` when a signal
  /// came, which may throw. Without room they go to disk, as what is spilled. Throws StoreFull when
  /// that is off, the disk is full, or they are larger than the whole budget.
  std::shared_ptr<graph::ObjectData> put(tasklib::base::ByteView bytes,
                                         const std::function<void()>& interrupted = {});
  /// A read-only copy of the user's directory (builtin/tree.h). Throws tasklib::base::Error that
  /// names the path: not a directory, a link that leads outside, a special file, a change while it
  /// was read, no room.
  std::shared_ptr<graph::ObjectData> put_directory(const std::string& path);
  /// The same by taking over a directory that is ours, which lies in the run directory or anywhere
  /// on its file system; elsewhere it is copied and removed.
  std::shared_ptr<graph::ObjectData> take_directory(const std::string& path);
  /// Whether the data may become an object's here: they are of this governor, or inline.
  bool owns(const Data& data) const;
  /// Room of `size_bytes` to fill in place, then seal: for blobs that are made by writing.
  struct Upload {
    std::shared_ptr<graph::ObjectData> data;
    unsigned char* bytes;
  };
  Upload allocate(std::uint64_t size_bytes, const std::function<void()>& interrupted = {});
  /// The bytes of a finished object; nothing when it is not finished (or removed), or they are not
  /// here: see remote_objects().
  std::optional<DataView> view(const graph::ObjectRef& object);
  /// The same for many, with the token taken once. Parallel to `objects`.
  std::vector<std::optional<DataView>> views(const std::vector<graph::ObjectRef>& objects);
  /// How large the data of a finished object are, wherever they are; nothing as above.
  std::optional<std::uint64_t> data_size(const graph::ObjectRef& object);

  /// What the client of a hosted session is told of tasks that have ended; parallel to `tasks`.
  /// With the contents of small outputs that are kept, but for those in `lent`.
  std::vector<remote::TaskUpdate> updates(const std::vector<graph::TaskRef>& tasks,
                                          const std::unordered_set<std::int32_t>& lent);

  /// Why the task or session did not finish; null when it did or still may.
  graph::FailurePtr failure(const graph::TaskRef& task);
  graph::FailurePtr failure(const graph::SessionRef& session);

  /// Writes the task's call and its inputs into the directory (reproduce.h). Throws UsageError when
  /// its executor can't run it alone, or the inputs are not there (any more); Error.
  void write_call(const graph::TaskRef& task, const std::string& directory);

  /// Lines that deserve the user's attention and are no errors, since the last call.
  std::vector<std::string> take_warnings();
  void record_reports(bool on);
  std::vector<TaskReport> take_reports();
  /// `names`: of the task names with the most tasks, how many are told. The first call that
  /// wants some makes the changes of state of this session's tasks cost a little more.
  Progress progress(const graph::SessionRef& session, std::size_t names);
  // For those who look while it runs (activity.h). Nothing of it is kept unless asked for.

  /// `names`: of each session, those with the most tasks.
  Snapshot snapshot(std::size_t names);
  void keep_failures(bool on);
  std::vector<TaskFailure> failures(std::uint64_t after);
  void keep_runs(bool on);
  Runs take_runs(std::size_t most, std::size_t first_name);
  bool start_event_log(const std::string& path);
  /// The tasks of a session that are submitted and have not ended.
  std::vector<graph::TaskRef> live_tasks(const graph::SessionRef& session);
  tasklib::blob::Store::Usage store_usage();
  MemoryState memory_state();
  /// Of all open sessions, directories and what is spilled included.
  std::vector<BlobLine> blobs();
  std::vector<std::int32_t> executor_pids();
  /// Whether the launcher is gone, so that every task fails: true before any has, not after
  /// close().
  bool launcher_lost();
  /// Which executors answer, and how soon; waits for all answers, until the deadline at most. Calls
  /// `interrupted` when a signal came, which may throw.
  std::vector<Pinged> ping(std::optional<tasklib::base::TimePoint> deadline,
                           const std::function<void()>& interrupted = {});
  /// Lines that tasks write for the log; close() closes it.
  std::shared_ptr<LogQueue> logs() const;
  std::string run_directory() const;
  /// What all sessions have at this moment: tasks that have not ended, objects that have data.
  struct Holdings {
    std::vector<graph::TaskId> tasks;
    std::vector<graph::DataObjectId> objects;
  };
  Holdings holdings();

  /// Ends everything and waits for it. Idempotent.
  void close();
  bool closed() const;
  /// Called in a forked child (pthread_atfork): closes descriptors, leaks the rest; every later
  /// call throws UsageError "create a new Client".
  void abandon_after_fork() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rain
