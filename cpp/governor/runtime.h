#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "activity.h"
#include "annex.h"
#include "base/unique_fd.h"
#include "blob/arena.h"
#include "blob/store.h"
#include "builtin/builtin.h"
#include "completion_queue.h"
#include "event_log.h"
#include "failed_inputs.h"
#include "graph/core.h"
#include "log_queue.h"
#include "method_table.h"
#include "mirror.h"
#include "object_data.h"
#include "options.h"
#include "process/executor_session.h"
#include "process/launcher_client.h"
#include "process/program_build.h"
#include "remote/update.h"
#include "spill.h"
#include "starts.h"
#include "tally.h"

namespace rain {

/// Everything that moves while tasks run: the Core, the store, the executors, the launcher and
/// the epoll set that watches them. One iterate() waits for what happens, tells the Core, and
/// does what it commands. Owned by the Governor. Thread: token holder, except wake().
class Runtime final : public builtin::Host, private process::ExecutorSession::Listener {
  using TimePoint = tasklib::base::TimePoint;

 public:
  /// Between two looks at the memory of executors whose calls have a limit.
  static constexpr auto kSampleInterval = std::chrono::milliseconds(50);
  /// cbor-1: data from this size on are sent as a path (reference 1.6).
  static constexpr std::uint64_t kPathLimitBytes = 256 * 1024;
  static constexpr auto kBuildCheckInterval = std::chrono::milliseconds(50);

  /// Makes the run directory and starts the launcher. Throws SystemError.
  explicit Runtime(const GovernorOptions& options);
  ~Runtime() override;

  graph::Core& core() override { return core_; }
  tasklib::blob::Store& store() { return store_; }
  MethodTable& methods() { return methods_; }
  std::optional<std::string> visible_devices(const graph::TaskRecord& task) const override;
  const std::string& task_type(std::uint32_t method) const override {
    return methods_.name(method);
  }
  const std::string& run_directory() const override { return run_directory_; }
  const std::vector<std::string>& environment() const override { return environment_; }
  /// Whether nothing can be started any more, though nobody called close(). True before any task
  /// has failed for it.
  bool launcher_lost() const { return launcher_ && launcher_->hung_up(); }
  void spawn_program(const process::LauncherClient::SpawnRequest& request) override;
  bool kill_program(tasklib::base::ExecutorId executor) override;
  /// Readable when iterate(0) would find something to do.
  int epoll_fd() const { return epoll_.get(); }

  /// Waits for events, at most `timeout_ms` (-1: without limit, 0: not at all), and handles them.
  /// interrupted: a signal came first.
  enum class Events { none, handled, interrupted };
  Events iterate(int timeout_ms);
  /// Carries out the Core's commands and sends what they queued. To be called after every event
  /// that did not come through iterate().
  void pump();
  /// Ends a wait in iterate(). Thread-safe.
  void wake() override;
  /// True when polling is better than blocking: something is running, and a CPU is free for us.
  bool should_poll() const { return core_.busy() && core_.busy_executors() < cpus_; }

  /// Starts what is to be kept running. To be called once, before anything is submitted.
  void prestart();
  /// Tells the Core of the executors whose program was built again since they were started; looks
  /// at the files at most every kBuildCheckInterval.
  void check_builds(TimePoint now);
  /// What is known of the tasks of one executor type.
  struct Offer {
    // Nothing until a process registered.
    std::optional<std::vector<tasklib::wire::AnnouncedTask>> tasks;
    graph::FailurePtr failure;  // why the last process could not start; null once one did
    bool is_foreign = false;    // the last one that registered speaks cbor-1
    std::optional<process::ProgramBuild> build;  // that announced them; nothing: not compared
  };
  const Offer& offer(graph::TypeIndex type) const { return offers_[type]; }
  /// The program is the one that announced them.
  bool offer_is_current(graph::TypeIndex type) const;
  /// Asks every executor that is registered. Returns the ping's number, for the other two.
  std::uint32_t start_ping();
  bool ping_is_answered(std::uint32_t number) const;
  /// What came so far; those that ended meanwhile are missing.
  std::vector<Pinged> end_ping(std::uint32_t number);
  /// Lines that tasks write for the log. Closed by close().
  const std::shared_ptr<LogQueue>& logs() const { return logs_; }
  /// Starts a process unless there is one.
  void start_one(graph::TypeIndex type);

