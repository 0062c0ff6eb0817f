#include "executor/environment.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/errors.h"
#include "base/syscall.h"

namespace tasklib::executor {
namespace {

constexpr const char* kSocketVariable = "RAIN_EXECUTOR_SOCKET";
constexpr const char* kIdVariable = "RAIN_EXECUTOR_ID";
constexpr const char* kProtocolsVariable = "RAIN_EXECUTOR_PROTOCOLS";
constexpr const char* kThreadsVariable = "RAIN_EXECUTOR_THREADS";
constexpr std::string_view kCbor2Prefix = "cbor-2@";

std::string required(const char* name) {
  const char* value = std::getenv(name);
  if (value != nullptr && *value != '\0') return value;
  throw base::Error(std::string("not started by a governor: ") + name +
                    " is not set. Name this program in the governor's configuration and submit a "
                    "task of its type instead of starting it by hand.");
}

template <class Number>
Number number(const char* name, std::string_view text) {
  Number value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    throw base::Error(std::string(name) + " is '" + std::string(text) +
                      "', which is no 32-bit number");
  return value;
}

std::string::size_type last_slash(const std::string& path) { return path.rfind('/'); }

}  // namespace

std::string Environment::directory() const {
  const auto slash = last_slash(socket_path);
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : socket_path.substr(0, slash);
}

Environment read_environment() {
  Environment environment;
  environment.socket_path = required(kSocketVariable);
  environment.executor_id = number<std::int32_t>(kIdVariable, required(kIdVariable));
  // The path tells whether the variable is meant for us: an older governor that runs inside a
  // task of ours passes it on to its own executors.
  const char* protocols = std::getenv(kProtocolsVariable);
  if (protocols != nullptr) {
    const std::string_view text = protocols;
    environment.cbor2 = text.substr(0, kCbor2Prefix.size()) == kCbor2Prefix &&
                        text.substr(kCbor2Prefix.size()) == environment.socket_path;
  }
  if (const char* threads = std::getenv(kThreadsVariable))
    environment.threads = std::max(1u, number<unsigned>(kThreadsVariable, threads));
  return environment;
}

base::UniqueFd connect_to(const std::string& socket_path) {
  base::UniqueFd directory;
  std::string path = socket_path;
  sockaddr_un address{};
  if (path.size() >= sizeof address.sun_path) {
    const auto slash = last_slash(path);
    const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    directory.reset(base::checked(
        "open", parent, [&] { return ::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
    path = "/proc/self/fd/" + std::to_string(directory.get()) + "/" +
           (slash == std::string::npos ? path : path.substr(slash + 1));
    if (path.size() >= sizeof address.sun_path)
      throw base::SystemError("connect", socket_path, ENAMETOOLONG);
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  base::UniqueFd socket(base::checked(
      "socket", "AF_UNIX", [] { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }));
  base::checked("connect", socket_path, [&] {
    return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  });
  return socket;
}

}  // namespace tasklib::executor
