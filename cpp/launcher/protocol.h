#pragma once

// What the governor's launcher client and the launcher say to each other: datagrams over one
// AF_UNIX SOCK_SEQPACKET pair, host byte order (both are always built together).
//
//   request  = Request header, then (spawn) the strings: argv, env, cwd, stdin, stdout, stderr
//              paths, owner; each NUL-terminated, argv and env counted in the header
//   owner    = an assignment of env that this process and what it starts have and nobody else, by
//              which what it leaves behind is recognised; empty: none
//   report   = Report
//
// A spawn request of more than kMaxRequestBytes is refused by the client side. The launcher is
// started as `rain-launcher VERSION SOCKET_FD CLIENT_PIDFD RUN_DIRECTORY`.

#include <cstdint>

namespace rain::launcher {

constexpr std::uint32_t kProtocolVersion = 2;
constexpr std::uint32_t kMaxRequestBytes = 192 * 1024;

enum class RequestKind : std::uint32_t {
  spawn = 1,
  kill = 2,  // SIGKILL the process group and everything the process left behind
};

struct Request {
  RequestKind kind;
  std::uint32_t key;         // chosen by the client, names the process in reports
  std::uint32_t argv_count;  // spawn
  std::uint32_t env_count;   // spawn: the whole environment
};

enum class ReportKind : std::uint32_t {
  started = 1,       // pid is set
  spawn_failed = 2,  // error_number and failed_step are set
  exited = 3,        // wait_status and usage are set; its descendants are gone too
  ready = 4,         // first of all: pid is the inner launcher's; for LauncherClient alone
};

/// Which step of a spawn failed with error_number.
enum class SpawnStep : std::uint32_t {
  none = 0,
  request = 1,            // malformed, or the key is in use
  process = 2,            // no process could be made
  working_directory = 3,  // could not be entered
  standard_input = 4,     // could not be opened
  standard_output = 5,    // the log could not be created
  standard_error = 6,
  execute = 7,  // the program was not found or could not be executed
};

struct Report {
  ReportKind kind;
  std::uint32_t key;
  std::int32_t pid;
  std::int32_t error_number;
  std::int32_t wait_status;
  SpawnStep failed_step;
  std::uint64_t peak_rss_bytes;
  std::uint64_t run_time_ns;
};

}  // namespace rain::launcher