  /// Thread-safe.
  std::uint64_t inline_limit_bytes() const { return inline_limit_bytes_; }
  /// Room for a blob of the client's own. Throws StoreFull.
  std::shared_ptr<BlobData> allocate(std::uint64_t size_bytes) override;
  std::string spill_path() override;

  // What happens when memory is short (runtime_memory.cpp; the rule is in docs/blobs.md).

  /// The open sessions, which outlive this.
  void know_sessions(const std::vector<graph::SessionRef>& sessions) { open_ = &sessions; }
  /// Does what makes room for `size_bytes`. False: nothing does, and nothing that runs will.
  bool make_room(std::uint64_t size_bytes);
  /// A StoreFull's text, with what holds the memory and whether spilling works.
  std::string explain(const tasklib::base::StoreFull& full) const;
  /// The same for who is refused now; the next one may try to spill again.
  std::string give_up(const tasklib::base::StoreFull& full);
  void count_spilled(std::uint64_t size_bytes);
  /// Grows when there may be more room than before.
  std::uint64_t room_changes() const { return room_changes_; }
  /// While somebody waits for room, waiters look at their condition more often.
  void add_room_waiter(int by) { room_waiters_ += by; }
  std::vector<BlobLine> blobs() const;
  /// The same with the tasks that hold them, and what only failed tasks hold.
  std::vector<BlobLine> blobs_with_holders() const;
  MemoryState memory_state() const;
  /// Data came into use.
  void touch(Data& data);
  FailedInputs& failed_inputs() { return failed_inputs_; }
  /// Null unless GovernorOptions::mirror.
  Mirror* mirror() { return mirror_.get(); }
  /// What an executor was or would be sent for the task, and its inputs' data, for the next time it
  /// is run alone. Throws UsageError when it can't be.
  struct CallToReproduce {
    tasklib::wire::Call call;  // its inputs have no location
    std::vector<std::shared_ptr<Data>> inputs;
  };
  CallToReproduce call_to_reproduce(const graph::TaskRecord& task) const;
  const std::shared_ptr<ReleaseQueue>& releases() const override { return releases_; }
  /// Thread-safe.
  DataDirectory& data_directory() override { return data_directory_; }

  /// Number of changes to a terminal state so far: waiters look at their condition when it moves.
  std::uint64_t changes() const { return changes_; }
  /// Each task is pushed when it is terminal; the queue is signalled once for many.
  void watch(const std::vector<graph::TaskRef>& tasks,
             const std::shared_ptr<CompletionQueue>& queue);
  Starts& starts() { return starts_; }

  /// What the client of a hosted session is told of a task that has ended; with the contents of
  /// small outputs that are kept, but for those in `lent`.
  remote::TaskUpdate update_of(const graph::TaskRecord& task,
                               const std::unordered_set<std::int32_t>& lent) const;

  void record_reports(bool on);
  std::vector<TaskReport> take_reports() { return std::exchange(reports_, {}); }
  std::vector<std::string> take_warnings();
  /// For the event log: a session opened, closed or failed.
  void note_session(const graph::SessionRecord& session, const char* state);
  /// Counts the session's tasks by name from the first call with `names` on, until
  /// forget_progress().
  Progress progress(const graph::SessionRecord& session, std::size_t names);
  void forget_progress(const graph::SessionRecord& session);

  // For those who look while it runs (runtime_activity.cpp).

  /// `names`: of each session, as in progress(). From the first call on, and in sessions that are
  /// opened later, tasks are counted by name.
  Snapshot snapshot(std::size_t names);
  Activity& activity() { return activity_; }
  /// From now on there is an event log, which begins with the open sessions. False: there is one
  /// already. Throws SystemError.
  bool start_event_log(const std::string& path);
  std::vector<std::int32_t> executor_pids() const;

  /// Asks idle executors to finish, waits a moment for them, kills the rest with the launcher.
  void close();
  void abandon_after_fork() noexcept;

 private:
  using Session = process::ExecutorSession;

  // Session's listener.
  void on_registered(Session& session) override;
  void on_result(Session& session, const process::InFlight& call,
                 tasklib::wire::Result& result) override;
  void on_released(Session& session, const tasklib::wire::Released& message) override;
  void on_lease_request(Session& session, const tasklib::wire::LeaseRequest& message) override;
  void on_lease_returned(Session& session, const tasklib::wire::LeaseReturned& message) override;
  void on_log(Session& session, const graph::TaskRecord& task,
              const tasklib::wire::Log& message) override;
  void on_pong(Session& session, std::uint32_t number) override;
  void on_warning(const std::string& text) override;

