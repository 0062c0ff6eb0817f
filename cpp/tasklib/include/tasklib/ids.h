#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace tasklib {

/// An id within a session: tasks and data objects of one session share the numbers. A value.
class Sid {
 public:
  Sid() = default;
  Sid(std::int32_t session_id, std::int32_t id) : session_id_(session_id), id_(id) {}

  std::int32_t get_session_id() const { return session_id_; }
  std::int32_t get_id() const { return id_; }
  /// False for 0/0, which is "none".
  bool is_valid() const { return session_id_ != 0 || id_ != 0; }
  /// "[session,id]"
  std::string to_string() const {
    return "[" + std::to_string(session_id_) + "," + std::to_string(id_) + "]";
  }

  friend bool operator==(Sid a, Sid b) { return a.session_id_ == b.session_id_ && a.id_ == b.id_; }
  friend bool operator!=(Sid a, Sid b) { return !(a == b); }
  friend bool operator<(Sid a, Sid b) {
    return a.session_id_ != b.session_id_ ? a.session_id_ < b.session_id_ : a.id_ < b.id_;
  }

 private:
  std::int32_t session_id_ = 0;
  std::int32_t id_ = 0;
};

using TaskId = Sid;
using DataObjectId = Sid;

}  // namespace tasklib

namespace std {
template <>
struct hash<tasklib::Sid> {
  size_t operator()(tasklib::Sid id) const {
    return hash<uint64_t>()(static_cast<uint64_t>(static_cast<uint32_t>(id.get_session_id()))
                                << 32 |
                            static_cast<uint32_t>(id.get_id()));
  }
};
}  // namespace std
