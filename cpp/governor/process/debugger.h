#pragma once

#include <string>
#include <vector>

namespace rain::process {

/// A command that runs `argv` in gdb: after a signal that kills (SIGSEGV, SIGABRT, …) the
/// backtraces of all threads go to standard error, that of the guilty thread last, and the signal
/// takes its course. What gdb says goes to standard error, too; the program's own output is where
/// it was.
std::vector<std::string> under_gdb(const std::string& gdb, const std::vector<std::string>& argv);

/// The wait status of a program that ran so: gdb can only exit, and does with 128 + signal.
int status_of_debugged(int wait_status);

/// Of standard error: so much of it is in the report of a death in gdb.
inline constexpr std::size_t kDebuggedLines = 400;
inline constexpr std::size_t kDebuggedBytes = 64 * 1024;

}  // namespace rain::process
