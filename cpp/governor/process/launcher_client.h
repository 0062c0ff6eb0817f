#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "launcher/protocol.h"

namespace rain::process {

/// The governor's end of the launcher: the only process it ever spawns; every other child is the
/// launcher's. Never forks: the launcher is started through a short-lived vfork-like child, so
/// that it is not this process's child and neither os.wait() nor SIGCHLD sees it.
/// Owned by the Governor. Thread: token holder.
class LauncherClient {
 public:
  struct SpawnRequest {
    std::uint32_t key = 0;
    std::vector<std::string> argv;  // argv[0] is looked up in the PATH of `env`
    std::vector<std::string> env;   // "NAME=value"
    std::string working_directory;
    std::string stdout_path, stderr_path;  // created or truncated; stdin is /dev/null
  };

  /// Starts the pair. `program`: path of the launcher. `run_directory` is removed by it, last,
  /// when this process has ended or close() was called.
  /// Throws SystemError.
  LauncherClient(const std::string& program, const std::string& run_directory);
  /// As close().
  ~LauncherClient();

  /// Readable when reports wait or the launcher is gone. Stays the same until close().
  int fd() const { return socket_.get(); }
  /// Throws Error when the request is too large, SystemError when the launcher is gone.
  void spawn(const SpawnRequest& request);
  /// Throws SystemError when the launcher is gone.
  void kill(std::uint32_t key);
  /// The next report, if one waits. Sets gone() at end of file.
  std::optional<launcher::Report> next_report();
  bool gone() const { return gone_; }

  /// Kills everything and waits until the launcher has removed the run directory and ended.
  /// Idempotent.
  void close();
  /// In a forked child: closes descriptors and forgets; nothing of the parent is disturbed.
  void abandon_after_fork() noexcept;

 private:
  tasklib::base::UniqueFd socket_;
  std::int32_t outer_pid_ = 0;
  bool gone_ = false;
};

}  // namespace rain::process
