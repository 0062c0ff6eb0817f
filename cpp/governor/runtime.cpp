#include "runtime.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "base/syscall.h"
#include "blob/memory_limit.h"
#include "epoll.h"
#include "launcher/remove_tree.h"
#include "process/death_report.h"
#include "process/memory_use.h"
#include "process/run_directory.h"

namespace rain {

using tasklib::base::checked;
using tasklib::base::Clock;
using tasklib::base::Duration;
using tasklib::base::ExecutorId;
using tasklib::base::SystemError;
using tasklib::base::TimePoint;
using tasklib::base::UniqueFd;
using tasklib::blob::kClient;
using tasklib::wire::Protocol;

namespace {

constexpr auto kCloseGrace = std::chrono::milliseconds(200);  // for idle executors to finish
constexpr int kEventsAtOnce = 64;

/// What tasks may use together: the machine's memory, or what the cgroup leaves.
std::uint64_t memory_of_machine() {
  const std::uint64_t all = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                            static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return std::min(all, tasklib::blob::memory_headroom_bytes().value_or(all));
}

graph::Core::Options core_options(const GovernorOptions& options, const MethodTable& methods) {
  graph::Core::Options result;
  result.cpus = options.cpus;
  for (const auto& spec : options.executors)
    result.types.push_back({spec.prestart, spec.max_processes, spec.idle_time});
  result.resources = options.resources;
  result.mirror = options.mirror;
  if (!options.mirror || options.task_memory_bytes > 0 || !options.resources.empty())
    result.resources.push_back({graph::kMemoryResource, options.task_memory_bytes
                                                            ? options.task_memory_bytes
                                                            : memory_of_machine()});
  result.method_name = [&methods](std::uint32_t method) { return methods.name(method); };
#ifndef NDEBUG
  result.check_invariants = true;
#endif
  return result;
}

tasklib::blob::Store::Limits store_limits(const GovernorOptions& options) {
  tasklib::blob::Store::Limits limits;
  limits.budget_bytes =
      options.memory_bytes ? options.memory_bytes : tasklib::blob::default_budget_bytes();
  return limits;
}

std::vector<std::string> current_environment() {
  std::vector<std::string> result;
  // What one governor says to its executors is not for the executors of another inside of them.
  constexpr std::string_view kOurs = "RAIN_EXECUTOR_";
  for (char** entry = environ; entry && *entry; ++entry)
    if (std::string_view(*entry).substr(0, kOurs.size()) != kOurs) result.emplace_back(*entry);
  return result;
}

std::vector<process::ProgramFiles> program_files(const GovernorOptions& options) {
  std::vector<process::ProgramFiles> result;
  for (const auto& spec : options.executors) result.emplace_back(spec.argv);
  return result;
}

}  // namespace

Runtime::Runtime(const GovernorOptions& options)
    : cpus_(options.cpus),
      inline_limit_bytes_(options.inline_limit_bytes ? options.inline_limit_bytes
                                                     : kInlineLimitBytes),
      specs_(options.executors),
      run_directory_(process::make_run_directory(options.run_directory_parent)),
      data_directory_(run_directory_ + "/data"),
      began_(Clock::now()),
      environment_(current_environment()),
      programs_(program_files(options)),
      resources_(options.resources),
      core_(core_options(options, methods_)),
      mirror_(options.mirror ? std::make_unique<Mirror>(core_, shared_methods_) : nullptr),
      store_(store_limits(options)),
      spill_(options.spill, options.spill_directory, run_directory_),
      offers_(options.executors.size()) {
  try {
    checked("mkdir", data_directory_.path(),
            [&] { return ::mkdir(data_directory_.path().c_str(), 0700); });
    spill_.check();
    epoll_ = UniqueFd(checked("epoll_create1", "", [] { return ::epoll_create1(EPOLL_CLOEXEC); }));
    timer_ = UniqueFd(checked("timerfd_create", "", [] {
      return ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    }));
    wake_ =
        UniqueFd(checked("eventfd", "", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }));
    releases_->wake_with(
        UniqueFd(checked("dup", "", [&] { return ::fcntl(wake_.get(), F_DUPFD_CLOEXEC, 0); })));
    oom_kills_ = process::kernel_oom_kills();
    launcher_.emplace(options.launcher_program, run_directory_);
    watch_events(epoll_.get(), timer_.get(), tag(Source::timer), EPOLLIN);
    watch_events(epoll_.get(), wake_.get(), tag(Source::wake), EPOLLIN);
    watch_events(epoll_.get(), launcher_->fd(), tag(Source::launcher), EPOLLIN);
    if (!options.events_file.empty()) events_ = std::make_unique<EventLog>(options.events_file);
    record_reports(false);
    note_client("opened");
  } catch (...) {
    launcher::remove_tree(run_directory_.c_str());
    throw;
  }
}

