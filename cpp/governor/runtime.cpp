#include "runtime.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/errors.h"
#include "base/syscall.h"
#include "launcher/remove_tree.h"
#include "process/death_report.h"
#include "process/log_tail.h"
#include "process/run_directory.h"

namespace rain {

using graph::Failure;
using graph::FailureKind;
using graph::FailurePtr;
using graph::TaskRecord;
using graph::TaskState;
using process::InFlight;
using tasklib::base::ByteView;
using tasklib::base::checked;
using tasklib::base::Clock;
using tasklib::base::DataObjectId;
using tasklib::base::Duration;
using tasklib::base::ExecutorId;
using tasklib::base::ProtocolError;
using tasklib::base::StoreFull;
using tasklib::base::SystemError;
using tasklib::base::TimePoint;
using tasklib::base::UniqueFd;
using tasklib::blob::kClient;
using tasklib::wire::BlobRef;
using tasklib::wire::DataType;
using tasklib::wire::Protocol;

namespace {

constexpr auto kDeathGrace = std::chrono::milliseconds(200);  // between end of file and exit
constexpr auto kCloseGrace = std::chrono::milliseconds(200);  // for idle executors to finish
constexpr std::size_t kStderrLines = 20;
constexpr int kEventsAtOnce = 64;
constexpr int kReadsOfTheDead = 4096;

// What an epoll event is about.
enum class Source : std::uint32_t { launcher, timer, wake, executor };

std::uint64_t tag(Source source, std::uint32_t id = 0) {
  return static_cast<std::uint64_t>(source) << 32 | id;
}

void watch(int epoll, int fd, std::uint64_t data, std::uint32_t events, bool change = false) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  checked("epoll_ctl", "",
          [&] { return ::epoll_ctl(epoll, change ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event); });
}

std::vector<std::string> current_environment() {
  std::vector<std::string> result;
  for (char** entry = environ; entry && *entry; ++entry) result.emplace_back(*entry);
  return result;
}

void set_variable(std::vector<std::string>& environment, const std::string& entry) {
  const std::string prefix = entry.substr(0, entry.find('=') + 1);
  for (auto& existing : environment) {
    if (existing.compare(0, prefix.size(), prefix) == 0) {
      existing = entry;
      return;
    }
  }
  environment.push_back(entry);
}

std::string data_type_name(DataType type) { return type == DataType::blob ? "blob" : "dir"; }

FailurePtr make_failure(FailureKind kind, const TaskRecord& task, std::string message) {
  auto failure = std::make_shared<Failure>();
  failure->kind = kind;
  failure->origin = task.id;
  failure->message = std::move(message);
  return failure;
}

/// A task's output could not be taken: the task's own error, the executor stays.
class OutputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

graph::Core::Options core_options(const GovernorOptions& options) {
  graph::Core::Options result;
  result.cpus = options.cpus;
#ifdef RAIN_CHECK_INVARIANTS
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

}  // namespace

std::uint32_t MethodTable::intern(const std::string& task_type) {
  std::lock_guard lock(mutex_);
  auto [found, added] = numbers_.try_emplace(task_type, static_cast<std::uint32_t>(names_.size()));
  if (added) names_.push_back(std::make_unique<const std::string>(task_type));
  return found->second;
}

const std::string& MethodTable::name(std::uint32_t method) const {
  std::lock_guard lock(mutex_);
  return *names_.at(method);
}

Runtime::Runtime(const GovernorOptions& options)
    : cpus_(options.cpus),
      specs_(options.executors),
      run_directory_(process::make_run_directory(options.run_directory_parent)),
      began_(Clock::now()),
      environment_(current_environment()),
      core_(core_options(options)),
      store_(store_limits(options)) {
  try {
    checked("mkdir", run_directory_ + "/data",
            [&] { return ::mkdir((run_directory_ + "/data").c_str(), 0700); });
    epoll_ = UniqueFd(checked("epoll_create1", "", [] { return ::epoll_create1(EPOLL_CLOEXEC); }));
    timer_ = UniqueFd(checked("timerfd_create", "", [] {
      return ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    }));
    wake_ =
        UniqueFd(checked("eventfd", "", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }));
    releases_->wake_with(
        UniqueFd(checked("dup", "", [&] { return ::fcntl(wake_.get(), F_DUPFD_CLOEXEC, 0); })));
    launcher_.emplace(options.launcher_program, run_directory_);
    rain::watch(epoll_.get(), timer_.get(), tag(Source::timer), EPOLLIN);
    rain::watch(epoll_.get(), wake_.get(), tag(Source::wake), EPOLLIN);
    rain::watch(epoll_.get(), launcher_->fd(), tag(Source::launcher), EPOLLIN);
  } catch (...) {
    launcher::remove_tree(run_directory_);
    throw;
  }
}

