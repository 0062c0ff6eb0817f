#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launcher/protocol.h"

namespace rain::process {

/// What is known about an executor process that ended, or had to be ended. Pure data.
struct ExecutorDeath {
  enum class Phase { starting, idle, running };

  std::string executor_type;
  std::uint32_t executor_id = 0;
  Phase phase = Phase::starting;
  std::vector<std::string> tasks;  // running: type and name of what it was working on
  /// Why the governor ended it ("registered with invalid protocol; expected = cbor-1"); empty when
  /// it died by itself.
  std::string trouble;
  /// Its end as the launcher saw it; none when that is not known (yet).
  std::optional<launcher::Report> exit;
  std::string stderr_tail;  // of tail_lines()
};

/// One line: "Lost connection to executor 'img' (process 812): killed by SIGSEGV (segmentation
/// fault) while running 'img/resize' after 12.3 s". Starts with the phrases of Rain 0.4.
std::string death_headline(const ExecutorDeath& death);
/// The lines that follow: run time, peak memory, a guess where one is justified, the stderr tail.
/// Does not end with a newline.
std::string death_details(const ExecutorDeath& death);

/// Why a process could not be started, with what to do: "Executor command '/x/hello' failed: ...".
std::string spawn_failure_text(const launcher::Report& report, const std::string& command,
                               const std::string& working_directory,
                               const std::string& who = "Executor command");

/// "exit code: 3" or "SIGSEGV (segmentation fault)".
std::string exit_text(int wait_status);
/// "SIGSEGV (segmentation fault)"; "signal 40" for one without a name.
std::string signal_text(int signal);
/// "0 B", "812 KiB", "3.1 GiB".
std::string bytes_text(std::uint64_t bytes);
/// "0.8 ms", "12.3 s", "2 h 05 min".
std::string duration_text(std::chrono::nanoseconds duration);

}  // namespace rain::process