  // Commands.
  void spawn(const graph::SpawnExecutor& command);
  void end(const graph::EndExecutor& command);
  void send_call(const graph::SendCall& command);
  void retract(const graph::Retract& command);
  void fill_resources(tasklib::wire::TaskSpec& spec, const graph::TaskExtras& extras) const;
  void changed(const graph::TaskChanged& command);
  void tell_watchers(const graph::TaskRef& task);
  TaskReport report(const graph::TaskChanged& command);
  /// What reports count a task under: its name, else its type.
  const std::string& group_of(const graph::TaskRecord& task) const;
  void count(const graph::TaskChanged& command);
  void remember(const graph::TaskChanged& command);
  double seconds_of(TimePoint when) const {
    return std::chrono::duration<double>(when - began_).count();
  }
  // Into the event log, if there is one.
  void note_client(const char* state);
  void note_change(const graph::TaskChanged& command);
  void note_end(const TaskReport& report, const graph::TaskChanged& command);
  void note_failure(EventLine& line, const graph::Failure& failure);
  void note_dropped(const graph::ObjectRecord& object);
  /// Writes what note_dropped() gathered.
  void flush_dropped();
  void note_executor(const Session& session, const char* state, const std::string& cause = {});
  void note_log(const Session& session, const LogLine& line);
  void note_store(TimePoint now);
  void data_dropped(const graph::DropData& command);

  /// The executor type `buildin`: one after the registered ones.
  bool is_builtin(graph::TypeIndex type) const { return type == specs_.size(); }
  std::string type_name(const graph::TaskRecord& task) const;

  // Events.
  void on_launcher();
  void on_launcher_gone();
  void on_executor_event(tasklib::base::ExecutorId id, std::uint32_t events);
  void read_from(Session& session);
  void end_views(Session& session, const process::InFlight& call,
                 const std::vector<std::uint32_t>& held);
  /// The executor views `ref` once less; if it didn't, it is put down.
  void end_view(Session& session, const tasklib::wire::BlobRef& ref);
  std::shared_ptr<graph::ObjectData> take_output(Session& session, const graph::TaskRecord& task,
                                                 const graph::ObjectRecord& object,
                                                 tasklib::wire::ObjectOut& output,
                                                 std::uint64_t& copied_bytes);
  std::shared_ptr<graph::ObjectData> take_slice(const graph::TaskRecord& task,
                                                const tasklib::wire::ObjectSlice& slice);
  std::shared_ptr<graph::ObjectData> take_file(Session& session, const graph::ObjectRecord& object,
                                               const std::string& path);
  void fill_call(tasklib::wire::Call& call, const graph::TaskRecord& task) const;
  void fill_location(Session& session, tasklib::wire::ObjectIn& input,
                     const graph::ObjectRecord& object, std::vector<tasklib::wire::BlobRef>& views);

  void check_launcher() const;
  /// Ends a session that misbehaves; `trouble` is the reason for the user.
  void put_down(Session& session, const std::string& trouble);
  /// `spare`: it was started for no task, which could tell.
  void note_failed_start(graph::TypeIndex type, bool spare, const graph::FailurePtr& failure);
  /// The process is gone: tells the Core, with a death report.
  void bury(Session& session, std::optional<launcher::Report> report);
  /// For Task.logs(), until many more processes have ended; then they are removed.
  void keep_logs(const Session& session);
  void forget_pinged(tasklib::base::ExecutorId executor);
  void watch_fd(Session& session);
  void flush(Session& session);
  void flush_freed();
  void give_up_idle_leases();
  std::string describe(const graph::ObjectRecord& object) const;
  BlobLine line_of(const graph::ObjectRecord& object, graph::ObjectData& data) const;
  /// If it is fresh and a cpu is idle: another thread takes the page faults of `size_bytes`.
  void populate(const std::shared_ptr<tasklib::blob::Region>& region, std::uint64_t size_bytes);
  void grant_lease(Session& session, const tasklib::wire::LeaseRequest& request);
  tasklib::blob::Store::Lease lease(tasklib::blob::Holder holder, std::uint64_t size_bytes);
  void serve_waiting();
  bool ask_for_leases();
  bool end_idle_holder();
  bool is_blocked(const Session& session) const;
  struct BlobUse;
  std::unordered_map<const BlobData*, BlobUse> blob_uses() const;
  bool start_spilling(std::uint64_t size_bytes);
  void on_spilled(SpillWork& work);
  /// Dooms the oldest call of each executor that uses more memory than its calls may.
  void sample_memory(TimePoint now);
  void drain_releases(TimePoint now);
  void tick(TimePoint now);
  void arm_timer();

