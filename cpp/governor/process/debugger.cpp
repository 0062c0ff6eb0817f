#include "process/debugger.h"

#include <sys/wait.h>

#include <csignal>

namespace rain::process {
namespace {

constexpr int kOfSignals = 128;

// Descriptor 3 is the standard output that the program gets back.
constexpr const char* kRedirect = "exec 3>&1 1>&2; exec \"$@\"";
constexpr const char* kGiveBack = "set exec-wrapper sh -c \"exec \\\"\\$@\\\" 1>&3 3>&-\" sh";

constexpr const char* kCommands[] = {
    "set confirm off",
    "set disable-randomization off",  // not allowed in many containers
    "set print thread-events off",
    "set print inferior-events off",
    kGiveBack,
    // A program may use signals as it likes; only those that mean a bug stop it.
    "handle all nostop noprint pass",
    "handle SIGSEGV SIGBUS SIGFPE SIGILL SIGABRT SIGSYS stop print pass",
    "run",
    "thread apply all bt 40",
    "echo \\nThe thread that stopped:\\n",
    "bt 200",
    "handle all nostop noprint pass",
    "continue",
    "eval \"quit %d\", $_isvoid($_exitsignal) ? ($_isvoid($_exitcode) ? 1 : $_exitcode)"
    " : 128 + $_exitsignal",
};

}  // namespace

std::vector<std::string> under_gdb(const std::string& gdb, const std::vector<std::string>& argv) {
  std::vector<std::string> command{"/bin/sh", "-c", kRedirect, "sh", gdb, "-nx", "-q", "-batch"};
  for (const char* each : kCommands) {
    command.emplace_back("-ex");
    command.emplace_back(each);
  }
  command.emplace_back("--args");
  command.insert(command.end(), argv.begin(), argv.end());
  return command;
}

int status_of_debugged(int wait_status) {
  if (!WIFEXITED(wait_status)) return wait_status;
  const int signal = WEXITSTATUS(wait_status) - kOfSignals;
  return signal > 0 && signal < NSIG ? signal : wait_status;
}

}  // namespace rain::process
