#include "process/environment.h"

#include <algorithm>

namespace rain::process {

const char* const kThreadVariables[4] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                                         "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"};

void set_variable(std::vector<std::string>& environment, const std::string& entry) {
  const std::size_t prefix = entry.find('=') + 1;
  for (auto& existing : environment) {
    if (existing.compare(0, prefix, entry, 0, prefix) == 0) {
      existing = entry;
      return;
    }
  }
  environment.push_back(entry);
}

void set_thread_counts(std::vector<std::string>& environment, std::uint32_t cpus) {
  for (const char* name : kThreadVariables)
    set_variable(environment, std::string(name) + "=" + std::to_string(std::max(1u, cpus)));
}

}  // namespace rain::process
