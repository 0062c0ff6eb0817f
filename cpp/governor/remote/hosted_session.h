#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "completion_queue.h"
#include "governor.h"
#include "graph/records.h"
#include "remote/batch.h"

namespace rain::remote {

/// A session of a client in another process, on the governor that runs its tasks: batches come in,
/// updates go out. How they travel is the business of its owner, who takes the updates whenever
/// fd() is readable.
///
/// The governor may be closed before; all that is asked afterwards throws UsageError. Thread-safe;
/// no call needs the GIL. Records are kept as long as their tasks live or their data are held.
class HostedSession {
 public:
  /// A failure ends here what depends on it and nothing else: what more it ends is the client's to
  /// say, with cancel().
  HostedSession(const std::shared_ptr<Governor>& governor, std::string name);
  /// Closes it.
  ~HostedSession();
  HostedSession(const HostedSession&) = delete;
  HostedSession& operator=(const HostedSession&) = delete;

  /// On this governor, as it is in its logs and events; the client's own number is another.
  std::int32_t id() const { return record_->id; }

  /// An input's data that came apart from the batch, and what is known of them.
  struct Supplied {
    std::shared_ptr<graph::ObjectData> data;  // null: they will never come
    tasklib::wire::ObjectInfo info;
  };
  /// Returns the batch's number. Throws, and nothing is submitted: ProtocolError; UsageError for an
  /// executor that is not registered; InvalidGraph for an input that is not here, a task that is
  /// at work already, and all that the governor's own clients can do wrong.
  /// A task that has ended may come again: its new outputs take the place of the old ones. What is
  /// supplied of an input that is here already is passed over. Tasks that need what will never
  /// come, and theirs, are left out: the client has ended them, or will.
  std::uint64_t submit(tasklib::base::ByteView batch,
                       std::unordered_map<std::int32_t, Supplied> data);

  // Ids that are not known (any more) are passed over.
  void cancel(const std::vector<std::int32_t>& tasks);
  void cancel_all();
  void unkeep(const std::vector<std::int32_t>& objects);
  /// Everything ends, and fd() becomes readable once more. Idempotent.
  void close();
  bool closed() const;

  /// Data of a finished object, if they are here.
  std::optional<DataView> view(std::int32_t object);
  /// What its task said of it.
  tasklib::wire::ObjectInfo info(std::int32_t object);

  struct Updates {
    std::string bytes;                 // encode_updates(); empty: none
    std::vector<std::uint64_t> ended;  // numbers of batches that are over, each once
  };
  /// Of tasks that run for longer than a moment (Starts), of those that finished or failed, and of
  /// those that did not run because of a failure: what it was of may have finished before, for the
  /// client, and have failed when it ran again. Not of what was cancelled here, and what depends on
  /// it: it may be meant to run elsewhere.
  Updates take_updates();
  /// Readable while there are updates to take, and after close(). Valid as long as this.
  int fd() { return queue_->fd(); }

  /// What an ended task wrote to stdout and stderr, and in which files; nothing: it did not, or has
  /// not ended.
  struct Log {
    tasklib::wire::Printed printed;
    std::string stdout_path, stderr_path;
  };
  std::optional<Log> log(std::int32_t task);
  /// How many tasks there are and were, by state.
  std::array<std::uint64_t, graph::kTaskStates> states() const;

 private:
  struct Live {
    graph::TaskRef task;
    std::uint64_t batch;
  };

  std::shared_ptr<Governor> governor() const;
  graph::ObjectRef known(Governor& governor, std::int32_t id, bool with_data);
  static void leave_out_lost(Batch& batch, const std::unordered_map<std::int32_t, Supplied>& data);
  static void fill(Batch& batch, std::unordered_map<std::int32_t, Supplied>& data);
  // Under mutex_.
  void leave_earlier(const Batch& batch);
  void enter(const graph::ObjectRef& object, std::vector<graph::ObjectRef>& replaced);
  void leave(const graph::TaskRecord& task);
  void forget_if_gone(const graph::ObjectRecord& object);
  void end_one_of(std::uint64_t batch);
  void keep_log(const graph::TaskRecord& task);

  const std::weak_ptr<Governor> governor_;
  const std::shared_ptr<CompletionQueue> queue_ = std::make_shared<CompletionQueue>();
  graph::SessionRef record_;

  mutable std::mutex mutex_;  // may be held while the governor is asked, never the other way round
  // Guarded by mutex_.
  bool closed_ = false;
  std::uint64_t last_batch_ = 0;
  std::unordered_map<std::int32_t, Live> live_;
  std::unordered_map<std::uint64_t, std::size_t> unfinished_;   // tasks, by batch
  std::vector<std::uint64_t> ended_;                            // batches, to be told
  std::unordered_map<std::int32_t, graph::ObjectRef> objects_;  // not removed, as far as was seen
  std::unordered_set<std::int32_t> lent_;                       // of them, as Batch::lent
  std::vector<std::pair<std::string, std::string>> log_files_;  // stdout's, stderr's path
  struct Printed {
    tasklib::wire::Printed where;
    std::uint32_t files;  // which of log_files_
  };
  std::unordered_map<std::int32_t, Printed> printed_;  // by task; until it is closed
};

}  // namespace rain::remote
