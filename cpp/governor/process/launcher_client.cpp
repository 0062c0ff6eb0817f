#include "process/launcher_client.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/syscall.h"
#include "launcher/remove_tree.h"

#ifdef __GLIBC__
// clone() under a name that sanitizers don't replace.
extern "C" int __clone(int (*)(void*), void*, int, void*, ...);
#define RAIN_CLONE __clone
#else
#define RAIN_CLONE clone
#endif

#if defined(__has_attribute)
#if __has_attribute(disable_sanitizer_instrumentation)
#define RAIN_UNINSTRUMENTED __attribute__((disable_sanitizer_instrumentation))
#endif
#endif
#ifndef RAIN_UNINSTRUMENTED
#define RAIN_UNINSTRUMENTED __attribute__((no_sanitize("address", "thread", "undefined")))
#endif

namespace rain::process {
namespace {

using tasklib::base::checked;
using tasklib::base::Error;
using tasklib::base::retry_interrupted;
using tasklib::base::SystemError;
using tasklib::base::UniqueFd;

constexpr int kCloseMilliseconds = 10'000;  // the launcher itself gives up after as long
constexpr int kLastResortMilliseconds = 2'000;
constexpr std::size_t kStackBytes = 16 * 1024;

/// Shared with the two short-lived children below, which run in this process's memory while the
/// starting thread is suspended (CLONE_VM | CLONE_VFORK): nothing is copied, however large this
/// process is.
struct Start {
  const char* program;
  char* const* argv;
  char* const* env;
  int socket, client;  // descriptors that the launcher is to inherit
  char* second_stack_end;

