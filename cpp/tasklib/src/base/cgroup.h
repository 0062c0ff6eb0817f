#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tasklib::base {

/// The control group of this process, for one controller, and its parents as far as they can be
/// seen: directories, innermost first. From /proc/self/cgroup and /proc/self/mountinfo.
struct CgroupPath {
  std::vector<std::string> v1;  // cgroup v1 hierarchy that has the controller; empty: none
  std::vector<std::string> v2;  // unified hierarchy, whether or not it has the controller
};

/// A machine may have v1, v2, both (hybrid) or none. Never throws on what it finds or misses.
/// `root` is put before every path that is read or returned (tests).
CgroupPath find_cgroup(const std::string& controller, const std::string& root);

/// What is in a file of /proc or a cgroup; empty when it can't be read.
std::string read_text(const std::string& path);

/// The number that `text` begins with. Nothing: "max", "-1" (no limit, both), or no number.
std::optional<std::uint64_t> leading_number(const std::string& text);

}  // namespace tasklib::base
