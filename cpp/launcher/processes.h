#pragma once

#include <sys/types.h>

#include <vector>

namespace rain::launcher {

/// A line of the kernel's process table.
struct ProcessEntry {
  pid_t pid;
  pid_t parent;
  pid_t session;
  bool zombie;
  bool launcher;  // a launcher, by its name
};

/// Every process that /proc shows; none when /proc is of another pid namespace.
std::vector<ProcessEntry> all_processes();

/// This process's children, zombies included; none likewise.
std::vector<pid_t> own_children();

/// `root` and all below it in `table`.
std::vector<pid_t> tree_of(const std::vector<ProcessEntry>& table, pid_t root);

/// Whether the process was started with `assignment` ("NAME=value") in its environment. `unknown`:
/// it is just executing a program (its environment reads as empty then), ending, or not ours to
/// look into.
enum class Answer { no, yes, unknown };
Answer started_with(pid_t pid, const char* assignment);

/// SIGKILLs and reaps every descendant, again and again until there is none (a fork may run ahead
/// of one round). Launchers that were started further down clean up after themselves first, as
/// their clients die, and are spared for half a second. Gives up after ten seconds on processes
/// that cannot be killed (another user's, or stuck in the kernel). Without a /proc of its own pid
/// namespace it leaves them to PR_SET_PDEATHSIG.
/// Requires: this process is a child-subreaper, has one thread, and blocks SIGCHLD.
/// `inner`: a child that is not to be spared (0: none).
void end_all_descendants(pid_t inner);

}  // namespace rain::launcher