Runtime::~Runtime() {
  close();
  releases_->close();
}

// ---- the loop ----------------------------------------------------------------------------------

Runtime::Events Runtime::iterate(int timeout_ms) {
  epoll_event events[kEventsAtOnce];
  const int count = ::epoll_wait(epoll_.get(), events, kEventsAtOnce, timeout_ms);
  if (count < 0) {
    if (errno == EINTR) return Events::interrupted;
    throw SystemError("epoll_wait", "", errno);
  }
  if (count == 0) return Events::none;
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
      } else if (auto* c = std::get_if<graph::Retract>(&command)) {
        retract(*c);
      } else if (auto* c = std::get_if<graph::RequestCancel>(&command)) {
        auto found = sessions_.find(c->executor);
        if (found != sessions_.end()) {
          found->second->request_cancel(c->task->sequence);
          dirty_.push_back(found->second.get());
        }
      } else if (auto* c = std::get_if<graph::KillExecutor>(&command)) {
        auto found = sessions_.find(c->executor);
        if (found != sessions_.end()) {
          put_down(*found->second, "it did not stop a cancelled task");
        }
      } else if (std::get_if<graph::SessionFailed>(&command)) {
        ++changes_;
      }
    }
  }
  drain_releases(Clock::now());
  flush_freed();
  auto dirty = std::exchange(dirty_, {});
  for (auto* session : dirty) {
    if (session->dirty) flush(*session);
  }
  arm_timer();
  pumping_ = false;
}

void Runtime::drain_releases(TimePoint now) {
  auto refs = releases_->take();
  if (refs.empty()) return;
  for (const auto& ref : refs) store_.release(ref, now);
  store_tick_ = store_.tick(now);
}

void Runtime::flush_freed() {
  for (auto& freed : store_.take_freed(kClient)) {
    for (const auto& extent : freed.extents) {
      client_arena_.free({freed.region, extent.offset_bytes, extent.size_bytes});
    }
  }
  for (auto& [id, session] : sessions_) {
    if (!session->registered() || session->protocol() != Protocol::cbor2) continue;
    for (auto& freed : store_.take_freed(id)) session->send(std::move(freed));
    for (auto region : store_.take_dropped(id)) session->send(tasklib::wire::RegionDropped{region});
    if (session->dirty) dirty_.push_back(session.get());
  }
}

void Runtime::flush(Session& session) {
  if (session.exited) return;
  if (session.flush() == Session::Peer::gone) return;  // reading will find out
  if (session.wants_to_write() != session.write_armed) {
    session.write_armed = session.wants_to_write();
    rain::watch(epoll_.get(), session.fd(), tag(Source::executor, session.id.value),
                EPOLLIN | (session.write_armed ? EPOLLOUT : 0u), true);
  }
}

