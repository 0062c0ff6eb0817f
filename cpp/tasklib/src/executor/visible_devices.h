#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "wire/messages.h"

namespace tasklib::executor {

/// Sets CUDA_VISIBLE_DEVICES as long as it lives, for a call with "gpu" of the only thread.
class VisibleDevices {
 public:
  VisibleDevices(const wire::TaskSpec& spec, bool only_thread) {
    if (!only_thread) return;
    for (const auto& resource : spec.resources)
      if (resource.first == "gpu") set(resource.second);
  }
  ~VisibleDevices() {
    if (!set_) return;
    if (had_)
      ::setenv(kName, before_.c_str(), 1);
    else
      ::unsetenv(kName);
  }
  VisibleDevices(const VisibleDevices&) = delete;
  VisibleDevices& operator=(const VisibleDevices&) = delete;

 private:
  static constexpr const char* kName = "CUDA_VISIBLE_DEVICES";

  void set(const std::vector<std::string>& ids) {
    if (const char* value = std::getenv(kName)) {
      had_ = true;
      before_ = value;
    }
    std::string list;
    for (const std::string& id : ids) list += (list.empty() ? "" : ",") + id;
    set_ = ::setenv(kName, list.c_str(), 1) == 0;
  }

  bool set_ = false, had_ = false;
  std::string before_;
};

}  // namespace tasklib::executor
