#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tasklib::blob {

/// The memory limit of this process' cgroup, in bytes: the least over it and its parents. Nothing:
/// no limit. `root` as below.
std::optional<std::uint64_t> memory_limit_bytes(const std::string& root = "");

/// Bytes that this process may still use before its cgroup's memory limit comes near: limit -
/// usage - 10 % of the limit, the least over the cgroup and its parents (v2 memory.max, v1
/// memory.limit_in_bytes; whichever the machine has). Usage is counted without file pages, which
/// the kernel takes back under pressure: else any container that has read large files looks full.
/// Nothing: no limit. `root` is put before the paths that are read (tests).
std::optional<std::uint64_t> memory_headroom_bytes(const std::string& root = "");

/// Whether the kernel gives shared memory huge pages: the chosen word of
/// /sys/kernel/mm/transparent_hugepage/shmem_enabled ("always", "within_size", "advise", "never",
/// "deny", "force"). Regions ask for them (madvise), which counts for "advise". Empty: unknown.
std::string huge_pages(const std::string& root = "");

}  // namespace tasklib::blob
