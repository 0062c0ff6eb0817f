#include "launcher/reaper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "launcher/processes.h"
#include "launcher/spawn.h"

namespace rain::launcher {
namespace {

constexpr std::uint64_t kUnknownNs = 1'000'000'000;  // how long an orphan's owner may be unclear

std::uint64_t now_ns() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(t.tv_nsec);
}

/// Takes `count` strings off the front of [at, end); empty if there are not that many.
std::vector<char*> take_strings(char*& at, char* end, std::uint32_t count) {
  std::vector<char*> strings;
  while (strings.size() < count && at < end) {
    strings.push_back(at);
    at += ::strlen(at) + 1;  // the last byte of all is a NUL
  }
  if (strings.size() < count) strings.clear();
  return strings;
}

}  // namespace

Reaper::Reaper(int socket, int client, int outer)
    : socket_(socket), client_(client), outer_(outer), buffer_(kMaxRequestBytes + 1) {
  sigset_t child_signal;
  ::sigemptyset(&child_signal);
  ::sigaddset(&child_signal, SIGCHLD);
  child_signals_ = ::signalfd(-1, &child_signal, SFD_CLOEXEC | SFD_NONBLOCK);
}

void Reaper::run() {
  for (;;) {
    const short wanted = unsent_.empty() ? POLLIN : POLLIN | POLLOUT;
    pollfd watched[] = {{socket_, wanted, 0},
                        {child_signals_, POLLIN, 0},
                        {client_, POLLIN, 0},
                        {outer_, POLLIN, 0}};
    // While something dies, look again even without a signal.
    if (::poll(watched, 4, any_dead() ? 10 : -1) < 0 && errno != EINTR) return;
    if (watched[2].revents != 0 || watched[3].revents != 0) return;
    if (watched[1].revents != 0 || any_dead()) {
      signalfd_siginfo signals[16];
      while (::read(child_signals_, signals, sizeof signals) > 0) {
      }
      reap();
    }
    if (watched[0].revents != 0 && !receive_requests()) return;
    if (!flush_reports()) return;
  }
}

bool Reaper::receive_requests() {
  for (int i = 0; i < 16; ++i) {  // then look after the dead
    const ssize_t got =
        ::recv(socket_, buffer_.data(), buffer_.size() - 1, MSG_DONTWAIT | MSG_TRUNC);
    if (got > 0) {
      handle(buffer_.data(), static_cast<std::size_t>(got));
    } else if (got == 0) {
      return false;
    } else if (errno != EINTR) {
      return errno == EAGAIN;
    }
    flush_reports();
  }
  return true;
}

void Reaper::handle(char* bytes, std::size_t size) {
  Request request;
  if (size < sizeof request || size > kMaxRequestBytes) {
    ::dprintf(2, "rain-launcher: a request of %zu bytes was ignored\n", size);
    return;
  }
  ::memcpy(&request, bytes, sizeof request);
  bytes[size] = '\0';
  if (request.kind == RequestKind::spawn) {
    start(request, bytes + sizeof request, bytes + size);
  } else if (request.kind == RequestKind::kill) {
    kill_process(request.key);
  } else {
    ::dprintf(2, "rain-launcher: a request of unknown kind %u was ignored\n",
              static_cast<unsigned>(request.kind));
  }
}

void Reaper::start(const Request& request, char* strings, char* end) {
  Report answer{ReportKind::spawn_failed, request.key, 0, EPROTO, 0, SpawnStep::request, 0, 0};
  std::vector<char*> argv = take_strings(strings, end, request.argv_count);
  std::vector<char*> env = take_strings(strings, end, request.env_count);
  std::vector<char*> paths = take_strings(strings, end, 5);
  if (argv.empty() || env.size() != request.env_count || paths.size() != 5 || strings != end) {
    return report(answer);
  }
  for (const Process& process : processes_) {
    if (process.key == request.key) {
      answer.error_number = EEXIST;
      return report(answer);
    }
  }
  Process process{request.key, 0, now_ns(), paths[4], false, 0, {}};
  argv.push_back(nullptr);
  env.push_back(nullptr);
  const Started started = spawn({argv.data(), env.data(), paths[0], paths[1], paths[2], paths[3]});
  answer.error_number = started.error_number;
  answer.failed_step = started.failed_step;
  if (started.error_number == 0) {
    answer.kind = ReportKind::started;
    answer.pid = process.pid = started.pid;
    processes_.push_back(process);
  }
  report(answer);
}

void Reaper::kill_process(std::uint32_t key) {
  for (const Process& process : processes_) {
    if (process.key == key && !process.dead) ::kill(-process.pid, SIGKILL);
  }
}

void Reaper::kill_all() {
  for (const Process& process : processes_) {
    if (!process.dead) ::kill(-process.pid, SIGKILL);
  }
}

void Reaper::reap() {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 || info.si_pid == 0) {
      break;
    }
    const auto found = std::find_if(processes_.begin(), processes_.end(), [&](const Process& p) {
      return p.pid == info.si_pid && !p.dead;
    });
    // Before it is reaped, so that the group's number can't be anybody else's.
    if (found != processes_.end()) ::kill(-found->pid, SIGKILL);
    int status = 0;
    rusage usage{};
    if (::wait4(info.si_pid, &status, __WALL, &usage) < 0 || found == processes_.end()) continue;
    found->dead = true;
    found->death_ns = now_ns();
    found->exit = {ReportKind::exited,
                   found->key,
                   found->pid,
                   0,
                   status,
                   SpawnStep::none,
                   static_cast<std::uint64_t>(usage.ru_maxrss) * 1024,
                   found->death_ns - found->start_ns};
  }
  finish_dead();
}

/// Kills what the dead left behind, and reports those that left nothing (any more).
void Reaper::finish_dead() {
  if (!any_dead()) return;
  std::vector<pid_t> orphans = own_children();
  for (const Process& process : processes_) {
    if (process.dead) continue;
    orphans.erase(std::remove(orphans.begin(), orphans.end(), process.pid), orphans.end());
  }
  const std::vector<ProcessEntry> table =
      orphans.empty() ? std::vector<ProcessEntry>{} : all_processes();
  const std::uint64_t now = now_ns();
  for (std::size_t i = 0; i < processes_.size();) {
    const Process& process = processes_[i];
    bool wait = !process.dead;
    for (const ProcessEntry& entry : table) {
      if (!process.dead) break;
      // A zombie counts too: what was below it has come to us after `orphans` was read.
      if (std::find(orphans.begin(), orphans.end(), entry.pid) == orphans.end()) continue;
      const Answer answer = entry.session == process.pid ? Answer::yes
                            : process.owner.empty()
                                ? Answer::no
                                : started_with(entry.pid, process.owner.c_str());
      if (answer == Answer::unknown) wait |= now - process.death_ns < kUnknownNs;
      if (answer != Answer::yes) continue;
      // One that can't be killed must not hold the report back.
      for (pid_t pid : tree_of(table, entry.pid)) wait |= ::kill(pid, SIGKILL) == 0;
    }
    if (wait) {
      ++i;
    } else {
      report(process.exit);
      processes_.erase(processes_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
}

void Reaper::report(const Report& report) { unsent_.push_back(report); }

/// False: the client closed the socket.
bool Reaper::flush_reports() {
  while (!unsent_.empty()) {
    if (::send(socket_, &unsent_.front(), sizeof(Report), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      return errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
    }
    unsent_.pop_front();
  }
  return true;
}

bool Reaper::any_dead() const {
  return std::any_of(processes_.begin(), processes_.end(),
                     [](const Process& process) { return process.dead; });
}

}  // namespace rain::launcher
