#include "governor.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "base/syscall.h"
#include "builtin/tree.h"
#include "launcher/remove_tree.h"
#include "loop.h"
#include "object_data.h"
#include "reproduce.h"
#include "runtime.h"

namespace rain {

using graph::FailurePtr;
using graph::ObjectRef;
using graph::SessionRef;
using graph::TaskRef;
using tasklib::base::ByteView;
using tasklib::base::TimePoint;

namespace {

/// Number of single-character edits between two names.
std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replace, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

bool is_over(const graph::TaskRecord& task) {
  return graph::is_terminal(task.state.load(std::memory_order_acquire));
}

bool is_over(const graph::ObjectRecord& object) {
  const auto state = object.state.load(std::memory_order_acquire);
  return state == graph::ObjectState::finished || state == graph::ObjectState::removed;
}

/// True once every record is over. Looks at each only until it is.
template <class Record>
class AllOver {
 public:
  explicit AllOver(const std::vector<graph::Ref<Record>>& records) : records_(records) {}
  bool operator()() {
    while (seen_ < records_.size() && is_over(*records_[seen_])) ++seen_;
    return seen_ == records_.size();
  }

 private:
  const std::vector<graph::Ref<Record>>& records_;
  std::size_t seen_ = 0;
};

}  // namespace

struct Governor::Impl {
  explicit Impl(const GovernorOptions& options)
      : specs(options.executors), runtime(options), loop(runtime) {
    runtime.know_sessions(sessions);
  }

  /// Runs `action` under the token, unless the governor is closed.
  void run(const std::function<void()>& action) {
    if (forked) {
      throw UsageError(
          "this Client was made in another process, of which this one is a fork: create a new "
          "Client here");
    }
    loop.run([&] {
      if (closed) throw UsageError("the Client is closed: create a new Client");
      action();
    });
  }
  void run_even_if_closed(const std::function<void()>& action) {
    if (!forked) loop.run(action);
  }
  Wait wait(const std::function<bool()>& ready, std::optional<TimePoint> deadline) {
    if (forked) run([] {});
    switch (loop.wait(ready, deadline)) {
      case Loop::Wait::done:
        return Wait::done;
      case Loop::Wait::timed_out:
        return Wait::timed_out;
      case Loop::Wait::interrupted:
        break;
    }
    return Wait::interrupted;
  }

  /// Throws UsageError: the tasks run here.
  Mirror& mirror() {
    if (Mirror* mirror = runtime.mirror()) return *mirror;
    throw UsageError("this engine runs its tasks itself: it was not made with mirror=True");
  }

  /// By TypeIndex: those that were registered, the built-in one, late ones.
  std::vector<std::string> type_names() {
    std::vector<std::string> names;
    for (const auto& spec : specs) names.push_back(spec.name);
    names.emplace_back(builtin::kTypeName);
    const std::lock_guard lock(late_mutex);
    names.insert(names.end(), late.begin(), late.end());
    return names;
  }

  graph::TypeIndex type_of(const std::string& executor) const {
    const auto found = std::find_if(specs.begin(), specs.end(), [&](const ExecutorSpec& spec) {
      return spec.name == executor;
    });
    if (found == specs.end()) throw UsageError("Executor '" + executor + "' is not registered");
    return static_cast<graph::TypeIndex>(found - specs.begin());
  }

