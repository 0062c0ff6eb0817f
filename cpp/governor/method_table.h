#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace rain {

/// Names of task types by number; the numbers are what records carry. Grows only. Thread-safe.
class MethodTable {
 public:
  std::uint32_t intern(const std::string& task_type);
  /// Valid as long as the table.
  const std::string& name(std::uint32_t method) const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::uint32_t> numbers_;
  std::vector<std::unique_ptr<const std::string>> names_;
};

}  // namespace rain
