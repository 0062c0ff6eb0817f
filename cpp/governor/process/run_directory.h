#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace rain::process {

/// A Unix socket's path is at most this long (sun_path less its NUL). Old C++ executors connect by
/// the whole path, so everything below a run directory is kept short.
constexpr std::size_t kMaxSocketPathBytes = 107;

/// Where run directories go unless the user says otherwise: $XDG_RUNTIME_DIR if it is a directory
/// of this user's that can be written to and executed from, else $TMPDIR, else /tmp.
std::string default_run_directory_parent();

/// Makes a private (0700) directory "rain-XXXXXX" in `parent` (empty: the default one) with the
/// layout below, and returns its absolute path. The launcher removes it; should there never be one,
/// the caller does (launcher/remove_tree.h).
/// Throws SystemError that names path and remedy when the parent is missing, not writable,
/// read-only or full.
///
///   executors/executor-{id}.out, .err    logs; of ended processes, the latest ones
///   executors/work/{id}.{rnd}/           the executor's current directory, its socket in it
std::string make_run_directory(const std::string& parent);

/// Paths of one executor process. All absolute.
struct ExecutorPaths {
  std::string directory;    // was just made, 0700
  std::string socket_path;  // inside it; nothing there yet
  std::string stdout_path, stderr_path;
};
/// Makes the executor's own directory. Throws SystemError.
ExecutorPaths make_executor_paths(const std::string& run_directory, std::uint32_t executor_id);

}  // namespace rain::process