  const std::vector<ExecutorSpec> specs;
  std::mutex late_mutex;
  std::vector<std::string> late;  // of a mirror: executor types that add_offer() brought
  Runtime runtime;
  Loop loop;
  std::atomic<bool> closed{false}, forked{false};
  std::mutex close_mutex;
  // Token holder.
  std::vector<SessionRef> sessions;
  std::int32_t last_session = 0;
};

Governor::Governor(GovernorOptions options) : impl_(std::make_unique<Impl>(options)) {
  impl_->run([&] { impl_->runtime.prestart(); });
}

Governor::~Governor() {
  if (impl_->forked) {
    (void)impl_.release();  // its threads and locks are not there to be joined or taken
    return;
  }
  close();
}

Governor::Method Governor::intern_method(const std::string& task_type) {
  const auto slash = task_type.find('/');
  if (slash == std::string::npos) {
    throw UsageError("task type '" + task_type +
                     "' has no '/': write '<executor>/<function>', e.g. 'example1/hello'");
  }
  const std::string name = task_type.substr(0, slash);
  if (name == builtin::kTypeName)
    if (auto text = builtin::unknown_type_text(task_type); !text.empty()) throw UsageError(text);
  const std::vector<std::string> names = impl_->type_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    std::string registered;
    const std::string* nearest = nullptr;
    std::size_t distance = std::max<std::size_t>(1, name.size() / 3) + 1;
    for (const auto& each : names) {
      if (each == builtin::kTypeName) continue;
      registered += (registered.empty() ? "" : ", ") + each;
      const std::size_t edits = edit_distance(name, each);
      if (edits < distance) {
        distance = edits;
        nearest = &each;
      }
    }
    throw UsageError("Executor '" + name + "' is not registered (task type '" + task_type + "')" +
                     (nearest ? "; did you mean '" + *nearest + "'?" : ";") +
                     " registered: " + (registered.empty() ? "none" : registered) +
                     "; register it with Client(config=...) or Client(executors=...), of a service "
                     "with --config of its governors");
  }
  return {static_cast<graph::TypeIndex>(found - names.begin()),
          impl_->runtime.methods().intern(task_type)};
}

const std::string& Governor::task_type(std::uint32_t method) const {
  return impl_->runtime.methods().name(method);
}

SessionRef Governor::new_session(std::string name, graph::OnError on_error) {
  auto session = std::make_shared<graph::SessionRecord>();
  session->name = std::move(name);
  session->on_error = on_error;
  impl_->run([&] {
    session->id = ++impl_->last_session;
    impl_->sessions.push_back(session);
    if (Mirror* mirror = impl_->runtime.mirror()) mirror->opened(session);
    impl_->runtime.note_session(*session, "opened");
  });
  return session;
}

void Governor::submit(const SessionRef& session, std::vector<TaskRef> tasks,
                      std::vector<ObjectRef> objects) {
  impl_->run([&] {
    const auto now = tasklib::base::Clock::now();
    Mirror* mirror = impl_->runtime.mirror();
    if (!mirror) {
      impl_->runtime.check_builds(now);
      return impl_->runtime.core().on_submit(session, std::move(tasks), std::move(objects), now);
    }
    impl_->runtime.core().on_submit(session, tasks, std::move(objects), now);
    // With the connection lost, all of them have failed.
    if (!tasks.empty() && !is_over(*tasks.front())) mirror->submitted(session, std::move(tasks));
  });
}

void Governor::close_session(const SessionRef& session) {
  impl_->run_even_if_closed([&] {
    if (session->closed) return;
    impl_->runtime.core().on_close_session(session, tasklib::base::Clock::now());
    impl_->runtime.failed_inputs().forget(*session);
    session->closed = true;
    impl_->runtime.pump();
    if (Mirror* mirror = impl_->runtime.mirror()) mirror->closed(*session);
    impl_->runtime.note_session(*session, "closed");
    impl_->runtime.forget_progress(*session);
    impl_->runtime.starts().forget(*session);
    std::erase(impl_->sessions, session);
  });
}

void Governor::cancel(std::vector<TaskRef> tasks) {
  impl_->run([&] { impl_->runtime.core().on_cancel(tasks, tasklib::base::Clock::now()); });
}

void Governor::cancel_unsent(const std::vector<TaskRef>& tasks) {
  impl_->run([&] {
    std::vector<TaskRef> unsent;
    for (const auto& task : tasks) {
      const auto state = task->state.load(std::memory_order_relaxed);
      if (state == graph::TaskState::waiting || state == graph::TaskState::ready)
        unsent.push_back(task);
    }
    impl_->runtime.core().on_cancel(unsent, tasklib::base::Clock::now());
  });
}

void Governor::cancel_all(const SessionRef& session) {
  impl_->run([&] {
    const std::vector<TaskRef> live = session->live;
    impl_->runtime.core().on_cancel(live, tasklib::base::Clock::now());
  });
}

void Governor::unkeep(std::vector<ObjectRef> objects) {
  impl_->run_even_if_closed([&] {
    for (auto& object : objects) {
      impl_->runtime.core().on_unkeep(*object, tasklib::base::Clock::now());
    }
  });
}

