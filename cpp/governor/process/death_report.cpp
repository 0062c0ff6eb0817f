#include "process/death_report.h"

#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace rain::process {
namespace {

struct SignalName {
  int number;
  const char* name;
  const char* meaning;
};

constexpr SignalName kSignals[] = {
    {SIGHUP, "SIGHUP", "hang-up"},
    {SIGINT, "SIGINT", "interrupt"},
    {SIGQUIT, "SIGQUIT", "quit"},
    {SIGILL, "SIGILL", "illegal instruction"},
    {SIGTRAP, "SIGTRAP", "trap"},
    {SIGABRT, "SIGABRT", "abort"},
    {SIGBUS, "SIGBUS", "bus error"},
    {SIGFPE, "SIGFPE", "arithmetic error"},
    {SIGKILL, "SIGKILL", "killed"},
    {SIGUSR1, "SIGUSR1", "user signal 1"},
    {SIGSEGV, "SIGSEGV", "segmentation fault"},
    {SIGUSR2, "SIGUSR2", "user signal 2"},
    {SIGPIPE, "SIGPIPE", "broken pipe"},
    {SIGALRM, "SIGALRM", "alarm clock"},
    {SIGTERM, "SIGTERM", "terminated"},
    {SIGXCPU, "SIGXCPU", "CPU time limit exceeded"},
    {SIGXFSZ, "SIGXFSZ", "file size limit exceeded"},
    {SIGSYS, "SIGSYS", "bad system call"},
};

std::string number_text(double value, const char* unit) {
  char text[48];
  std::snprintf(text, sizeof text, value < 100 ? "%.1f %s" : "%.0f %s", value, unit);
  return text;
}

/// "'a', 'b' and 3 more"
std::string tasks_text(const std::vector<std::string>& tasks) {
  constexpr std::size_t kShown = 3;
  std::string text;
  for (std::size_t i = 0; i < tasks.size() && i < kShown; ++i) {
    text += (i == 0 ? "'" : ", '") + tasks[i] + "'";
  }
  if (tasks.size() > kShown) text += " and " + std::to_string(tasks.size() - kShown) + " more";
  return text;
}

bool by_itself(const ExecutorDeath& death) { return death.trouble.empty(); }

}  // namespace

std::string signal_text(int signal) {
  for (const SignalName& known : kSignals) {
    if (known.number == signal) return std::string(known.name) + " (" + known.meaning + ")";
  }
  return "signal " + std::to_string(signal);
}

std::string exit_text(int wait_status) {
  if (WIFSIGNALED(wait_status)) return signal_text(WTERMSIG(wait_status));
  return "exit code: " + std::to_string(WEXITSTATUS(wait_status));
}

std::string bytes_text(std::uint64_t bytes) {
  const char* units[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return number_text(value, units[unit]);
}

std::string duration_text(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (seconds < 1) return number_text(seconds * 1e3, "ms");
  if (seconds < 120) return number_text(seconds, "s");
  const auto minutes = static_cast<long long>(seconds / 60);
  char text[64];
  if (minutes < 120) {
    std::snprintf(text, sizeof text, "%lld min %02d s", minutes,
                  static_cast<int>(seconds - static_cast<double>(minutes) * 60));
  } else {
    std::snprintf(text, sizeof text, "%lld h %02lld min", minutes / 60, minutes % 60);
  }
  return text;
}

std::string death_headline(const ExecutorDeath& death) {
  std::string who = "executor '" + death.executor_type + "'";
  if (death.exit && death.exit->pid != 0) {
    who += " (process " + std::to_string(death.exit->pid) + ")";
  }
  std::string text;
  if (!by_itself(death)) {
    text = "Executor error: " + death.trouble + " (" + who + ")";
  } else if (death.phase == ExecutorDeath::Phase::starting) {
    text = "Executor unexpectedly terminated with " +
           (death.exit ? exit_text(death.exit->wait_status) : std::string("unknown status")) +
           " before it registered: " + who;
  } else {
    text = "Lost connection to " + who;
    if (death.exit) {
      const int status = death.exit->wait_status;
      text += WIFSIGNALED(status) ? ": killed by " + exit_text(status)
                                  : ": it ended with " + exit_text(status);
    } else {
      text += ": it closed its socket";
    }
  }
  if (death.phase == ExecutorDeath::Phase::running && !death.tasks.empty()) {
    text += " while running " + tasks_text(death.tasks);
  }
  return text;
}

std::string death_details(const ExecutorDeath& death) {
  std::string text;
  auto line = [&](const std::string& content) {
    if (!text.empty()) text += '\n';
    text += content;
  };
  if (death.exit) {
    const int status = death.exit->wait_status;
    line("run time " +
         duration_text(std::chrono::nanoseconds(
             static_cast<std::chrono::nanoseconds::rep>(death.exit->run_time_ns))) +
         ", peak memory " + bytes_text(death.exit->peak_rss_bytes) +
         (WIFSIGNALED(status) && WCOREDUMP(status) ? ", core dumped" : ""));
    if (by_itself(death) && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
      line(
          "somebody killed it: a user, or the kernel for want of memory (see dmesg, and the "
          "memory limit of the container or job)");
    } else if (by_itself(death) && death.phase == ExecutorDeath::Phase::running &&
               WIFEXITED(status)) {
      line("a task must not end its process: exit(), _exit() and sys.exit() end the executor");
    } else if (by_itself(death) && death.phase == ExecutorDeath::Phase::starting &&
               WIFEXITED(status) && death.stderr_tail.empty()) {
      line(
          "run its command by hand to see why: it should wait for a connection to "
          "RAIN_EXECUTOR_SOCKET, or complain that the variable is missing");
    }
  }
  if (!death.stderr_tail.empty()) {
    line("last lines of stderr:");
    line(death.stderr_tail);
  } else {
    line("stderr is empty");
  }
  return text;
}

std::string spawn_failure_text(const launcher::Report& report, const std::string& command,
                               const std::string& working_directory, const std::string& who) {
  using launcher::SpawnStep;
  const int error_number = report.error_number;
  const std::string why = std::strerror(error_number);
  const std::string failed = who + " '" + command + "' failed: ";
  switch (report.failed_step) {
    case SpawnStep::working_directory:
      return failed + "cannot enter its working directory '" + working_directory + "': " + why;
    case SpawnStep::standard_input:
      return failed + "cannot open its standard input: " + why;
    case SpawnStep::standard_output:
    case SpawnStep::standard_error:
      return failed + "cannot create its log files: " + why +
             "; name another place by TMPDIR or by Client(run_directory=...)";
    case SpawnStep::process:
      return failed + "no process could be made: " + why +
             "; raise the limit of processes (ulimit -u, pids.max) or use fewer cpus";
    case SpawnStep::request:
      return failed + "the launcher refused the request: " + why;
    case SpawnStep::none:
    case SpawnStep::execute:
      break;
  }
  std::string advice;
  if (error_number == ENOENT) {
    advice = command.find('/') == std::string::npos
                 ? "; it is not in the PATH"
                 : "; if the file is there, the interpreter on its first line or its dynamic "
                   "loader is not";
  } else if (error_number == EACCES) {
    advice = "; it must be an executable file: chmod +x";
  } else if (error_number == ENOEXEC) {
    advice = "; is it built for this machine, or a script without a #! line?";
  } else if (error_number == E2BIG) {
    advice = "; its arguments and environment are too large";
  }
  return failed + "\"" + why + "\"" + advice;
}

}  // namespace rain::process
