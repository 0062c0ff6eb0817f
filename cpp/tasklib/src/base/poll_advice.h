#pragma once

#include <cstdint>

namespace tasklib::base {

/// Whether polling before blocking is worth it, by what came of it lately. It is not when the other
/// side works for longer than one polls, nor when it waits for the very CPU that the polling takes;
/// then every wait but one in kSkipped blocks at once. Value; one thread at a time.
class PollAdvice {
 public:
  static constexpr std::uint32_t kSkipped = 64;
  static constexpr std::uint32_t kPatience = 3;  // polls in vain, in a row

  /// Asked once before each wait.
  bool worth_it() {
    if (skip_ == 0) return true;
    --skip_;
    return false;
  }
  void succeeded() { in_vain_ = 0; }
  void failed() {
    if (++in_vain_ < kPatience) return;
    in_vain_ = kPatience;
    skip_ = kSkipped;
  }

 private:
  std::uint32_t in_vain_ = 0, skip_ = 0;
};

}  // namespace tasklib::base