Governor::Wait Governor::wait(const std::vector<TaskRef>& tasks,
                              const std::vector<ObjectRef>& objects,
                              std::optional<TimePoint> deadline) {
  AllOver all_tasks(tasks);
  AllOver all_objects(objects);
  return impl_->wait([&] { return all_tasks() && all_objects(); }, deadline);
}

Governor::Wait Governor::wait_some(const std::vector<TaskRef>& tasks,
                                   const std::vector<ObjectRef>& objects,
                                   std::optional<TimePoint> deadline) {
  const auto over = [](const auto& record) { return is_over(*record); };
  return impl_->wait(
      [&] {
        return std::any_of(tasks.begin(), tasks.end(), over) ||
               std::any_of(objects.begin(), objects.end(), over);
      },
      deadline);
}

Governor::Wait Governor::wait_session(const SessionRef& session,
                                      std::optional<TimePoint> deadline) {
  return impl_->wait(
      [&] {
        return session->unfinished_tasks.load(std::memory_order_acquire) == 0 ||
               session->failed.load(std::memory_order_acquire) ||
               session->closed.load(std::memory_order_acquire);
      },
      deadline);
}

void Governor::watch(const std::vector<TaskRef>& tasks,
                     const std::shared_ptr<CompletionQueue>& queue) {
  if (impl_->forked) impl_->run([] {});
  std::vector<TaskRef> unfinished;
  for (const auto& task : tasks) {
    if (is_over(*task)) {
      queue->push(task);
    } else {
      unfinished.push_back(task);
    }
  }
  if (unfinished.size() < tasks.size()) queue->signal();
  if (unfinished.empty()) return;
  impl_->run_even_if_closed([&] { impl_->runtime.watch(unfinished, queue); });
}

void Governor::watch_starts(const SessionRef& session,
                            const std::shared_ptr<CompletionQueue>& queue) {
  impl_->run([&] { impl_->runtime.starts().watch(*session, queue); });
}

Governor::Wait Governor::wait(const CompletionQueue& queue, std::optional<TimePoint> deadline) {
  return impl_->wait([&] { return !queue.empty(); }, deadline);
}

std::shared_ptr<graph::ObjectData> Governor::put(ByteView bytes,
                                                 const std::function<void()>& interrupted) {
  if (bytes.size < impl_->runtime.inline_limit_bytes()) return std::make_shared<InlineData>(bytes);
  try {
    const auto upload = allocate(bytes.size, interrupted);
    std::memcpy(upload.bytes, bytes.data, bytes.size);
    return upload.data;
  } catch (const tasklib::base::StoreFull& full) {
    std::string path;
    impl_->run([&] {
      auto& runtime = impl_->runtime;
      if (bytes.size <= runtime.store().usage().budget_bytes) path = runtime.spill_path();
    });
    if (path.empty()) throw;
    try {
      auto data = write_spilled(bytes, std::move(path));
      impl_->run_even_if_closed([&] { impl_->runtime.count_spilled(data->size_bytes); });
      return data;
    } catch (const tasklib::base::SystemError& error) {
      throw tasklib::base::StoreFull(std::string(full.what()) +
                                     ". Writing it to disk failed: " + error.what());
    }
  }
}

std::shared_ptr<graph::ObjectData> Governor::put_directory(const std::string& path) {
  impl_->run([] {});  // is open
  auto& runtime = impl_->runtime;
  std::string target = runtime.data_directory().fresh();
  const auto size = builtin::copy_tree(path, target);
  return std::make_shared<DirectoryData>(runtime.releases(), std::move(target), size.bytes);
}

std::shared_ptr<graph::ObjectData> Governor::take_directory(const std::string& path) {
  impl_->run([] {});  // is open
  auto& runtime = impl_->runtime;
  const std::unique_ptr<char, decltype(&::free)> canonical(::realpath(path.c_str(), nullptr),
                                                           &::free);
  struct stat status;
  if (!canonical || ::stat(canonical.get(), &status) != 0)
    throw tasklib::base::SystemError("stat", path, errno);
  if (!S_ISDIR(status.st_mode))
    throw tasklib::base::Error("'" + builtin::printable(path) + "' is no directory");
  try {
    return take_path(canonical.get(), runtime.data_directory(), runtime.releases());
  } catch (const tasklib::base::SystemError& error) {
    if (error.error_number() != EXDEV) throw;
  }
  auto data = put_directory(canonical.get());
  launcher::remove_tree(canonical.get());
  return data;
}

