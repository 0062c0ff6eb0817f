#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace tasklib::base {

/// Ids are distinct types: none converts into another.

/// An id within a session (reference 2.1): tasks and data objects of a session share one number
/// space, counted by the client from 10 upwards.
template <class Tag>
struct SessionScopedId {
  std::int32_t session = -1;
  std::int32_t id = 0;

  friend bool operator==(SessionScopedId a, SessionScopedId b) {
    return a.session == b.session && a.id == b.id;
  }
  friend bool operator!=(SessionScopedId a, SessionScopedId b) { return !(a == b); }
  friend bool operator<(SessionScopedId a, SessionScopedId b) {
    return a.session != b.session ? a.session < b.session : a.id < b.id;
  }
  /// "S/I", as Rain's clients print it.
  std::string to_string() const { return std::to_string(session) + "/" + std::to_string(id); }
};

/// A plain counter; 0 is "none".
template <class Tag>
struct CountedId {
  std::uint32_t value = 0;

  friend bool operator==(CountedId a, CountedId b) { return a.value == b.value; }
  friend bool operator!=(CountedId a, CountedId b) { return a.value != b.value; }
  friend bool operator<(CountedId a, CountedId b) { return a.value < b.value; }
  explicit operator bool() const { return value != 0; }
};

using TaskId = SessionScopedId<struct TaskTag>;
using DataObjectId = SessionScopedId<struct DataObjectTag>;
using RegionId = CountedId<struct RegionTag>;
using ExecutorId = CountedId<struct ExecutorTag>;

}  // namespace tasklib::base

namespace std {
template <class Tag>
struct hash<tasklib::base::SessionScopedId<Tag>> {
  size_t operator()(tasklib::base::SessionScopedId<Tag> id) const {
    return hash<uint64_t>()(static_cast<uint64_t>(static_cast<uint32_t>(id.session)) << 32 |
                            static_cast<uint32_t>(id.id));
  }
};
template <class Tag>
struct hash<tasklib::base::CountedId<Tag>> {
  size_t operator()(tasklib::base::CountedId<Tag> id) const { return hash<uint32_t>()(id.value); }
};
}  // namespace std
