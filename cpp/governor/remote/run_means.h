#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/clock.h"

namespace rain::remote {

/// What a task of a method is expected to take: the mean of what tasks took, of which older ones
/// count less. Thread-safe.
class RunMeans {
 public:
  void measured(std::uint32_t method, tasklib::base::Duration run_time) {
    const double seconds = std::chrono::duration<double>(run_time).count();
    if (seconds <= 0) return;
    const std::lock_guard lock(mutex_);
    if (method >= means_.size()) means_.resize(method + 1, 0.0);
    double& mean = means_[method];
    mean = mean == 0 ? seconds : mean + (seconds - mean) / 16;
  }

  /// 0: never measured.
  double seconds(std::uint32_t method) const {
    const std::lock_guard lock(mutex_);
    return method < means_.size() ? means_[method] : 0;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<double> means_;  // by method
};

}  // namespace rain::remote
