#pragma once

#include <cstddef>
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
    std::string stdin_path = "/dev/null";
    std::string stdout_path, stderr_path;  // created or truncated
    /// An assignment of `env` that no other process has but those that this one starts: what it
    /// leaves behind is recognised by it. Empty: by its session alone.
    std::string owner;
  };

  /// Starts the pair. `program`: path of the launcher. `run_directory` (absolute) is removed by it,
  /// last, when this process has ended or close() was called.
  /// Throws SystemError.
  LauncherClient(const std::string& program, const std::string& run_directory);
  LauncherClient(const LauncherClient&) = delete;
  LauncherClient& operator=(const LauncherClient&) = delete;
  /// As close().
  ~LauncherClient();

  /// Readable when reports wait or the launcher is gone. Stays the same until close().
  int fd() const { return socket_.get(); }
  /// Throws Error when the request is too large, SystemError when the launcher is gone. Each is
  /// answered by `started` or `spawn_failed`; after `started` there comes one `exited`.
  void spawn(const SpawnRequest& request);
  /// Throws SystemError when the launcher is gone.
  void kill(std::uint32_t key);
  /// The next report, if one waits. Sets gone() at end of file.
  std::optional<launcher::Report> next_report();
  bool gone() const { return gone_; }
  /// Whether it is gone or about to be, also before next_report() has come to that: it hangs up
  /// before it removes anything.
  bool hung_up() const;

  /// Kills everything and waits until the launcher has removed the run directory and ended.
  /// Where this process adopts orphans (it is PID 1 or a child-subreaper) the launcher has become
  /// its child: then it is reaped here, by its number and nothing else. Idempotent.
  void close();
  /// In a forked child: closes descriptors and forgets; nothing of the parent is disturbed.
  void abandon_after_fork() noexcept;

  /// The two halves, for diagnostics. The inner one's is 0 until its first message was read by
  /// next_report().
  std::int32_t outer_pid() const { return outer_pid_; }
  std::int32_t inner_pid() const { return inner_pid_; }

 private:
  void send(const void* bytes, std::size_t size_bytes);
  void reap_if_ours();

  const std::string run_directory_;
  const std::int32_t owner_pid_;  // a forked copy disturbs nothing
  tasklib::base::UniqueFd socket_;
  tasklib::base::UniqueFd outer_;  // pidfd
  std::int32_t outer_pid_ = 0, inner_pid_ = 0;
  bool gone_ = false;
};

}  // namespace rain::process