void Runtime::tick(TimePoint now) {
  core_.on_tick(now);
  store_tick_ = store_.tick(now);
  std::vector<Session*> late;
  for (auto& [id, session] : sessions_) {
    if (session->deadline && *session->deadline <= now) late.push_back(session.get());
  }
  for (auto* session : late) {
    session->deadline.reset();
    if (session->registered()) {
      put_down(*session, "it closed its connection without ending");
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
  for (const auto& [id, session] : sessions_) consider(session->deadline);
  if (next == armed_) return;
  armed_ = next;
  itimerspec spec{};
  if (next) {
    const auto since = std::max<std::int64_t>(
        1, std::chrono::duration_cast<Duration>(next->time_since_epoch()).count());
    spec.it_value.tv_sec = since / 1'000'000'000;
    spec.it_value.tv_nsec = since % 1'000'000'000;
  }
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr);
}

// ---- processes ---------------------------------------------------------------------------------

void Runtime::spawn(const graph::SpawnExecutor& command) {
  const ExecutorSpec& spec = specs_[command.type];
  const auto now = Clock::now();
  try {
    if (launcher_gone_) {
      throw tasklib::base::Error(
          "nothing can be started any more: the launcher of this Client was killed. Create a new "
          "Client");
    }
    const auto paths = process::make_executor_paths(run_directory_, command.executor.value);
    auto session = std::make_unique<Session>(command.executor, command.type, spec.name,
                                             paths.directory, paths.socket_path);
    session->started = now;
    session->deadline = now + spec.start_deadline;
    process::LauncherClient::SpawnRequest request;
    request.key = command.executor.value;
    request.argv = spec.argv;
    request.env = environment_;
    for (const auto& entry : spec.env) set_variable(request.env, entry);
    set_variable(request.env, "RAIN_EXECUTOR_SOCKET=" + paths.socket_path);
    set_variable(request.env, "RAIN_EXECUTOR_ID=" + std::to_string(command.executor.value));
    set_variable(request.env, "RAIN_EXECUTOR_PROTOCOLS=cbor-2@" + paths.socket_path);
    request.working_directory = paths.directory;
    request.stdout_path = paths.stdout_path;
    request.stderr_path = paths.stderr_path;
    launcher_->spawn(request);
    session->stderr_path = paths.stderr_path;
    watch_fd(*session);
    sessions_.emplace(command.executor, std::move(session));
  } catch (const std::exception& error) {
    auto failure = std::make_shared<Failure>();
    failure->kind = launcher_gone_ ? FailureKind::launcher : FailureKind::executor;
    failure->message = "Executor '" + spec.name + "' could not be started: " + error.what();
    core_.on_executor_lost(command.executor, failure, {}, now);
  }
}

void Runtime::watch_fd(Session& session) {
  rain::watch(epoll_.get(), session.fd(), tag(Source::executor, session.id.value), EPOLLIN);
}

void Runtime::on_executor_event(ExecutorId id, std::uint32_t events) {
  auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  if (!session.connected()) {
    if (session.accept(*this)) watch_fd(session);
    return;
  }
  if (events & EPOLLOUT) flush(session);
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_from(session);
}

void Runtime::read_from(Session& session) {
  if (session.kill_sent && !session.trouble.empty()) {
    // It is being put down: what it says no longer counts, but a readable socket would spin.
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, session.fd(), nullptr);
    return;
  }
  try {
    if (session.receive(*this) == Session::Peer::open) return;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, session.fd(), nullptr);
    // Usually the process is ending and its exit comes in a moment; it says more than this does.
    session.deadline = Clock::now() + kDeathGrace;
    if (!session.registered()) {
      session.deadline.reset();
      put_down(session, "Closed connection without registration");
    }
  } catch (const ProtocolError& error) {
    put_down(session, error.what());
  }
}

void Runtime::put_down(Session& session, const std::string& trouble) {
  if (session.exited) return;
  if (session.trouble.empty()) session.trouble = trouble;
  session.deadline.reset();
  if (session.kill_sent || launcher_gone_) return;
  session.kill_sent = true;
  try {
    launcher_->kill(session.id.value);
  } catch (const SystemError&) {
    // The launcher is gone; its end of file says so next.
  }
}

void Runtime::on_launcher() {
  while (auto report = launcher_->next_report()) {
    auto found = sessions_.find(ExecutorId{report->key});
    if (found == sessions_.end()) continue;
    Session& session = *found->second;
    if (report->kind == launcher::ReportKind::started) {
      session.pid = report->pid;
    } else {
      bury(session, *report);
    }
  }
  if (launcher_->gone() && !launcher_gone_) on_launcher_gone();
}

void Runtime::on_launcher_gone() {
  launcher_gone_ = true;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, launcher_->fd(), nullptr);
  auto failure = std::make_shared<Failure>();
  failure->kind = FailureKind::launcher;
  failure->message =
      "The launcher, which starts and watches this Client's executors, was killed; its executors "
      "ended with it. Create a new Client";
  core_.on_all_lost(failure, Clock::now());
  for (auto& [id, session] : sessions_) store_.drop_holder(id, Clock::now());
  sessions_.clear();
  dirty_.clear();
  cached_.clear();
}

