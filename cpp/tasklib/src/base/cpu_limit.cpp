#include "base/cpu_limit.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/cgroup.h"

namespace tasklib::base {
namespace {

unsigned affinity_cpus() {
  // The kernel's mask may be longer than cpu_set_t; it refuses a shorter one.
  for (int cpus = CPU_SETSIZE; cpus <= 1 << 20; cpus *= 2) {
    std::vector<cpu_set_t> mask(static_cast<std::size_t>(cpus) / CPU_SETSIZE);
    const std::size_t size = mask.size() * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, size, mask.data()) == 0)
      return static_cast<unsigned>(CPU_COUNT_S(size, mask.data()));
  }
  return static_cast<unsigned>(std::max(::sysconf(_SC_NPROCESSORS_ONLN), 1L));
}

}  // namespace

unsigned usable_cpus(const std::string& root) {
  std::uint64_t cpus = affinity_cpus();
  const auto limit = [&](std::optional<std::uint64_t> quota, std::optional<std::uint64_t> period) {
    if (quota && period && *period > 0)
      cpus = std::min(cpus, *quota / *period + (*quota % *period != 0 ? 1 : 0));
  };
  const CgroupPath cgroup = find_cgroup("cpu", root);
  for (const std::string& directory : cgroup.v1)
    limit(leading_number(read_text(directory + "/cpu.cfs_quota_us")),
          leading_number(read_text(directory + "/cpu.cfs_period_us")));
  for (const std::string& directory : cgroup.v2) {
    const std::string text = read_text(directory + "/cpu.max");  // "max 100000": quota, period
    const std::size_t blank = text.find(' ');
    if (blank != text.npos) limit(leading_number(text), leading_number(text.substr(blank + 1)));
  }
  return static_cast<unsigned>(std::max<std::uint64_t>(cpus, 1));
}

}  // namespace tasklib::base
