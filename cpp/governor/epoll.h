#pragma once

#include <sys/epoll.h>

#include <cstdint>

#include "base/syscall.h"

namespace rain {

/// What an event of the Runtime's epoll set is about.
enum class Source : std::uint32_t { launcher, timer, wake, executor };

inline std::uint64_t tag(Source source, std::uint32_t id = 0) {
  return static_cast<std::uint64_t>(source) << 32 | id;
}

/// Adds `fd` to the set, or changes what it is watched for. Throws SystemError.
inline void watch_events(int epoll, int fd, std::uint64_t data, std::uint32_t events,
                         bool change = false) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  tasklib::base::checked("epoll_ctl", "", [&] {
    return ::epoll_ctl(epoll, change ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
  });
}

}  // namespace rain