void Runtime::bury(Session& session, const std::optional<launcher::Report>& report) {
  const auto now = Clock::now();
  if (session.connected() && session.registered() && session.trouble.empty()) {
    // Results that it sent before it died still count. (A bound: somebody else could hold the
    // socket open.)
    try {
      for (int i = 0; i < kReadsOfTheDead; ++i) {
        if (session.receive(*this) == Session::Peer::gone) break;
      }
    } catch (const ProtocolError& error) {
      session.trouble = error.what();
    }
  }
  session.exited = true;

  std::vector<TaskRecord*> begun;
  process::ExecutorDeath death;
  std::vector<Session::Lost> lost;
  if (session.registered()) lost = session.take_all();
  for (const auto& call : lost) {
    if (!call.begun) continue;
    begun.push_back(call.call.task.get());
    death.tasks.push_back(methods_.name(call.call.task->method));
  }
  death.executor_type = session.type_name;
  death.executor_id = session.id.value;
  death.phase = !session.registered() ? process::ExecutorDeath::Phase::starting
                : death.tasks.empty() ? process::ExecutorDeath::Phase::idle
                                      : process::ExecutorDeath::Phase::running;
  death.trouble = session.trouble;
  death.exit = report;
  death.stderr_path = session.stderr_path;
  death.stderr_tail = process::tail_lines(session.stderr_path, kStderrLines);

  auto failure = std::make_shared<Failure>();
  failure->kind = FailureKind::executor;
  if (report && report->kind == launcher::ReportKind::spawn_failed) {
    std::string command;
    for (const auto& word : specs_[session.type].argv)
      command += (command.empty() ? "" : " ") + word;
    failure->message = process::spawn_failure_text(*report, command, session.directory);
  } else {
    failure->message = process::death_headline(death);
    failure->report = process::death_details(death);
  }
  store_.drop_holder(session.id, now);
  for (const auto& id : session.cached) std::erase(cached_[id], session.id);
  core_.on_executor_lost(session.id, failure, begun, now);
  launcher::remove_tree(session.directory);
  std::erase(dirty_, &session);
  sessions_.erase(session.id);
}

void Runtime::on_registered(Session& session) {
  session.deadline.reset();
  if (session.protocol() == Protocol::cbor2) session.send_welcome(kInlineLimitBytes);
  dirty_.push_back(&session);
  core_.on_executor_ready(session.id, session.traits(), Clock::now());
}

void Runtime::on_warning(const std::string& text) { warnings_.push_back(text); }

// ---- calls -------------------------------------------------------------------------------------

void Runtime::send_call(const graph::SendCall& command) {
  auto found = sessions_.find(command.executor);
  if (found == sessions_.end()) return;  // its end is on the way to the Core
  Session& session = *found->second;
  TaskRecord& task = *command.task;
  const TaskAnnex* annex = annex_of(task);
  auto& call = scratch_call_;
  InFlight flight;
  flight.task = command.task;
  flight.sent = recording_ ? Clock::now() : TimePoint{};
  try {
    call.spec.id = task.id;
    call.spec.task_type = methods_.name(task.method);
    call.spec.cpus = task.cpus;
    call.spec.inputs.resize(task.inputs.size());
    call.spec.outputs.resize(task.outputs.size());
    call.inputs.resize(task.inputs.size());
    call.outputs.resize(task.outputs.size());
    call.spec.name = annex ? annex->name : std::string();
    call.spec.config = annex ? annex->config : std::string();
    if (annex) {
      call.spec.user = annex->user;
    } else {
      call.spec.user.clear();
    }
    task.input_bytes = 0;
    for (std::size_t i = 0; i < task.inputs.size(); ++i) {
      const auto& object = *task.inputs[i];
      call.spec.inputs[i].id = object.id;
      call.spec.inputs[i].label =
          annex && !annex->input_labels.empty() ? annex->input_labels[i] : std::string();
      fill_input(session, call.inputs[i], object, flight.views);
      task.input_bytes += object.data->size_bytes;
    }
    for (std::size_t i = 0; i < task.outputs.size(); ++i) {
      const auto& object = *task.outputs[i];
      auto& output = call.outputs[i];
      call.spec.outputs[i] = object.id;
      output.spec.id = object.id;
      const ObjectAnnex* own = annex_of(object);
      output.spec.label = own ? own->label : std::string();
      output.spec.content_type = own ? own->content_type : std::string();
      output.spec.data_type = own ? own->data_type : DataType::blob;
      if (own) {
        output.spec.user = own->user;
      } else {
        output.spec.user.clear();
      }
      output.cache_hint = true;
    }
    session.send_call(call, std::move(flight));
    dirty_.push_back(&session);
  } catch (const std::exception& error) {
    end_views(session, flight, {});
    core_.on_task_failed(command.executor, task,
                         make_failure(FailureKind::task, task,
                                      std::string("The call could not be sent: ") + error.what()),
                         Duration{0}, Clock::now());
  }
}

