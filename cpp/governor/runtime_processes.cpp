// The Runtime's executor processes: started, heard of, put down, buried.

#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "base/errors.h"
#include "epoll.h"
#include "launcher/remove_tree.h"
#include "process/death_report.h"
#include "process/debugger.h"
#include "process/environment.h"
#include "process/log_tail.h"
#include "process/memory_use.h"
#include "process/run_directory.h"
#include "runtime.h"

namespace rain {

using graph::Failure;
using graph::FailureKind;
using graph::TaskRecord;
using process::set_variable;
using tasklib::base::Clock;
using tasklib::base::ExecutorId;
using tasklib::base::ProtocolError;
using tasklib::base::SystemError;
using tasklib::wire::Protocol;

namespace {

constexpr auto kDeathGrace = std::chrono::milliseconds(200);  // between end of file and exit
constexpr auto kEndGrace = std::chrono::seconds(5);           // between Shutdown and exit
constexpr auto kDebuggerGrace = std::chrono::seconds(10);     // the same, if gdb has to end, too
constexpr std::size_t kStderrLines = 20;
constexpr int kReadsOfTheDead = 4096;
constexpr std::size_t kLogsOfTheDead = 64;  // processes, the latest to end; logs.py names it, too

}  // namespace

void Runtime::check_launcher() const {
  if (!launcher_gone_) return;
  throw tasklib::base::Error(
      "nothing can be started any more: the launcher of this Client was killed. Create a new "
      "Client");
}

void Runtime::spawn_program(const process::LauncherClient::SpawnRequest& request) {
  check_launcher();
  launcher_->spawn(request);
}

bool Runtime::kill_program(ExecutorId executor) {
  if (!launcher_ || launcher_gone_) return false;
  try {
    launcher_->kill(executor.value);
    return true;
  } catch (const SystemError&) {
    return false;
  }
}

void Runtime::spawn(const graph::SpawnExecutor& command) {
  if (is_builtin(command.type)) return builtin_.spawn(command);
  const ExecutorSpec& spec = specs_[command.type];
  const auto now = Clock::now();
  try {
    check_launcher();
    const auto paths = process::make_executor_paths(run_directory_, command.executor.value);
    auto session = std::make_unique<Session>(command.executor, command.type, spec.name,
                                             paths.directory, paths.socket_path);
    session->started = now;
    session->deadline = now + spec.start_deadline;
    process::LauncherClient::SpawnRequest request;
    request.key = command.executor.value;
    request.argv = spec.gdb.empty() ? spec.argv : process::under_gdb(spec.gdb, spec.argv);
    request.env = environment_;
    if (spec.threads == 0) process::set_thread_counts(request.env, command.cpus);
    for (const auto& entry : spec.env) set_variable(request.env, entry);
    request.owner = "RAIN_EXECUTOR_SOCKET=" + paths.socket_path;
    set_variable(request.env, request.owner);
    set_variable(request.env, "RAIN_EXECUTOR_ID=" + std::to_string(command.executor.value));
    set_variable(request.env, "RAIN_EXECUTOR_PROTOCOLS=cbor-2@" + paths.socket_path);
    if (spec.threads > 0)
      set_variable(request.env, "RAIN_EXECUTOR_THREADS=" + std::to_string(spec.threads));
    request.working_directory = spec.cwd.empty() ? paths.directory : spec.cwd;
    request.stdout_path = paths.stdout_path;
    request.stderr_path = paths.stderr_path;
    if (spec.reload) session->build = programs_[command.type].build();
    session->spare = command.spare;
    launcher_->spawn(request);
    session->stdout_path = paths.stdout_path;
    session->stderr_path = paths.stderr_path;
    watch_fd(*session);
    sessions_.emplace(command.executor, std::move(session));
  } catch (const std::exception& error) {
    auto failure = std::make_shared<Failure>();
    failure->kind = launcher_gone_ ? FailureKind::launcher : FailureKind::executor;
    failure->message = "Executor '" + spec.name + "' could not be started: " + error.what();
    note_failed_start(command.type, command.spare, failure);
    core_.on_executor_lost(command.executor, failure, {}, now);
  }
}

void Runtime::end(const graph::EndExecutor& command) {
  const auto found = sessions_.find(command.executor);
  if (found == sessions_.end()) return;
  Session& session = *found->second;
  if (session.protocol() == Protocol::cbor1) return put_down(session, "it is not needed");
  session.send(tasklib::wire::Shutdown{});
  session.deadline = Clock::now() + kEndGrace;
  dirty_.push_back(&session);
}

void Runtime::prestart() {
  for (std::size_t type = 0; type < specs_.size(); ++type)
    if (specs_[type].prestart > 0)
      core_.on_prestart(static_cast<graph::TypeIndex>(type), specs_[type].prestart, Clock::now());
}

void Runtime::start_one(graph::TypeIndex type) {
  offers_[type].failure = nullptr;
  core_.on_prestart(type, 1, Clock::now());
}

bool Runtime::offer_is_current(graph::TypeIndex type) const {
  const auto& build = offers_[type].build;
  return !build || programs_[type].build() == build;
}

void Runtime::check_builds(TimePoint now) {
  if (now < builds_checked_ + kBuildCheckInterval) return;
  builds_checked_ = now;
  std::map<graph::TypeIndex, std::optional<process::ProgramBuild>> builds;
  for (auto& [id, session] : sessions_) {
    if (!session->build) continue;
    const auto [found, first] = builds.try_emplace(session->type);
    if (first) found->second = programs_[session->type].build();
    if (!found->second || *found->second == *session->build) continue;
    session->build.reset();
    core_.on_executor_outdated(id, now);
  }
}

void Runtime::note_failed_start(graph::TypeIndex type, bool spare,
                                const graph::FailurePtr& failure) {
  offers_[type].failure = failure;
  ++changes_;
  if (spare)
    warnings_.push_back("while starting executor '" + specs_[type].name +
                        "' ahead of its tasks: " + failure->message);
}

void Runtime::watch_fd(Session& session) {
  watch_events(epoll_.get(), session.fd(), tag(Source::executor, session.id.value), EPOLLIN);
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
    session.hung_up = true;
    session.deadline =
        Clock::now() + (specs_[session.type].gdb.empty() ? kDeathGrace : kDebuggerGrace);
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
    if (found == sessions_.end()) {
      if (builtin_.on_report(*report) && report->kind == launcher::ReportKind::started) {
        pids_[ExecutorId{report->key}] = report->pid;
      }
      continue;
    }
    Session& session = *found->second;
    if (report->kind == launcher::ReportKind::started) {
      session.pid = report->pid;
      pids_[session.id] = report->pid;
      note_executor(session, "started");
    } else {
      bury(session, *report);
    }
  }
  if (launcher_->gone() && !launcher_gone_) on_launcher_gone();
}

