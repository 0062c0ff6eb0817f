#include "method_table.h"

namespace rain {

std::uint32_t MethodTable::intern(const std::string& task_type) {
  std::lock_guard lock(mutex_);
  auto [found, added] = numbers_.try_emplace(task_type, static_cast<std::uint32_t>(names_.size()));
  if (added) names_.push_back(std::make_unique<const std::string>(task_type));
  return found->second;
}

const std::string& MethodTable::name(std::uint32_t method) const {
  std::lock_guard lock(mutex_);
  return *names_.at(method);
}

}  // namespace rain