void Runtime::fill_input(Session& session, tasklib::wire::ObjectIn& input,
                         const graph::ObjectRecord& object, std::vector<BlobRef>& views) {
  const ObjectAnnex* annex = annex_of(object);
  input.spec.id = object.id;
  input.spec.label = annex ? annex->label : std::string();
  input.spec.content_type = annex ? annex->content_type : std::string();
  input.spec.data_type = annex ? annex->data_type : DataType::blob;
  if (annex) {
    input.spec.user = annex->user;
  } else {
    input.spec.user.clear();
  }
  if (!input.info) input.info.emplace();
  if (const auto* info = result_of(object)) {
    *input.info = *info;
  } else {
    *input.info = {};
  }
  auto& data = static_cast<Data&>(*object.data);
  input.info->size = data.size_bytes;
  input.cache_hint = true;

  if (session.protocol() == Protocol::cbor1) {
    if (session.cached.count(object.id)) {
      input.location = tasklib::wire::Cached{};
    } else if (data.size_bytes >= kPathLimitBytes || !data.file.empty()) {
      input.location = tasklib::wire::Path{file_of(data)};
    } else {
      input.location = tasklib::wire::Memory{data.bytes()};
    }
    return;
  }
  if (auto* blob = dynamic_cast<BlobData*>(&data)) {
    const bool new_region = store_.add_view(session.id, blob->ref);
    views.push_back(blob->ref);
    if (new_region) {
      tasklib::wire::Region region;
      region.id = blob->region->id();
      region.size_bytes = blob->region->size_bytes();
      session.send(region, blob->region->open_read_only());
    }
    input.location = blob->ref;
    return;
  }
  views.push_back(BlobRef{});
  if (dynamic_cast<FileData*>(&data)) {
    input.location = tasklib::wire::Path{data.file};
  } else {
    input.location = tasklib::wire::Memory{data.bytes()};
  }
}

const std::string& Runtime::file_of(Data& data) {
  if (!data.file.empty()) return data.file;
  const std::string path = run_directory_ + "/data/" + std::to_string(++last_file_);
  UniqueFd fd(checked("open", path, [&] {
    return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
  }));
  ByteView left = data.bytes();
  while (left.size > 0) {
    const ssize_t count =
        tasklib::base::retry_interrupted([&] { return ::write(fd.get(), left.data, left.size); });
    if (count <= 0) {
      const int error = errno;
      ::unlink(path.c_str());
      throw SystemError("write", path, error);
    }
    left = ByteView(left.data + count, left.size - static_cast<std::size_t>(count));
  }
  data.file = path;
  return data.file;
}

void Runtime::end_views(Session& session, const InFlight& call,
                        const std::vector<std::uint32_t>& held) {
  for (std::size_t i = 0; i < call.views.size(); ++i) {
    if (!call.views[i].region) continue;
    if (std::find(held.begin(), held.end(), i) == held.end()) {
      store_.drop_view(session.id, call.views[i], Clock::now());
    }
  }
}

void Runtime::retract(const graph::Retract& command) {
  auto found = sessions_.find(command.executor);
  if (found == sessions_.end()) return;
  const auto now = Clock::now();
  if (auto call = found->second->retract(command.task->sequence)) {
    end_views(*found->second, *call, {});
    core_.on_retracted(command.executor, *command.task, now);
  } else {
    core_.on_retract_refused(command.executor, *command.task, now);
  }
}

// ---- results -----------------------------------------------------------------------------------