bool Governor::owns(const Data& data) const {
  const auto& whole = whole_of(const_cast<Data&>(data));
  const auto& releases = impl_->runtime.releases();
  if (const auto* blob = dynamic_cast<const BlobData*>(&whole)) return blob->releases() == releases;
  if (const auto* directory = dynamic_cast<const DirectoryData*>(&whole))
    return directory->releases() == releases;
  return dynamic_cast<const InlineData*>(&whole) != nullptr;
}

Governor::Upload Governor::allocate(std::uint64_t size_bytes,
                                    const std::function<void()>& interrupted) {
  std::shared_ptr<BlobData> data;
  while (!data) {
    std::uint64_t seen = 0;
    impl_->run([&] {
      auto& runtime = impl_->runtime;
      try {
        data = runtime.allocate(size_bytes);
      } catch (const tasklib::base::StoreFull& full) {
        if (!runtime.make_room(size_bytes)) throw tasklib::base::StoreFull(runtime.give_up(full));
        runtime.pump();
        runtime.add_room_waiter(1);
        seen = runtime.room_changes();
      }
    });
    if (data) break;
    const Wait outcome =
        impl_->wait([&] { return impl_->runtime.room_changes() != seen; }, std::nullopt);
    impl_->run_even_if_closed([&] { impl_->runtime.add_room_waiter(-1); });
    if (outcome == Wait::interrupted && interrupted) interrupted();
  }
  data->region->map_existing(data->ref);
  unsigned char* bytes = data->region->at(data->ref);
  return {std::move(data), bytes};
}

std::optional<DataView> Governor::view(const ObjectRef& object) {
  return std::move(views({object})[0]);
}

std::vector<std::optional<DataView>> Governor::views(const std::vector<ObjectRef>& objects) {
  std::vector<std::optional<DataView>> views(objects.size());
  impl_->run([&] {
    for (std::size_t i = 0; i < objects.size(); ++i) {
      auto data = std::static_pointer_cast<Data>(objects[i]->data);
      if (auto* remote = dynamic_cast<RemoteData*>(data.get())) {
        remote->was_viewed = true;
        data = remote->local;
      }
      if (data) {
        impl_->runtime.touch(*data);
        views[i] =
            DataView{data, data->bytes(), data->path(), data->is_directory(), data->size_bytes};
      }
    }
  });
  return views;
}

std::vector<remote::TaskUpdate> Governor::updates(const std::vector<TaskRef>& tasks,
                                                  const std::unordered_set<std::int32_t>& lent) {
  std::vector<remote::TaskUpdate> updates;
  updates.reserve(tasks.size());
  impl_->run([&] {
    for (const auto& task : tasks) updates.push_back(impl_->runtime.update_of(*task, lent));
  });
  return updates;
}

std::optional<std::uint64_t> Governor::data_size(const ObjectRef& object) {
  std::optional<std::uint64_t> size;
  impl_->run([&] {
    if (object->data) size = object->data->size_bytes;
  });
  return size;
}

// ---- mirror -------------------------------------------------------------------------------------

std::shared_ptr<remote::Outgoing> Governor::outgoing() const { return impl_->mirror().outgoing(); }

void Governor::apply_updates(std::int32_t session, remote::Updates updates) {
  Mirror& mirror = impl_->mirror();
  impl_->run_even_if_closed(
      [&] { mirror.apply(session, std::move(updates), tasklib::base::Clock::now()); });
}

std::vector<graph::DataObjectId> Governor::remote_objects(const std::vector<ObjectRef>& objects) {
  std::vector<graph::DataObjectId> ids;
  if (Mirror* mirror = impl_->runtime.mirror()) impl_->run([&] { ids = mirror->ask_for(objects); });
  return ids;
}

void Governor::add_offer(const std::vector<std::string>& executors, std::uint32_t cpus,
                         std::vector<graph::Resource> resources) {
  impl_->mirror();
  const std::vector<std::string> known = impl_->type_names();
  {
    const std::lock_guard lock(impl_->late_mutex);
    for (const auto& each : executors)
      if (std::ranges::find(known, each) == known.end() &&
          std::ranges::find(impl_->late, each) == impl_->late.end())
        impl_->late.push_back(each);
  }
  impl_->run([&] { impl_->runtime.core().on_offered(cpus, std::move(resources)); });
}