  const std::uint32_t cpus_;
  const std::uint64_t inline_limit_bytes_;
  const std::vector<ExecutorSpec> specs_;
  const std::string run_directory_;
  DataDirectory data_directory_;
  const TimePoint began_;
  std::vector<std::string> environment_;
  const std::vector<process::ProgramFiles> programs_;  // by TypeIndex

  const std::vector<graph::Resource> resources_;
  const std::shared_ptr<MethodTable> shared_methods_ = std::make_shared<MethodTable>();
  MethodTable& methods_ = *shared_methods_;
  graph::Core core_;
  const std::unique_ptr<Mirror> mirror_;
  tasklib::blob::Store store_;
  tasklib::blob::Arena client_arena_;
  FailedInputs failed_inputs_;
  SpillPlace spill_;
  std::string spill_trouble_;  // of the last try; then none is made until a request was refused
  std::uint32_t spilling_ = 0;
  std::uint64_t spilled_bytes_ = 0, spilled_blobs_ = 0, uses_ = 0, room_changes_ = 0;
  int room_waiters_ = 0;
  struct WaitingLease {
    tasklib::base::ExecutorId executor;
    tasklib::wire::LeaseRequest request;
  };
  std::vector<WaitingLease> waiting_leases_;  // oldest first
  const std::vector<graph::SessionRef>* open_ = nullptr;
  std::shared_ptr<ReleaseQueue> releases_ = std::make_shared<ReleaseQueue>();

  tasklib::base::UniqueFd epoll_, timer_, wake_;
  std::optional<process::LauncherClient> launcher_;
  std::map<tasklib::base::ExecutorId, std::unique_ptr<Session>> sessions_;
  std::vector<Session*> dirty_;
  std::deque<std::pair<std::string, std::string>> logs_of_the_dead_;  // stdout's, stderr's path
  std::optional<TimePoint> armed_, store_tick_;
  struct MemoryCall {
    graph::TaskRef task;
    std::uint32_t sequence;
  };
  std::map<tasklib::base::ExecutorId, std::vector<MemoryCall>> memory_calls_;  // that have a limit
  std::optional<TimePoint> sample_at_;  // while there are any
  std::uint64_t oom_kills_ = 0;         // by the kernel, as far as they were seen
  bool launcher_gone_ = false, pumping_ = false, store_changed_ = false;

  std::unordered_map<tasklib::base::DataObjectId, std::vector<tasklib::base::ExecutorId>> cached_;
  std::unordered_multimap<const graph::TaskRecord*, std::weak_ptr<CompletionQueue>> watchers_;
  std::vector<std::shared_ptr<CompletionQueue>> to_signal_;
  Starts starts_;
  std::vector<Offer> offers_;  // by TypeIndex
  struct Ping {
    TimePoint sent;
    std::vector<Pinged> lines;
    std::size_t missing = 0;  // answers
  };
  std::map<std::uint32_t, Ping> pings_;  // that somebody waits for
  std::uint32_t last_ping_ = 0;
  const std::shared_ptr<LogQueue> logs_ = std::make_shared<LogQueue>();
  TimePoint builds_checked_{};
  std::uint64_t changes_ = 0;
  bool recording_ = false;
  std::unique_ptr<EventLog> events_;  // null: nobody wants one
  TimePoint store_noted_{};
  struct Dropped {
    tasklib::base::DataObjectId id;
    std::uint64_t size_bytes;
  };
  std::vector<Dropped> dropped_;     // of one session, not in the log yet
  std::uint64_t failure_bytes_ = 0;  // of texts of failures in the log
  std::unordered_map<const graph::SessionRecord*, Tally> tallies_;  // of watched sessions
  std::vector<TaskReport> reports_;
  Activity activity_;
  bool counts_names_ = false;                                         // of all sessions
  std::unordered_map<tasklib::base::ExecutorId, std::int32_t> pids_;  // of all there ever were
  std::vector<std::string> warnings_;
  std::vector<graph::Command> commands_;  // scratch, as the next
  tasklib::wire::Call scratch_call_;
  builtin::Builtin builtin_{*this};
};

}  // namespace rain
