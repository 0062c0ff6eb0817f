#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "launcher/protocol.h"

namespace rain::launcher {

/// The inner launcher: starts what the client asks for, reaps it and what it leaves behind, and
/// reports. One thread; SIGCHLD is blocked and read from a descriptor; the process is a
/// child-subreaper, so that every orphan below becomes its child.
///
/// A process "ends" in two steps. When it dies it is reaped, its group is killed, and what it left
/// in its session or, with its owner's assignment, in other sessions is killed with all below.
/// When nothing of that is left, `exited` is reported. Orphans of processes that still live are
/// left alone.
class Reaper {
 public:
  /// Descriptors stay the caller's. `outer` and `client` are pidfds.
  Reaper(int socket, int client, int outer);
  /// Returns when the client or the outer launcher has ended, or the client closed the socket.
  void run();
  /// Kills the groups of all that was started and lives.
  void kill_all();

 private:
  struct Process {
    std::uint32_t key;
    pid_t pid;
    std::uint64_t start_ns;
    std::string owner;  // see protocol.h; empty: none
    bool dead = false;  // reaped; `exit` is filled in
    std::uint64_t death_ns = 0;
    Report exit{};
  };

  bool receive_requests();
  void handle(char* bytes, std::size_t size);
  void start(const Request& request, char* strings, char* end);
  void kill_process(std::uint32_t key);
  void reap();
  void finish_dead();
  void report(const Report& report);
  bool flush_reports();
  bool any_dead() const;

  const int socket_, client_, outer_;
  int child_signals_ = -1;
  std::vector<Process> processes_;
  std::deque<Report> unsent_;
  std::vector<char> buffer_;
};

}  // namespace rain::launcher
