// rain-launcher: every process that the governor needs is started, reaped and, at the end, killed
// here, so that nothing outlives the governor's process ("the client"), however that ends.
//
// It is a pair. The outer process watches the client, the socket and the inner one, and does
// nothing else; the inner one (reaper.h) starts and reaps. Both are child-subreapers: what loses
// its parent below them becomes their child, whatever session it moved to. Whichever of the two
// remains kills and reaps every descendant, then removes the run directory, and ends.
//
//   ends first         who cleans up
//   client             outer and inner (pidfd; if it executes another program: end of file)
//   outer              inner (pidfd)
//   inner              outer (pidfd)
//   client and either  the other
//   outer and inner    nobody can: what they started dies with them (PR_SET_PDEATHSIG), but what
//                      that had started itself, and with a dead client the run directory, remain
//
// Its descriptors 0, 1 and 2 are /dev/null; with RAIN_LAUNCHER_DEBUG set, 2 stays the client's.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher/processes.h"
#include "launcher/protocol.h"
#include "launcher/reaper.h"
#include "launcher/remove_tree.h"

namespace rain::launcher {
namespace {

constexpr int kGraceMilliseconds = 800;  // more than nested launchers get, see processes.h

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

[[noreturn]] void give_up(const char* what) {
  ::dprintf(2, "rain-launcher: %s: errno %d\n", what, errno);
  ::_exit(1);
}

/// The client's signals, terminal, directory and descriptors mean nothing here.
void leave_client_behind() {
  // By the system call itself: the C library refuses to touch its own signals, 32 and 33, which may
  // have come down ignored as well.
  constexpr std::size_t kSignalSetBytes = 8;
  const unsigned long defaults[4] = {};  // the kernel's struct sigaction, with SIG_DFL
  for (int number = 1; number < NSIG; ++number) {
    ::syscall(SYS_rt_sigaction, number, defaults, nullptr, kSignalSetBytes);
  }
  sigset_t child_signal;
  ::sigemptyset(&child_signal);
  ::sigaddset(&child_signal, SIGCHLD);
  ::sigprocmask(SIG_SETMASK, &child_signal, nullptr);
  ::setsid();
  if (::chdir("/") != 0) give_up("chdir /");
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) give_up("open /dev/null");
  ::dup2(null, 0);
  ::dup2(null, 1);
  if (::getenv("RAIN_LAUNCHER_DEBUG") == nullptr) ::dup2(null, 2);
}

/// Moves two descriptors to 3 and 4 and closes all above.
void keep_only(int& socket, int& client) {
  const int a = ::fcntl(socket, F_DUPFD_CLOEXEC, 10), b = ::fcntl(client, F_DUPFD_CLOEXEC, 10);
  if (a < 0 || b < 0) give_up("descriptors");
  socket = ::dup3(a, 3, O_CLOEXEC);
  client = ::dup3(b, 4, O_CLOEXEC);
  if (::syscall(SYS_close_range, 5, ~0U, 0) == 0) return;
  DIR* open_ones = ::opendir("/proc/self/fd");  // Linux < 5.9
  if (open_ones == nullptr) return;             // they are close-on-exec anyway
  while (const dirent* e = ::readdir(open_ones)) {
    const int fd = ::atoi(e->d_name);
    if (fd > 4 && fd != ::dirfd(open_ones)) ::close(fd);
  }
  ::closedir(open_ones);
}

// Data that did not stay in memory may lie on another file system: {run directory}/spill leads to
// it.
void remove_spilled(const char* run_directory) {
  char link[PATH_MAX], target[PATH_MAX];
  const int length = ::snprintf(link, sizeof link, "%s/spill", run_directory);
  if (length < 0 || length >= PATH_MAX) return;
  const ssize_t size = ::readlink(link, target, sizeof target - 1);
  if (size <= 1) return;
  target[size] = '\0';
  if (target[0] == '/') remove_tree(target);
}

int main(int argc, char** argv) {
  leave_client_behind();
  if (argc != 5 || static_cast<std::uint32_t>(::atoi(argv[1])) != kProtocolVersion) {
    ::dprintf(2, "rain-launcher: is started by rain, of the same version, and by nobody else\n");
    return 2;
  }
  int socket = ::atoi(argv[2]), client = ::atoi(argv[3]);
  const char* run_directory = argv[4];
  keep_only(socket, client);
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) give_up("PR_SET_CHILD_SUBREAPER");
  const int outer = open_pidfd(::getpid());
  if (outer < 0) give_up("pidfd_open");

  const pid_t inner = ::fork();
  if (inner < 0) give_up("fork");
  if (inner == 0) {
    ::setsid();
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // is not inherited
    const Report ready{ReportKind::ready, 0, ::getpid(), 0, 0, SpawnStep::none, 0, 0};
    ::send(socket, &ready, sizeof ready, MSG_NOSIGNAL);
    Reaper reaper(socket, client, outer);
    reaper.run();
    reaper.kill_all();
  } else {
    const int inner_pidfd = open_pidfd(inner);
    if (inner_pidfd < 0) ::kill(inner, SIGKILL);
    pollfd watched[] = {{client, POLLIN, 0}, {inner_pidfd, POLLIN, 0}, {socket, 0, 0}};
    while (inner_pidfd >= 0 && ::poll(watched, 3, -1) < 0 && errno == EINTR) {
    }
    // The inner one sees the same and cleans up. It is killed only if it hangs: were this process
    // killed just after it had killed the other, nobody would be left.
    ::poll(&watched[1], 1, kGraceMilliseconds);
  }
  ::shutdown(socket, SHUT_RDWR);  // a forked copy of the client may hold an end of it
  end_all_descendants(inner);
  remove_spilled(run_directory);
  remove_tree(run_directory);
  return 0;
}

}  // namespace
}  // namespace rain::launcher

int main(int argc, char** argv) { return rain::launcher::main(argc, argv); }
