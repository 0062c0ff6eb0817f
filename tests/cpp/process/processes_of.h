#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "launcher/protocol.h"
#include "process/launcher_client.h"
#include "process/run_directory.h"

namespace rain::process::testing {

constexpr std::chrono::seconds kDeadline{60};  // for machines under load; never reached otherwise

inline bool wait_for(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kDeadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::usleep(2'000);
  }
  return true;
}

/// What can be read; a process may end meanwhile.
inline std::string read_file(const std::string& path) {
  std::string content;
  const tasklib::base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[4096];
  for (ssize_t got; file && (got = ::read(file.get(), buffer, sizeof buffer)) > 0;) {
    content.append(buffer, static_cast<std::size_t>(got));
  }
  return content;
}

inline bool exists(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0;
}

/// Living processes whose command line or environment at start contains `mark`. The halves of a
/// launcher have the run directory on their command line.
inline std::vector<pid_t> processes_of(const std::string& mark) {
  std::vector<pid_t> found;
  DIR* proc = ::opendir("/proc");
  while (const dirent* entry = ::readdir(proc)) {
    const pid_t pid = std::atoi(entry->d_name);
    if (pid <= 0 || pid == ::getpid()) continue;
    const std::string base = "/proc/" + std::to_string(pid);
    if ((read_file(base + "/cmdline") + read_file(base + "/environ")).find(mark) !=
        std::string::npos) {
      found.push_back(pid);
    }
  }
  ::closedir(proc);
  return found;
}

inline std::string describe(const std::vector<pid_t>& pids) {
  std::string text;
  for (pid_t pid : pids) {
    std::string command = read_file("/proc/" + std::to_string(pid) + "/cmdline");
    for (char& c : command) c = c == '\0' ? ' ' : c;
    text += std::to_string(pid) + ": " + command + "\n";
  }
  return text;
}

/// A launcher with a run directory of its own, whose name marks all that is started through it.
struct Launched {
  std::string directory = make_run_directory("/tmp");
  std::string mark = directory.substr(directory.rfind('/') + 1);
  LauncherClient client{RAIN_LAUNCHER, directory};
  std::map<std::uint32_t, ExecutorPaths> paths;
  std::vector<launcher::Report> early;  // read while waiting for another

  LauncherClient::SpawnRequest request(std::uint32_t key, std::vector<std::string> argv) {
    const ExecutorPaths& p = paths[key] = make_executor_paths(directory, key);
    LauncherClient::SpawnRequest request;
    request.key = key;
    request.argv = std::move(argv);
    request.owner = "RAIN_EXECUTOR_SOCKET=" + p.socket_path;
    request.env = {"PATH=/usr/bin:/bin", "MARK=" + mark, request.owner};
    request.working_directory = p.directory;
    request.stdout_path = p.stdout_path;
    request.stderr_path = p.stderr_path;
    return request;
  }
  void shell(std::uint32_t key, const std::string& script) {
    client.spawn(request(key, {"/bin/bash", "-c", script}));
  }

  /// The next report; none when the launcher is gone or the deadline has passed.
  std::optional<launcher::Report> report() {
    const auto end = std::chrono::steady_clock::now() + kDeadline;
    while (!client.gone() && std::chrono::steady_clock::now() < end) {
      if (auto next = client.next_report()) return next;
      pollfd watched{client.fd(), POLLIN, 0};
      if (!client.gone()) ::poll(&watched, 1, 1000);
    }
    return std::nullopt;
  }
  /// The report of this kind about `key`; kind 0 when there was none.
  launcher::Report report_of(std::uint32_t key, launcher::ReportKind kind) {
    for (std::size_t i = 0; i < early.size(); ++i) {
      if (early[i].key == key && early[i].kind == kind) return early[i];
    }
    while (auto next = report()) {
      early.push_back(*next);
      if (next->key == key && next->kind == kind) return *next;
    }
    return {};
  }
  /// Runs to the end.
  launcher::Report run(std::uint32_t key, const std::string& script) {
    shell(key, script);
    return report_of(key, launcher::ReportKind::exited);
  }
  std::string out(std::uint32_t key) { return read_file(paths[key].stdout_path); }
  std::string err(std::uint32_t key) { return read_file(paths[key].stderr_path); }
};

}  // namespace rain::process::testing