Runtime::~Runtime() {
  close();
  releases_->close();
}

Runtime::Events Runtime::iterate(int timeout_ms) {
  epoll_event events[kEventsAtOnce];
  const int count = ::epoll_wait(epoll_.get(), events, kEventsAtOnce, timeout_ms);
  if (count < 0) {
    if (errno == EINTR) return Events::interrupted;
    throw SystemError("epoll_wait", "", errno);
  }
  if (count == 0) return Events::none;
  ++room_changes_;
  for (int i = 0; i < count; ++i) {
    const auto source = static_cast<Source>(events[i].data.u64 >> 32);
    std::uint64_t ignored;
    switch (source) {
      case Source::launcher:
        on_launcher();
        break;
      case Source::timer:
        (void)!::read(timer_.get(), &ignored, sizeof ignored);
        armed_.reset();
        tick(Clock::now());
        break;
      case Source::wake:
        (void)!::read(wake_.get(), &ignored, sizeof ignored);
        builtin_.finish_done();
        break;
      case Source::executor:
        on_executor_event(ExecutorId{static_cast<std::uint32_t>(events[i].data.u64)},
                          events[i].events);
        break;
    }
  }
  pump();
  return Events::handled;
}

void Runtime::wake() {
  const std::uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

void Runtime::pump() {
  if (pumping_) return;
  pumping_ = true;
  while (true) {
    core_.take_commands(commands_);
    if (commands_.empty()) break;
    for (auto& command : commands_) {
      if (auto* c = std::get_if<graph::SendCall>(&command)) {
        send_call(*c);
      } else if (auto* c = std::get_if<graph::TaskChanged>(&command)) {
        changed(*c);
      } else if (auto* c = std::get_if<graph::DropData>(&command)) {
        data_dropped(*c);
      } else if (auto* c = std::get_if<graph::SpawnExecutor>(&command)) {
        spawn(*c);
      } else if (auto* c = std::get_if<graph::EndExecutor>(&command)) {
        end(*c);
      } else if (auto* c = std::get_if<graph::Retract>(&command)) {
        retract(*c);
      } else if (auto* c = std::get_if<graph::RequestCancel>(&command)) {
        if (is_builtin(c->task->type)) {
          builtin_.request_cancel(*c);
          continue;
        }
        auto found = sessions_.find(c->executor);
        if (found != sessions_.end()) {
          found->second->request_cancel(c->task->sequence);
          dirty_.push_back(found->second.get());
        }
      } else if (auto* c = std::get_if<graph::KillExecutor>(&command)) {
        auto found = sessions_.find(c->executor);
        if (found != sessions_.end()) {
          put_down(*found->second, "it did not stop a cancelled task");
        } else {
          builtin_.kill(*c);
        }
      } else if (auto* c = std::get_if<graph::SessionFailed>(&command)) {
        ++changes_;
        note_session(*c->session, "failed");
      }
    }
  }
  if (mirror_) mirror_->flush();
  flush_dropped();
  failed_inputs_.forget_abandoned();
  drain_releases(Clock::now());
  flush_freed();
  if (!waiting_leases_.empty()) serve_waiting();
  if (room_waiters_ > 0) ++changes_;
  for (const auto& queue : std::exchange(to_signal_, {})) queue->signal();
  auto dirty = std::exchange(dirty_, {});
  for (auto* session : dirty) {
    if (session->dirty) flush(*session);
  }
  if (std::exchange(store_changed_, false)) store_tick_ = store_.tick(Clock::now());
  arm_timer();
  pumping_ = false;
}

void Runtime::drain_releases(TimePoint now) {
  auto released = releases_->take();
  builtin_.remove_trees(std::move(released.directories));
  if (released.refs.empty()) return;
  for (const auto& ref : released.refs) store_.release(ref, now);
  ++room_changes_;
  store_changed_ = true;
}

void Runtime::flush_freed() {
  const auto freed_of_client = store_.take_freed(kClient);
  for (const auto& freed : freed_of_client) {
    for (const auto& extent : freed.extents) {
      client_arena_.free({freed.region, extent.offset_bytes, extent.size_bytes});
    }
  }
  if (!freed_of_client.empty()) give_up_idle_leases();
  for (auto& [id, session] : sessions_) {
    if (!session->registered() || session->protocol() != Protocol::cbor2) continue;
    // A process without calls is not woken for this: it hears of it together with the next one.
    if (session->in_flight() > 0 || session->dirty)
      for (auto& freed : store_.take_freed(id)) session->send(std::move(freed));
    for (auto region : store_.take_dropped(id)) session->send(tasklib::wire::RegionDropped{region});
    if (session->dirty) dirty_.push_back(session.get());
  }
}

void Runtime::give_up_idle_leases() {
  for (const auto region : client_arena_.give_up_idle_leases()) {
    store_.return_lease(kClient, region, Clock::now());
    store_changed_ = true;
  }
}

void Runtime::flush(Session& session) {
  if (session.exited) return;
  if (session.flush() == Session::Peer::gone) return;  // reading will find out
  if (session.wants_to_write() != session.write_armed) {
    session.write_armed = session.wants_to_write();
    watch_events(epoll_.get(), session.fd(), tag(Source::executor, session.id.value),
                 EPOLLIN | (session.write_armed ? EPOLLOUT : 0u), true);
  }
}

void Runtime::tick(TimePoint now) {
  if (sample_at_ && *sample_at_ <= now) sample_memory(now);
  core_.on_tick(now);
  store_tick_ = store_.tick(now);
  builtin_.tick(now);
  starts_.tick(now);
  std::vector<Session*> late;
  for (auto& [id, session] : sessions_) {
    if (session->deadline && *session->deadline <= now) late.push_back(session.get());
  }
  for (auto* session : late) {
    session->deadline.reset();
    if (session->registered()) {
      put_down(*session, "it closed its connection without ending");
    } else if (session->hung_up) {
      put_down(*session, "Closed connection without registration");
    } else {
      const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(
          specs_[session->type].start_deadline);
      put_down(*session,
               "it did not register within " + process::duration_text(limit) +
                   (session->connected() ? " of its start, though it connected"
                                         : " of its start: it never connected. Does the program "
                                           "call Executor::start()?"));
    }
  }
}

void Runtime::arm_timer() {
  std::optional<TimePoint> next = core_.next_tick();
  const auto consider = [&](const std::optional<TimePoint>& when) {
    if (when && (!next || *when < *next)) next = when;
  };
  consider(store_tick_);
  consider(sample_at_);
  consider(builtin_.next_tick());
  consider(starts_.next_tick());
  for (const auto& [id, session] : sessions_) consider(session->deadline);
  // One that comes too early costs less than setting it again and again.
  if (!next || (armed_ && *armed_ <= *next)) return;
  armed_ = next;
  itimerspec spec{};
  const auto since = std::max<std::int64_t>(
      1, std::chrono::duration_cast<Duration>(next->time_since_epoch()).count());
  spec.it_value.tv_sec = since / 1'000'000'000;
  spec.it_value.tv_nsec = since % 1'000'000'000;
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
}

std::shared_ptr<BlobData> Runtime::allocate(std::uint64_t size_bytes) {
  auto allocation = client_arena_.allocate(size_bytes);
  if (!allocation) {
    drain_releases(Clock::now());
    flush_freed();
    give_up_idle_leases();  // too small for this one; warm for the next
    auto lease = this->lease(kClient, size_bytes);
    populate(lease.region, size_bytes);
    client_arena_.add_lease(lease.region, lease.free);
    allocation = client_arena_.allocate(size_bytes);
    if (!allocation) throw tasklib::base::Error("a fresh lease has no room");
  }
  store_.seal(kClient, allocation->ref);
  client_arena_.seal(allocation->ref);
  auto data = std::make_shared<BlobData>(releases_, allocation->region, allocation->ref);
  touch(*data);
  return data;
}

void Runtime::changed(const graph::TaskChanged& command) {
  if (mirror_) mirror_->changed(command);
  if (!tallies_.empty()) count(command);
  if (!graph::is_terminal(command.to)) {
    if (command.to == graph::TaskState::assigned) {
      command.task->began = {};
      starts_.assigned(command.task, command.when);
    }
    if (events_) note_change(command);
    return;
  }
  ++changes_;
  if (command.to == graph::TaskState::failed) failed_inputs_.failed(command.task);
  if (activity_.keeps_runs() || activity_.keeps_failures()) remember(command);
  if (recording_ || events_) {
    TaskReport line = report(command);
    if (events_) note_end(line, command);
    if (recording_) reports_.push_back(std::move(line));
  }
  if (command.task->watched) tell_watchers(command.task);
}

void Runtime::tell_watchers(const graph::TaskRef& task) {
  const auto [first, last] = watchers_.equal_range(task.get());
  for (auto entry = first; entry != last; ++entry) {
    auto queue = entry->second.lock();
    if (!queue) continue;
    queue->push(task);
    if (std::find(to_signal_.begin(), to_signal_.end(), queue) == to_signal_.end())
      to_signal_.push_back(std::move(queue));
  }
  watchers_.erase(first, last);
}

void Runtime::watch(const std::vector<graph::TaskRef>& tasks,
                    const std::shared_ptr<CompletionQueue>& queue) {
  for (const auto& task : tasks) {
    task->watched = true;
    watchers_.emplace(task.get(), queue);
    if (graph::is_terminal(task->state.load(std::memory_order_relaxed))) tell_watchers(task);
  }
}

void Runtime::data_dropped(const graph::DropData& command) {
  if (mirror_) mirror_->dropped(command);
  if (events_) note_dropped(*command.object);
  failed_inputs_.dropped(*command.object, command.data);
  if (cached_.empty()) return;
  auto found = cached_.find(command.object->id);
  if (found == cached_.end()) return;
  for (const auto id : found->second) {
    auto session = sessions_.find(id);
    if (session == sessions_.end()) continue;
    session->second->cached.erase(command.object->id);
    session->second->send(tasklib::wire::DropCached{{command.object->id}});
    dirty_.push_back(session->second.get());
  }
  cached_.erase(found);
}

std::vector<std::int32_t> Runtime::executor_pids() const {
  std::vector<std::int32_t> pids;
  for (const auto& [id, session] : sessions_) {
    if (session->pid) pids.push_back(session->pid);
  }
  return pids;
}

void Runtime::close() {
  if (!launcher_) return;
  store_.stop_populating();
  builtin_.close();
  if (!launcher_gone_) {
    const auto deadline = Clock::now() + kCloseGrace;
    for (auto& [id, session] : sessions_) {
      session->spare = false;  // that it doesn't get to start is nobody's concern now
      if (session->registered() && session->protocol() == Protocol::cbor2 &&
          session->in_flight() == 0) {
        session->send(tasklib::wire::Shutdown{});
        session->flush();
      } else {
        put_down(*session, "the Client was closed");
      }
    }
    while (!sessions_.empty() && !launcher_gone_ && Clock::now() < deadline) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
      iterate(static_cast<int>(left.count()) + 1);
    }
  }
  launcher_->close();
  launcher_.reset();
  for (auto& [id, session] : sessions_) store_.drop_holder(id, Clock::now());
  sessions_.clear();
  dirty_.clear();
  watchers_.clear();
  pings_.clear();
  ++changes_;
  logs_->close();
  if (events_) {
    note_client("closed");
    auto log = std::move(events_);
    log->finish();
    std::string trouble = log->take_trouble();
    if (!trouble.empty()) warnings_.push_back(std::move(trouble));
  }
}

void Runtime::abandon_after_fork() noexcept {
  if (launcher_) launcher_->abandon_after_fork();
  epoll_.reset();
  timer_.reset();
  wake_.reset();
  releases_->abandon_after_fork();
  for (auto& [id, session] : sessions_) session->abandon_after_fork();
  if (events_) events_->abandon_after_fork();
}

}  // namespace rain
