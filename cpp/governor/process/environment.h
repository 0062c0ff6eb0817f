#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rain::process {

/// Variables that say how many threads a library may use: OpenMP, OpenBLAS, MKL, NumExpr.
extern const char* const kThreadVariables[4];

/// Adds "NAME=value", or replaces what NAME had.
void set_variable(std::vector<std::string>& environment, const std::string& entry);

/// Libraries that start threads of their own use as many as the task was granted cpus,
/// and one where it takes none.
void set_thread_counts(std::vector<std::string>& environment, std::uint32_t cpus);

}  // namespace rain::process
