#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "graph/core.h"
#include "object_data.h"
#include "remote/outgoing.h"
#include "remote/run_means.h"
#include "remote/update.h"

namespace rain {

/// The tasks of one session that have not ended, by id, in pages: ids are dense, and those of ended
/// tasks cost nothing. Thread: token holder.
class LiveTasks {
 public:
  void add(graph::TaskRecord& task);
  /// Null: there is none.
  graph::TaskRecord* find(std::int32_t id) const;
  void remove(std::int32_t id);

 private:
  static constexpr std::size_t kPage = 512;
  struct Page {
    std::array<graph::TaskRecord*, kPage> tasks{};
    std::size_t count = 0;
  };
  Page* page_of(std::int32_t id) const;

  std::unordered_map<std::uint32_t, std::unique_ptr<Page>> pages_;
  mutable std::uint32_t last_ = 0;
  mutable Page* last_page_ = nullptr;  // null: not known
};

/// What a Governor in mirror mode has instead of executors: it says in `outgoing` what others have
/// to run, and brings what they say of it into the Core. Owned by the Runtime. Thread: token
/// holder.
///
/// Updates come in any order. That a task runs, and how it ended, waits here until its inputs have
/// finished here (one that was aborted because an input was lost there ends here with its cause, if
/// that counts); what comes of tasks that have ended is counted and dropped, as after a cancel, or
/// when a task ran again because what it had made was lost. If that failed, what is aborted there
/// is so here; with OnError::fail it fails, and the session with it.
class Mirror {
 public:
  /// `core` and `methods` outlive this.
  Mirror(graph::Core& core, std::shared_ptr<const MethodTable> methods);

  const std::shared_ptr<remote::Outgoing>& outgoing() const { return outgoing_; }

  void opened(const graph::SessionRef& session);
  /// Requires: the Core has taken them, and none has ended.
  void submitted(const graph::SessionRef& session, std::vector<graph::TaskRef> tasks);
  /// After the Core has heard of it, and its commands were carried out.
  void closed(const graph::SessionRecord& session);

  // The Core's commands, and that there are no more of them.
  void changed(const graph::TaskChanged& command);
  void dropped(const graph::DropData& command);
  void flush();

  /// Those of a session that is not open are late. Throws ProtocolError; updates before the wrong
  /// one are applied.
  void apply(std::int32_t session, remote::Updates updates, graph::TimePoint now);
  /// Of ends, not of starts.
  std::uint64_t late_updates() const { return late_; }

  /// Of objects whose data are elsewhere: their ids, to be used in supply().
  std::vector<graph::DataObjectId> ask_for(const std::vector<graph::ObjectRef>& objects);
  /// False: nobody asked for it, or nobody needs it any more.
  bool supply(graph::DataObjectId object, std::shared_ptr<Data> data);
  /// Lets go of copies that were looked at and that nobody looks at now. False: there were none.
  static bool let_go(const std::vector<graph::SessionRef>& sessions);

  /// Who ran the task, for its report. Known until flush(), while somebody wants to hear of it.
  struct Run {
    std::int32_t pid = 0;
    std::uint32_t attempts = 0;
  };
  void note_runs(bool on) { notes_runs_ = on; }
  Run run_of(const graph::TaskRecord& task) const;

 private:
  void apply(graph::TaskRecord& task, remote::TaskUpdate& update, graph::TimePoint now);
  void start(graph::TaskRecord& task, graph::TimePoint now);
  void take_results(graph::TaskRecord& task, remote::TaskUpdate& update);
  void let_go_there(graph::ObjectRecord& object);

  graph::Core& core_;
  const std::shared_ptr<const MethodTable> methods_;
  const std::shared_ptr<remote::Outgoing> outgoing_ = std::make_shared<remote::Outgoing>();
  const std::shared_ptr<remote::RunMeans> run_means_ = std::make_shared<remote::RunMeans>();
  std::unordered_map<std::int32_t, LiveTasks> sessions_;                    // that are open
  std::unordered_map<const graph::TaskRecord*, remote::TaskUpdate> early_;  // inputs are unfinished
  std::unordered_set<const graph::TaskRecord*> early_starts_;               // likewise
  std::unordered_set<const graph::TaskRecord*> told_;  // cancelled or aborted there, not only here
  std::unordered_map<std::uint64_t, graph::ObjectRef> wanted_;  // by key_of(id)
  std::unordered_map<const graph::TaskRecord*, Run> runs_;
  std::unordered_map<std::int32_t, std::vector<std::int32_t>> cancelled_, unkept_;  // to be told
  graph::Core::Ending ending_;                                                      // scratch
  std::uint64_t late_ = 0;
  bool notes_runs_ = false;
};

}  // namespace rain