void Governor::supply(graph::DataObjectId object, const std::shared_ptr<graph::ObjectData>& data) {
  Mirror& mirror = impl_->mirror();
  impl_->run([&] { mirror.supply(object, std::static_pointer_cast<Data>(data)); });
}

void Governor::lose(const std::string& message) {
  impl_->mirror();
  auto failure = std::make_shared<graph::Failure>();
  failure->kind = graph::FailureKind::connection;
  failure->message = message;
  impl_->run_even_if_closed(
      [&] { impl_->runtime.core().on_all_lost(failure, tasklib::base::Clock::now()); });
}

std::uint64_t Governor::late_updates() {
  std::uint64_t late = 0;
  impl_->run([&] { late = impl_->mirror().late_updates(); });
  return late;
}

// ---- what executors offer -----------------------------------------------------------------------

std::optional<std::vector<tasklib::wire::AnnouncedTask>> Governor::announced_tasks(
    const std::string& executor) {
  std::optional<std::vector<tasklib::wire::AnnouncedTask>> tasks;
  const auto type = impl_->type_of(executor);
  impl_->run([&] { tasks = impl_->runtime.offer(type).tasks; });
  return tasks;
}

std::optional<tasklib::wire::AnnouncedSignature> Governor::announced_signature(
    const std::string& executor, const std::string& task, bool current) {
  std::optional<tasklib::wire::AnnouncedSignature> signature;
  const auto type = impl_->type_of(executor);
  impl_->run([&] {
    const Runtime::Offer& offer = impl_->runtime.offer(type);
    if (!offer.tasks || (current && !impl_->runtime.offer_is_current(type))) return;
    for (const auto& each : *offer.tasks)
      if (each.name == task) signature = each.signature;
  });
  return signature;
}

Governor::Wait Governor::learn_tasks(const std::string& executor,
                                     std::optional<TimePoint> deadline) {
  const auto type = impl_->type_of(executor);
  if (impl_->runtime.mirror())
    throw UsageError("what executor '" + executor + "' offers is known where its tasks run");
  const Runtime::Offer& offer = impl_->runtime.offer(type);
  impl_->run([&] {
    if (!offer.tasks) impl_->runtime.start_one(type);
  });
  const Wait outcome = impl_->wait([&] { return offer.tasks || offer.failure; }, deadline);
  impl_->run([&] {
    if (offer.tasks || !offer.failure) return;
    const graph::Failure& failure = *offer.failure;
    throw tasklib::base::Error(failure.message +
                               (failure.report.empty() ? "" : "\n" + failure.report));
  });
  return outcome;
}

void Governor::write_call(const TaskRef& task, const std::string& directory) {
  Runtime::CallToReproduce reproduced;
  impl_->run([&] {
    impl_->runtime.pump();
    reproduced = impl_->runtime.call_to_reproduce(*task);
  });
  write_reproduced(std::move(reproduced.call), reproduced.inputs, directory);
}

FailurePtr Governor::failure(const TaskRef& task) {
  if (!is_over(*task)) return nullptr;
  return task->failure;
}

FailurePtr Governor::failure(const SessionRef& session) {
  FailurePtr failure;
  impl_->run_even_if_closed([&] { failure = session->failure; });
  return failure;
}

std::vector<std::string> Governor::take_warnings() {
  std::vector<std::string> warnings;
  impl_->run_even_if_closed([&] { warnings = impl_->runtime.take_warnings(); });
  return warnings;
}

void Governor::record_reports(bool on) {
  impl_->run([&] { impl_->runtime.record_reports(on); });
}

std::vector<TaskReport> Governor::take_reports() {
  std::vector<TaskReport> reports;
  impl_->run_even_if_closed([&] { reports = impl_->runtime.take_reports(); });
  return reports;
}

Progress Governor::progress(const SessionRef& session, std::size_t names) {
  Progress progress;
  impl_->run([&] {
    if (!session->closed) progress = impl_->runtime.progress(*session, names);
  });
  return progress;
}

Snapshot Governor::snapshot(std::size_t names) {
  Snapshot snapshot;
  const auto asked = tasklib::base::Clock::now();
  impl_->run([&] {
    const auto lag = tasklib::base::Clock::now() - asked;
    snapshot = impl_->runtime.snapshot(names);
    snapshot.lag_seconds = std::chrono::duration<double>(lag).count();
  });
  return snapshot;
}

