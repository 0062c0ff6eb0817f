#include "launcher/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace rain::launcher {
namespace {

/// The paths to try, in order.
std::vector<std::string> candidates(const char* program, char** env) {
  if (::strchr(program, '/') != nullptr) return {program};
  std::vector<std::string> paths;
  if (*program == '\0') return paths;
  std::string search = "/usr/local/bin:/usr/bin:/bin";
  for (char** variable = env; *variable != nullptr; ++variable) {
    if (::strncmp(*variable, "PATH=", 5) == 0) {
      search = *variable + 5;
      break;
    }
  }
  for (size_t at = 0; at <= search.size();) {
    size_t end = search.find(':', at);
    if (end == std::string::npos) end = search.size();
    std::string directory = search.substr(at, end - at);
    paths.push_back(directory.empty() ? program : directory + "/" + program);
    at = end + 1;
  }
  return paths;
}

/// Runs in the child, which shares this process's memory until it executes: touches nothing but
/// `failure`.
[[noreturn]] void become(const Program& program, const std::vector<std::string>& paths,
                         pid_t launcher, volatile Started& failure) {
  auto fail = [&](SpawnStep step, int error_number) {
    failure.failed_step = step;
    failure.error_number = error_number;
    ::_exit(127);
  };
  auto redirect = [&](SpawnStep step, const char* path, int flags, int target) {
    const int fd = ::open(path, flags | O_NOCTTY | O_CLOEXEC, 0600);
    if (fd < 0 || ::dup2(fd, target) < 0) fail(step, errno);
  };
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launcher) ::_exit(127);
  if (::chdir(program.working_directory) != 0) fail(SpawnStep::working_directory, errno);
  constexpr int kLog = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND;
  redirect(SpawnStep::standard_input, program.stdin_path, O_RDONLY, 0);
  redirect(SpawnStep::standard_output, program.stdout_path, kLog, 1);
  redirect(SpawnStep::standard_error, program.stderr_path, kLog, 2);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  int error_number = ENOENT;
  for (const std::string& path : paths) {
    ::execve(path.c_str(), program.argv, program.env);
    if (errno == ENOENT || errno == ENOTDIR) continue;
    error_number = errno;
    if (errno != EACCES) break;  // as a shell does: further on there may be one that can be run
  }
  fail(SpawnStep::execute, error_number);
  ::_exit(127);
}

}  // namespace

Started spawn(const Program& program) {
  volatile Started started{0, 0, SpawnStep::none};
  const std::vector<std::string> paths = candidates(program.argv[0], program.env);
  const pid_t launcher = ::getpid();
  const pid_t pid = ::vfork();
  if (pid == 0) become(program, paths, launcher, started);
  if (pid < 0) return {0, errno, SpawnStep::process};
  if (started.error_number != 0) {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  return {pid, started.error_number, started.failed_step};
}

}  // namespace rain::launcher