void Runtime::on_result(Session& session, InFlight call, tasklib::wire::Result& result) {
  TaskRecord& task = *call.task;
  const auto now = Clock::now();
  const Duration run_time = session.protocol() == Protocol::cbor2
                                ? Duration(static_cast<std::int64_t>(result.duration_ns))
                                : Duration{0};
  end_views(session, call, result.held);
  for (const auto index : result.held) {
    if (index >= call.views.size() || !call.views[index].region) {
      throw ProtocolError("holds input " + std::to_string(index) + ", which is no shared blob");
    }
  }
  for (const auto& id : result.cached_objects) {
    const bool known = session.cached.count(id) ||
                       std::any_of(task.inputs.begin(), task.inputs.end(),
                                   [&](const auto& input) { return input->id == id; }) ||
                       std::any_of(task.outputs.begin(), task.outputs.end(),
                                   [&](const auto& output) { return output->id == id; });
    if (!known)
      throw ProtocolError("says that it cached object " + id.to_string() +
                          ", which it was never sent");
    if (session.cached.insert(id).second) cached_[id].push_back(session.id);
  }
  // A task that was cancelled meanwhile is terminal already: its result is dropped by the Core.
  const bool wanted = task.state.load(std::memory_order_relaxed) == TaskState::assigned;
  if (wanted && recording_) {
    TaskReport report;
    report.executor_type = session.type_name;
    report.executor = session.id.value;
    report.pid = session.pid ? session.pid : session.peer_pid();
    report.id = task.id;
    report.task_type = methods_.name(task.method);
    if (const auto* annex = annex_of(task)) report.name = annex->name;
    report.start_seconds = std::chrono::duration<double>(call.sent - began_).count();
    report.run_seconds = std::chrono::duration<double>(
                             session.protocol() == Protocol::cbor2 ? run_time : now - call.sent)
                             .count();
    report.state = result.success ? TaskState::finished : TaskState::failed;
    reports_.push_back(std::move(report));
  }
  if (result.cancelled) {
    core_.on_task_cancelled(session.id, task, now);
    return;
  }
  std::string error;
  if (!result.success) {
    // Reference 1.7.
    error = result.info.error.empty() ? "Task failed in executor"
                                      : result.info.error + "\nTask failed in executor";
  }
  std::vector<std::shared_ptr<graph::ObjectData>> outputs;
  if (result.success && wanted) {
    try {
      if (result.outputs.size() < task.outputs.size()) {
        throw OutputError("Some of outputs were not produced");
      }
      std::uint64_t copied = result.copied_bytes, produced = 0;
      outputs.reserve(task.outputs.size());
      for (std::size_t i = 0; i < task.outputs.size(); ++i) {
        outputs.push_back(take_output(session, task, *task.outputs[i], result.outputs[i], copied));
        produced += outputs.back()->size_bytes;
      }
      task.output_bytes = produced;
      task.copied_bytes = copied;
    } catch (const OutputError& failed) {
      error = failed.what();
    } catch (const StoreFull& full) {
      error = full.what();
    } catch (const SystemError& failed) {
      error = failed.what();
    }
  }
  if (wanted) {
    if (!reports_.empty() && recording_) {
      reports_.back().input_bytes = task.input_bytes;
      reports_.back().output_bytes = task.output_bytes;
      reports_.back().copied_bytes = task.copied_bytes;
      if (!error.empty()) reports_.back().state = TaskState::failed;
    }
    auto& info = result.info;
    if (!info.debug.empty() || !info.user.empty()) {
      auto annex = std::make_unique<TaskResult>();
      annex->info = info;
      task.result = std::move(annex);
    }
  }
  if (error.empty()) {
    if (wanted) {
      for (std::size_t i = 0; i < task.outputs.size(); ++i) {
        auto& info = result.outputs[i].info;
        if (info.content_type.empty() && info.user.empty() && info.debug.empty()) continue;
        auto annex = std::make_unique<ObjectResult>();
        annex->info = std::move(info);
        annex->info.size = outputs[i]->size_bytes;
        task.outputs[i]->result = std::move(annex);
      }
    } else {
      outputs.resize(task.outputs.size());
    }
    core_.on_task_done(session.id, task, std::move(outputs), run_time, now);
  } else {
    auto failure = std::make_shared<Failure>();
    failure->kind = error.rfind("StoreFull", 0) == 0 ? FailureKind::store_full : FailureKind::task;
    failure->origin = task.id;
    failure->message = std::move(error);
    failure->debug = result.info.debug;
    core_.on_task_failed(session.id, task, std::move(failure), run_time, now);
  }
  session.held.reserve(session.held.size() + result.held.size());
  for (const auto index : result.held) session.held.push_back(call.views[index]);
}

