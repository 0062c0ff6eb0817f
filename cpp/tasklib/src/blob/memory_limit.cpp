#include "blob/memory_limit.h"

#include <algorithm>
#include <sstream>

#include "base/cgroup.h"

namespace tasklib::blob {
namespace {

// v1 says "no limit" with the largest count of pages that it can hold.
constexpr std::uint64_t kUnlimitedBytes = std::uint64_t{1} << 60;

// What differs between the two versions. In both, shared memory is in neither file list.
struct Names {
  const char *limit, *usage, *inactive_file, *active_file;
};
constexpr Names kV1{"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file",
                    "total_active_file"};
constexpr Names kV2{"/memory.max", "/memory.current", "inactive_file", "active_file"};

std::uint64_t file_pages_bytes(const std::string& directory, const Names& names) {
  std::istringstream file(base::read_text(directory + "/memory.stat"));
  std::uint64_t sum = 0, bytes = 0;
  for (std::string key; file >> key >> bytes;)
    if (key == names.inactive_file || key == names.active_file) sum += bytes;
  return sum;
}

std::uint64_t subtract(std::uint64_t from, std::uint64_t what) {
  return from - std::min(from, what);
}

/// The least of what `value(directory, names, limit)` gives for the limits over this process.
template <class Value>
std::optional<std::uint64_t> least_over_limits(const std::string& root, Value value) {
  std::optional<std::uint64_t> least;
  const auto look = [&](const std::string& directory, const Names& names) {
    const auto limit = base::leading_number(base::read_text(directory + names.limit));
    if (!limit || *limit >= kUnlimitedBytes) return;
    const std::optional<std::uint64_t> found = value(directory, names, *limit);
    if (found) least = std::min(least.value_or(*found), *found);
  };
  const base::CgroupPath cgroup = base::find_cgroup("memory", root);
  for (const std::string& directory : cgroup.v1) look(directory, kV1);
  for (const std::string& directory : cgroup.v2) look(directory, kV2);
  return least;
}

}  // namespace

std::optional<std::uint64_t> memory_limit_bytes(const std::string& root) {
  return least_over_limits(
      root, [](const std::string&, const Names&, std::uint64_t limit) { return limit; });
}

std::optional<std::uint64_t> memory_headroom_bytes(const std::string& root) {
  return least_over_limits(
      root,
      [](const std::string& directory, const Names& names,
         std::uint64_t limit) -> std::optional<std::uint64_t> {
        const auto usage = base::leading_number(base::read_text(directory + names.usage));
        if (!usage) return std::nullopt;
        const std::uint64_t used = subtract(*usage, file_pages_bytes(directory, names));
        return subtract(subtract(limit, limit / 10), used);
      });
}

std::string huge_pages(const std::string& root) {
  const std::string text =
      base::read_text(root + "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  const auto begin = text.find('['), end = text.find(']');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return {};
  return text.substr(begin + 1, end - begin - 1);
}

}  // namespace tasklib::blob
