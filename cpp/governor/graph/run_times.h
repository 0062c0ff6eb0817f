#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace rain::graph {

/// What a call of a method is expected to take: the maximum of its run times, which decays, so
/// that one slow start is forgotten after some hundred calls. Thread: token holder.
class RunTimes {
 public:
  /// Nanoseconds; kUnknown: never measured, or 4.29 s and more, which comes to the same.
  static constexpr std::uint32_t kUnknown = 0xffffffff;

  std::uint32_t estimate_ns(std::uint32_t method) const {
    return method < estimates_.size() ? estimates_[method] : kUnknown;
  }

  void measured(std::uint32_t method, tasklib::base::Duration run_time) {
    const auto ns = static_cast<std::uint32_t>(
        std::clamp<std::int64_t>(run_time.count(), 1, std::int64_t{kUnknown} - 1));
    if (method >= estimates_.size()) estimates_.resize(method + 1, kUnknown);
    std::uint32_t& estimate = estimates_[method];
    estimate = estimate == kUnknown ? ns : std::max(ns, estimate - estimate / 16);
  }

 private:
  std::vector<std::uint32_t> estimates_;  // by method
};

}  // namespace rain::graph