void Runtime::on_launcher_gone() {
  launcher_gone_ = true;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, launcher_->fd(), nullptr);
  if (mirror_) return;  // it only had to remove the run directory if this process dies
  auto failure = std::make_shared<Failure>();
  failure->kind = FailureKind::launcher;
  failure->message =
      "The launcher, which starts and watches this Client's executors, was killed; its executors "
      "ended with it. Create a new Client";
  core_.on_all_lost(failure, Clock::now());
  builtin_.lose_all();
  for (auto& [id, session] : sessions_) store_.drop_holder(id, Clock::now());
  sessions_.clear();
  dirty_.clear();
  cached_.clear();
  logs_->close();  // who waits for lines learns that none comes any more
}

void Runtime::sample_memory(TimePoint now) {
  struct Fat {
    ExecutorId executor;
    graph::TaskRef task;
    std::uint64_t used, limit;
  };
  std::vector<Fat> fat;
  for (auto entry = memory_calls_.begin(); entry != memory_calls_.end();) {
    auto& [id, calls] = *entry;
    const auto found = sessions_.find(id);
    const ExecutorId executor = id;
    std::erase_if(calls, [&](const MemoryCall& call) {
      return found == sessions_.end() || call.task->executor != executor ||
             call.task->sequence != call.sequence || call.task->state != graph::TaskState::assigned;
    });
    if (calls.empty()) {
      entry = memory_calls_.erase(entry);
      continue;
    }
    const Session& session = *found->second;
    std::uint64_t limit = 0;
    for (const MemoryCall& call : calls) limit += call.task->extras->memory_bytes;
    // Not that of a debugger or a shell around it.
    const std::int32_t peer = session.peer_pid();
    const auto used = process::own_memory_bytes(peer ? peer : session.pid);
    if (used > limit) fat.push_back({executor, calls.front().task, used, limit});
    ++entry;
  }
  for (const Fat& each : fat) {
    auto failure = std::make_shared<Failure>();
    failure->kind = FailureKind::out_of_memory;
    failure->origin = each.task->id;
    failure->message = "the task '" + methods_.name(each.task->method) +
                       "' was stopped: its process used " + process::bytes_text(each.used) +
                       " of memory, its limit is " + process::bytes_text(each.limit) +
                       "; give it more with memory=...";
    core_.on_task_doomed(each.executor, *each.task, std::move(failure), now);
  }
  sample_at_.reset();
  if (!memory_calls_.empty()) sample_at_ = now + kSampleInterval;
}