void Governor::keep_failures(bool on) {
  impl_->run([&] { impl_->runtime.activity().keep_failures(on); });
}

std::vector<TaskFailure> Governor::failures(std::uint64_t after) {
  std::vector<TaskFailure> lines;
  impl_->run([&] { lines = impl_->runtime.activity().failures(after); });
  return lines;
}

void Governor::keep_runs(bool on) {
  impl_->run([&] { impl_->runtime.activity().keep_runs(on); });
}

Runs Governor::take_runs(std::size_t most, std::size_t first_name) {
  Runs runs;
  impl_->run([&] { runs = impl_->runtime.activity().take_runs(most, first_name); });
  return runs;
}

bool Governor::start_event_log(const std::string& path) {
  bool started = false;
  impl_->run([&] { started = impl_->runtime.start_event_log(path); });
  return started;
}

std::vector<TaskRef> Governor::live_tasks(const SessionRef& session) {
  std::vector<TaskRef> tasks;
  impl_->run([&] { tasks = session->live; });
  return tasks;
}

tasklib::blob::Store::Usage Governor::store_usage() {
  tasklib::blob::Store::Usage usage;
  impl_->run([&] {
    impl_->runtime.pump();
    usage = impl_->runtime.store().usage();
  });
  return usage;
}

MemoryState Governor::memory_state() {
  MemoryState state;
  impl_->run([&] { state = impl_->runtime.memory_state(); });
  return state;
}

std::vector<BlobLine> Governor::blobs() {
  std::vector<BlobLine> lines;
  impl_->run([&] {
    impl_->runtime.pump();
    lines = impl_->runtime.blobs_with_holders();
  });
  return lines;
}

std::vector<std::int32_t> Governor::executor_pids() {
  std::vector<std::int32_t> pids;
  impl_->run_even_if_closed([&] { pids = impl_->runtime.executor_pids(); });
  return pids;
}

bool Governor::launcher_lost() {
  bool lost = false;
  impl_->run_even_if_closed([&] { lost = impl_->runtime.launcher_lost(); });
  return lost;
}

std::vector<Pinged> Governor::ping(std::optional<TimePoint> deadline,
                                   const std::function<void()>& interrupted) {
  auto& runtime = impl_->runtime;
  std::uint32_t number = 0;
  impl_->run([&] { number = runtime.start_ping(); });
  std::vector<Pinged> lines;
  const auto end = [&] { impl_->run_even_if_closed([&] { lines = runtime.end_ping(number); }); };
  try {
    while (impl_->wait([&] { return impl_->closed || runtime.ping_is_answered(number); },
                       deadline) == Wait::interrupted)
      if (interrupted) interrupted();
  } catch (...) {
    end();
    throw;
  }
  end();
  return lines;
}

std::shared_ptr<LogQueue> Governor::logs() const { return impl_->runtime.logs(); }

Governor::Holdings Governor::holdings() {
  Holdings all;
  impl_->run([&] {
    for (const auto& session : impl_->sessions) {
      for (const auto& task : session->live) all.tasks.push_back(task->id);
      for (const auto& object : session->holding) all.objects.push_back(object->id);
    }
  });
  return all;
}

std::string Governor::run_directory() const { return impl_->runtime.run_directory(); }

void Governor::close() {
  if (impl_->forked) return;
  std::lock_guard lock(impl_->close_mutex);
  if (impl_->closed) return;
  impl_->loop.run([&] {
    const auto now = tasklib::base::Clock::now();
    for (auto& session : std::exchange(impl_->sessions, {})) {
      impl_->runtime.core().on_close_session(session, now);
      impl_->runtime.failed_inputs().forget(*session);
      session->closed = true;
      impl_->runtime.pump();
      if (Mirror* mirror = impl_->runtime.mirror()) mirror->closed(*session);
      impl_->runtime.note_session(*session, "closed");
      impl_->runtime.forget_progress(*session);
    }
    impl_->closed = true;
  });
  impl_->loop.stop();
  impl_->loop.run([&] { impl_->runtime.close(); });
}

bool Governor::closed() const { return impl_->closed; }

void Governor::abandon_after_fork() noexcept {
  impl_->forked = true;
  impl_->loop.abandon_after_fork();
  impl_->runtime.abandon_after_fork();
}

}  // namespace rain