std::shared_ptr<graph::ObjectData> Runtime::take_output(Session& session, const TaskRecord& task,
                                                        const graph::ObjectRecord& object,
                                                        tasklib::wire::ObjectOut& output,
                                                        std::uint64_t& copied_bytes) {
  if (auto* memory = std::get_if<tasklib::wire::Memory>(&output.location)) {
    if (memory->bytes.size < kInlineLimitBytes) return std::make_shared<InlineData>(memory->bytes);
    // An executor that knows no regions: into shared memory once, for all who read it later.
    auto blob = allocate(memory->bytes.size);
    std::memcpy(blob->region->at(blob->ref), memory->bytes.data, memory->bytes.size);
    copied_bytes += memory->bytes.size;
    return blob;
  }
  if (auto* ref = std::get_if<BlobRef>(&output.location)) {
    store_.seal(session.id, *ref);
    return std::make_shared<BlobData>(releases_, store_.region(ref->region), *ref);
  }
  if (auto* other = std::get_if<tasklib::wire::OtherObject>(&output.location)) {
    for (const auto& input : task.inputs) {
      if (input->id == other->id) {
        const ObjectAnnex* annex = annex_of(*input);
        if (output.info.content_type.empty()) {
          const auto* info = result_of(*input);
          if (info && !info->content_type.empty()) {
            output.info.content_type = info->content_type;
          } else if (annex) {
            output.info.content_type = annex->content_type;
          }
        }
        return input->data;
      }
    }
    throw OutputError("Object DataObjectId { session_id: " + std::to_string(other->id.session) +
                      ", id: " + std::to_string(other->id.id) +
                      " } not found: only the task's own inputs can be passed through");
  }
  if (auto* path = std::get_if<tasklib::wire::Path>(&output.location)) {
    return take_file(session, object, path->path);
  }
  if (std::get_if<tasklib::wire::Cached>(&output.location)) {
    throw OutputError("Cached result occured in result");
  }
  throw OutputError("Output " + object.id.to_string() + " came without a location");
}

std::shared_ptr<graph::ObjectData> Runtime::take_file(Session& session,
                                                      const graph::ObjectRecord& object,
                                                      const std::string& path) {
  if (path.empty() || path[0] != '/')
    throw OutputError("Path of dataobject is not absolute: " + path);
  const auto inside = [](const std::string& inner, const std::string& outer) {
    return inner.size() > outer.size() && inner.compare(0, outer.size(), outer) == 0 &&
           inner[outer.size()] == '/';
  };
  if (!inside(path, session.directory)) {
    throw OutputError("Path of dataobject is not in executor dir: " + path + " is outside " +
                      session.directory);
  }
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (!resolved) throw OutputError("Output file " + path + ": " + std::strerror(errno));
  const std::string canonical(resolved);
  ::free(resolved);
  struct stat status;
  if (::stat(canonical.c_str(), &status) != 0) {
    throw OutputError("Output file " + path + ": " + std::strerror(errno));
  }
  const ObjectAnnex* annex = annex_of(object);
  const DataType expected = annex ? annex->data_type : DataType::blob;
  const DataType provided = S_ISDIR(status.st_mode) ? DataType::directory : DataType::blob;
  if (expected != provided || provided == DataType::directory) {
    throw OutputError("Output '" + (annex ? annex->label : "") +
                      "' (content_type=" + (annex ? annex->content_type : "") + ") expects type " +
                      data_type_name(expected) + ", but " + data_type_name(provided) +
                      " is provided");
  }
  const std::string target = run_directory_ + "/data/" + std::to_string(++last_file_);
  char* directory = ::realpath(session.directory.c_str(), nullptr);
  const std::string own = directory ? directory : session.directory;
  ::free(directory);
  char* run = ::realpath(run_directory_.c_str(), nullptr);
  const std::string data_directory = (run ? std::string(run) : run_directory_) + "/data";
  ::free(run);
  if (inside(canonical, data_directory)) {
    // A link to an input: the same bytes under a name of their own.
    checked("link", canonical, [&] { return ::link(canonical.c_str(), target.c_str()); });
  } else if (inside(canonical, own)) {
    checked("rename", canonical, [&] { return ::rename(canonical.c_str(), target.c_str()); });
    ::chmod(target.c_str(), status.st_mode & 0555);
  } else {
    throw OutputError("Path of dataobject is not in executor dir: " + path + " leads to " +
                      canonical);
  }
  return std::make_shared<FileData>(target);
}

