#pragma once

#include <cstdint>
#include <string>

namespace rain::process {

/// Bytes of memory of its own that a process uses, and its descendants: anonymous pages, not those
/// of files and of shared memory; what a fork shares counts once. 0: it is gone. `root` is put
/// before the paths that are read (tests).
std::uint64_t own_memory_bytes(std::int32_t pid, const std::string& root = "");

/// How many processes of this process' cgroup the kernel has killed for want of memory so far; 0
/// where that can't be told. `root` as above.
std::uint64_t kernel_oom_kills(const std::string& root = "");

}  // namespace rain::process
