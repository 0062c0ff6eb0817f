#pragma once

#include <chrono>

namespace tasklib::base {

/// CLOCK_MONOTONIC, the same on both sides of a socket on one machine.
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = std::chrono::nanoseconds;

}  // namespace tasklib::base
