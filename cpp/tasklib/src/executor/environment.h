#pragma once

#include <cstdint>
#include <string>

#include "base/unique_fd.h"

namespace tasklib::executor {

/// What the governor tells a process that it starts, by environment variables (reference 1.1).
struct Environment {
  std::string socket_path;
  std::int32_t executor_id = 0;
  bool cbor2 = false;    ///< the governor speaks cbor-2
  unsigned threads = 1;  ///< that start() uses unless the program says how many

  /// The directory that the governor made for this process.
  std::string directory() const;
};

/// Throws base::Error when a variable is missing or makes no sense.
Environment read_environment();

/// Connects to a Unix socket; the path may be longer than sockaddr_un takes. Throws SystemError.
base::UniqueFd connect_to(const std::string& socket_path);

}  // namespace tasklib::executor