void Runtime::bury(Session& session, std::optional<launcher::Report> report) {
  const auto now = Clock::now();
  const bool debugged = !specs_[session.type].gdb.empty();
  if (report && debugged) report->wait_status = process::status_of_debugged(report->wait_status);
  if (session.trouble.empty()) {
    // What it sent before it died still counts. (A bound: somebody else could hold the socket
    // open.)
    try {
      if (!session.connected()) session.accept(*this);
      for (int i = 0; session.connected() && i < kReadsOfTheDead; ++i) {
        if (session.receive(*this) == Session::Peer::gone) break;
      }
    } catch (const ProtocolError& error) {
      session.trouble = error.what();
    }
  }
  session.exited = true;

  std::vector<graph::Core::Begun> begun;
  process::ExecutorDeath death;
  std::vector<Session::Lost> lost;
  if (session.registered()) lost = session.take_all();
  for (auto& call : lost) {
    if (!call.begun) continue;
    begun.emplace_back(call.call.task.get(), std::move(call.debug));
    death.tasks.push_back(methods_.name(call.call.task->method));
  }
  death.executor_type = session.type_name;
  death.executor_id = session.id.value;
  death.phase = !session.registered() ? process::ExecutorDeath::Phase::starting
                : death.tasks.empty() ? process::ExecutorDeath::Phase::idle
                                      : process::ExecutorDeath::Phase::running;
  death.trouble = session.trouble;
  death.exit = report;
  death.stderr_tail = debugged ? process::tail_lines(session.stderr_path, process::kDebuggedLines,
                                                     process::kDebuggedBytes)
                               : process::tail_lines(session.stderr_path, kStderrLines);

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
    if (death.trouble.empty() && report && WIFSIGNALED(report->wait_status) &&
        WTERMSIG(report->wait_status) == SIGKILL) {
      const std::uint64_t kills = process::kernel_oom_kills();
      if (kills > std::exchange(oom_kills_, kills)) {
        failure->kind = FailureKind::out_of_memory;
        failure->message += ": the kernel killed it, because memory ran out";
      }
    }
  }
  note_executor(session, "ended", failure->message);
  if (!session.registered()) note_failed_start(session.type, session.spare, failure);
  store_.drop_holder(session.id, now);
  store_changed_ = true;
  forget_pinged(session.id);
  for (const auto& id : session.cached) std::erase(cached_[id], session.id);
  core_.on_executor_lost(session.id, failure, begun, now);
  launcher::remove_tree(session.directory.c_str());
  keep_logs(session);
  std::erase(dirty_, &session);
  sessions_.erase(session.id);
}

void Runtime::keep_logs(const Session& session) {
  logs_of_the_dead_.emplace_back(session.stdout_path, session.stderr_path);
  if (logs_of_the_dead_.size() <= kLogsOfTheDead) return;
  const auto& [stdout_path, stderr_path] = logs_of_the_dead_.front();
  ::unlink(stdout_path.c_str());
  ::unlink(stderr_path.c_str());
  logs_of_the_dead_.pop_front();
}

void Runtime::on_registered(Session& session) {
  pids_.try_emplace(session.id, session.peer_pid());  // the launcher may say it later
  note_executor(session, "registered");
  session.deadline.reset();
  offers_[session.type] = {session.tasks(), nullptr, session.protocol() == Protocol::cbor1,
                           session.build};
  ++changes_;
  if (session.protocol() == Protocol::cbor2)
    session.send_welcome(inline_limit_bytes_, events_ != nullptr);
  dirty_.push_back(&session);
  core_.on_executor_ready(session.id, session.traits(), Clock::now());
}

void Runtime::on_warning(const std::string& text) { warnings_.push_back(text); }

}  // namespace rain