  // Results.
  int outer_pid = 0;
  int outer_pidfd = UniqueFd::kNone;
  const char* failed_call = nullptr;
  int error_number = 0;
};

/// In a copy of the descriptor table: becomes the launcher. Raw system calls only.
RAIN_UNINSTRUMENTED int become_launcher(void* argument) {
  Start& start = *static_cast<Start*>(argument);
  if (::syscall(SYS_fcntl, start.socket, F_SETFD, 0) != 0 ||
      ::syscall(SYS_fcntl, start.client, F_SETFD, 0) != 0) {
    start.failed_call = "fcntl";
  } else {
    ::syscall(SYS_execve, start.program, start.argv, start.env);
    start.failed_call = "execve";
  }
  start.error_number = errno;
  ::syscall(SYS_exit_group, 127);
  return 127;
}

/// A step between, which ends at once. An execve gives its process the exit signal SIGCHLD back,
/// so a launcher started directly would be seen by the user's os.wait(); as the child of this one
/// it never becomes ours. Shares the descriptor table, so that the pidfd arrives there.
RAIN_UNINSTRUMENTED int start_launcher(void* argument) {
  Start& start = *static_cast<Start*>(argument);
  const int pid =
      RAIN_CLONE(become_launcher, start.second_stack_end,
                 CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, argument, &start.outer_pidfd);
  if (pid < 0) {
    start.failed_call = "clone";
    start.error_number = errno;
  } else if (start.error_number != 0) {
    ::syscall(SYS_wait4, pid, nullptr, __WALL, nullptr);
  } else {
    start.outer_pid = pid;
  }
  ::syscall(SYS_exit_group, 0);
  return 0;
}

/// Runs the two; throws nothing. Exit signal 0: only a wait with __WCLONE sees the first.
void run_start(Start& start) {
  // A signal handler must not run in a child that shares our memory.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const std::unique_ptr<char[]> stacks(new char[2 * kStackBytes]);
  start.second_stack_end = stacks.get() + 2 * kStackBytes;
  const int pid = RAIN_CLONE(start_launcher, stacks.get() + kStackBytes,
                             CLONE_VM | CLONE_VFORK | CLONE_FILES, &start);
  if (pid < 0) {
    start.failed_call = "clone";
    start.error_number = errno;
  } else {
    retry_interrupted([&] { return ::waitpid(pid, nullptr, __WCLONE); });
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

bool wait_readable(int fd, int milliseconds) {
  pollfd watched{fd, POLLIN, 0};
  timespec start, now;
  ::clock_gettime(CLOCK_MONOTONIC, &start);
  for (int left = milliseconds; left >= 0;) {
    const int ready = ::poll(&watched, 1, left);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    left = milliseconds - static_cast<int>((now.tv_sec - start.tv_sec) * 1000 +
                                           (now.tv_nsec - start.tv_nsec) / 1'000'000);
    if (ready == 0) break;
  }
  return false;
}

void append(std::string& message, const std::string& text, const char* what) {
  if (text.find('\0') != std::string::npos) {
    throw Error(std::string(what) + " of a program to start contains a NUL byte");
  }
  message.append(text.c_str(), text.size() + 1);
}

}  // namespace

LauncherClient::LauncherClient(const std::string& program, const std::string& run_directory)
    : run_directory_(run_directory), owner_pid_(::getpid()) {
  if (run_directory.size() < 2 || run_directory[0] != '/') {
    throw Error("the run directory '" + run_directory + "' is not an absolute path");
  }
  int ends[2];
  checked("socketpair", "launcher",
          [&] { return ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends); });
  socket_.reset(ends[0]);
  const UniqueFd theirs(ends[1]);
  const UniqueFd self(static_cast<int>(checked(
      "pidfd_open", "this process", [&] { return ::syscall(SYS_pidfd_open, owner_pid_, 0); })));
  // A request of the largest size has to fit; a launcher that hangs must not hang us for ever.
  const int buffer_bytes = 2 * static_cast<int>(launcher::kMaxRequestBytes);
  const timeval timeout{10, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);

  const std::string version = std::to_string(launcher::kProtocolVersion);
  const std::string socket = std::to_string(theirs.get()), client = std::to_string(self.get());
  const char* argv[] = {"rain-launcher", version.c_str(),       socket.c_str(),
                        client.c_str(),  run_directory.c_str(), nullptr};
  char debug[] = "RAIN_LAUNCHER_DEBUG=1";
  char* env[] = {std::getenv("RAIN_LAUNCHER_DEBUG") != nullptr ? debug : nullptr, nullptr};
  Start start{program.c_str(), const_cast<char**>(argv), env, theirs.get(), self.get(), nullptr};
  run_start(start);
  outer_.reset(start.outer_pidfd);
  if (start.error_number != 0) {
    throw SystemError(start.failed_call, program, start.error_number);
  }
  outer_pid_ = start.outer_pid;
}

LauncherClient::~LauncherClient() {
  try {
    close();
  } catch (...) {  // out of memory: the launcher sees the end of file
  }
}

void LauncherClient::spawn(const SpawnRequest& request) {
  if (request.argv.empty()) throw Error("a program to start has no name");
  launcher::Request header{launcher::RequestKind::spawn, request.key,
                           static_cast<std::uint32_t>(request.argv.size()),
                           static_cast<std::uint32_t>(request.env.size())};
  std::string message(reinterpret_cast<const char*>(&header), sizeof header);
  for (const std::string& argument : request.argv) append(message, argument, "an argument");
  for (const std::string& variable : request.env) append(message, variable, "the environment");
  append(message, request.working_directory, "the working directory");
  append(message, request.stdin_path, "the path of stdin");
  append(message, request.stdout_path, "the path of stdout");
  append(message, request.stderr_path, "the path of stderr");
  append(message, request.owner, "the owner");
  if (message.size() > launcher::kMaxRequestBytes) {
    throw Error("cannot start '" + request.argv[0] + "': its arguments and environment take " +
                std::to_string(message.size()) + " bytes, the limit is " +
                std::to_string(launcher::kMaxRequestBytes) +
                "; unset large environment variables before the client is created");
  }
  send(message.data(), message.size());
}

void LauncherClient::kill(std::uint32_t key) {
  const launcher::Request request{launcher::RequestKind::kill, key, 0, 0};
  send(&request, sizeof request);
}

void LauncherClient::send(const void* bytes, std::size_t size_bytes) {
  checked("send", "launcher",
          [&] { return ::send(socket_.get(), bytes, size_bytes, MSG_NOSIGNAL); });
}

std::optional<launcher::Report> LauncherClient::next_report() {
  while (socket_ && !gone_) {
    launcher::Report report;
    const ssize_t got = retry_interrupted(
        [&] { return ::recv(socket_.get(), &report, sizeof report, MSG_DONTWAIT); });
    if (got == sizeof report) {
      if (report.kind != launcher::ReportKind::ready) return report;
      inner_pid_ = report.pid;
    } else if (got < 0 && errno == EAGAIN) {
      return std::nullopt;
    } else {
      gone_ = true;
    }
  }
  return std::nullopt;
}

bool LauncherClient::hung_up() const {
  if (!socket_ || gone_) return true;
  pollfd watched{socket_.get(), POLLRDHUP, 0};
  return ::poll(&watched, 1, 0) > 0;
}

void LauncherClient::close() {
  if (!socket_) return;
  if (::getpid() != owner_pid_) return abandon_after_fork();
  while (next_report()) {
  }
  // Not just closed: a forked copy of this process may hold the socket too.
  ::shutdown(socket_.get(), SHUT_RDWR);
  if (!wait_readable(outer_.get(), kCloseMilliseconds)) {
    if (inner_pid_ != 0) ::kill(inner_pid_, SIGKILL);
    if (!wait_readable(outer_.get(), kLastResortMilliseconds)) {
      ::syscall(SYS_pidfd_send_signal, outer_.get(), SIGKILL, nullptr, 0);
      wait_readable(outer_.get(), kLastResortMilliseconds);
    }
  }
  reap_if_ours();
  launcher::remove_tree(run_directory_.c_str());  // if both halves of the launcher were killed
  socket_.reset();
  outer_.reset();
  gone_ = true;
}

void LauncherClient::reap_if_ours() {
  siginfo_t ignored;
  const auto reap = [&](idtype_t what, id_t id) {
    return retry_interrupted(
        [&] { return ::waitid(what, id, &ignored, WEXITED | WNOHANG | __WALL); });
  };
  constexpr auto kPidfd = static_cast<idtype_t>(3);  // P_PIDFD
  if (reap(kPidfd, static_cast<id_t>(outer_.get())) == 0 && inner_pid_ != 0) {
    reap(P_PID, static_cast<id_t>(inner_pid_));  // it outlived the outer one, and came to us
  }
}

void LauncherClient::abandon_after_fork() noexcept {
  socket_.reset();
  outer_.reset();
  outer_pid_ = inner_pid_ = 0;
  gone_ = true;
}

}  // namespace rain::process
