#pragma once

#include <string>

namespace tasklib::base {

/// CPUs that this process may keep busy: those of its affinity mask, but no more than the CPU
/// quota of its cgroup and of every parent (v2 cpu.max, v1 cpu.cfs_quota_us), rounded up. At
/// least 1. `root` is put before the paths that are read (tests).
unsigned usable_cpus(const std::string& root = "");

}  // namespace tasklib::base