void Runtime::on_released(Session& session, const tasklib::wire::Released& message) {
  for (const auto& ref : message.blobs) {
    auto found = std::find(session.held.begin(), session.held.end(), ref);
    if (found == session.held.end()) {
      throw ProtocolError("released a blob that it doesn't hold (region " +
                          std::to_string(ref.region.value) + ", offset " +
                          std::to_string(ref.offset_bytes) + ")");
    }
    *found = session.held.back();
    session.held.pop_back();
    store_.drop_view(session.id, ref, Clock::now());
  }
}

void Runtime::on_lease_request(Session& session, const tasklib::wire::LeaseRequest& message) {
  try {
    auto lease = store_.lease(session.id, message.size_bytes);
    tasklib::wire::Region region;
    region.id = lease.region->id();
    region.size_bytes = lease.region->size_bytes();
    region.writable = true;
    region.request = message.request;
    region.free = std::move(lease.free);
    session.send(region, lease.region->open_read_write());
  } catch (const StoreFull& full) {
    session.send(tasklib::wire::LeaseRefused{message.request, full.what()});
  } catch (const SystemError& failed) {
    session.send(tasklib::wire::LeaseRefused{message.request, failed.what()});
  }
  dirty_.push_back(&session);
}

void Runtime::on_lease_returned(Session& session, const tasklib::wire::LeaseReturned& message) {
  for (const auto region : message.regions) store_.return_lease(session.id, region, Clock::now());
}

// ---- the client's own data, and who looks on ----------------------------------------------------

std::shared_ptr<BlobData> Runtime::allocate(std::uint64_t size_bytes) {
  auto allocation = client_arena_.allocate(size_bytes);
  if (!allocation) {
    drain_releases(Clock::now());
    flush_freed();
    allocation = client_arena_.allocate(size_bytes);
  }
  if (!allocation) {
    auto lease = store_.lease(kClient, size_bytes);
    client_arena_.add_lease(lease.region, lease.free);
    allocation = client_arena_.allocate(size_bytes);
    if (!allocation) throw tasklib::base::Error("a fresh lease has no room");
  }
  store_.seal(kClient, allocation->ref);
  return std::make_shared<BlobData>(releases_, allocation->region, allocation->ref);
}

void Runtime::changed(const graph::TaskChanged& command) {
  if (!graph::is_terminal(command.to)) return;
  ++changes_;
  if (watchers_.empty() || !command.task->watched) return;
  const auto [first, last] = watchers_.equal_range(command.task.get());
  for (auto entry = first; entry != last; ++entry) {
    const std::uint64_t one = 1;
    (void)!::write(entry->second.get(), &one, sizeof one);
  }
  watchers_.erase(first, last);
}

void Runtime::watch(const graph::TaskRef& task, UniqueFd eventfd) {
  if (graph::is_terminal(task->state.load(std::memory_order_relaxed))) {
    const std::uint64_t one = 1;
    (void)!::write(eventfd.get(), &one, sizeof one);
    return;
  }
  task->watched = true;
  watchers_.emplace(task.get(), std::move(eventfd));
}

void Runtime::data_dropped(const graph::DropData& command) {
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
  if (!launcher_gone_) {
    const auto deadline = Clock::now() + kCloseGrace;
    for (auto& [id, session] : sessions_) {
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
}

void Runtime::abandon_after_fork() noexcept {
  if (launcher_) launcher_->abandon_after_fork();
  epoll_.reset();
  timer_.reset();
  wake_.reset();
  releases_->abandon_after_fork();
  for (auto& [id, session] : sessions_) session->abandon_after_fork();
}

}  // namespace rain
