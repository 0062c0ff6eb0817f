#include "wire/version.h"

#include <cstdlib>
#include <optional>
#include <vector>

namespace tasklib::wire {
namespace {

/// The numbers before anything else ("1.2.0.dev3": 1, 2, 0); nothing when there are none.
std::optional<std::vector<unsigned long>> numbers_of(const std::string& version) {
  std::vector<unsigned long> numbers;
  const char* at = version.c_str();
  while (*at >= '0' && *at <= '9') {
    char* end = nullptr;
    numbers.push_back(std::strtoul(at, &end, 10));
    at = *end == '.' ? end + 1 : end;
  }
  if (numbers.empty()) return std::nullopt;
  while (numbers.back() == 0 && numbers.size() > 1) numbers.pop_back();
  return numbers;
}

std::string name_of(const std::string& version) {
  return version.empty() ? "of unknown version" : "rain-tasklib " + version;
}

}  // namespace

const char* own_version() { return TASKLIB_VERSION; }

std::string mismatch_text(const std::string& executor, const std::string& governor) {
  if (!executor.empty() && executor == governor)
    return "both sides are rain-tasklib " + governor +
           ", so that nothing has to be rebuilt: one of "
           "them is at fault";
  const std::string versions =
      "the executor is " + name_of(executor) + ", the governor is " + name_of(governor);
  const std::string rebuild = "rebuild the executor against " +
                              (governor.empty() ? "the client's rain-tasklib" : name_of(governor));
  const std::string upgrade =
      "upgrade the client's rain-tasklib" + (executor.empty() ? "" : " to " + executor);
  const auto of_executor = numbers_of(executor), of_governor = numbers_of(governor);
  if (!of_executor || !of_governor || *of_executor == *of_governor)
    return versions + ": " + rebuild + ", or " + upgrade;
  if (*of_executor < *of_governor) return versions + ": the executor is older, " + rebuild;
  return versions + ": the governor is older, " + upgrade + ", or " + rebuild;
}

}  // namespace tasklib::wire
