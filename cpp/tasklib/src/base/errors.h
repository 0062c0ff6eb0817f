#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace tasklib::base {

/// Root of what the library throws for "should not happen". A task's own failure is data, never
/// one of these.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A system call failed. what() reads "open(/run/x.sock): Permission denied".
class SystemError : public Error {
 public:
  /// `call` names the call, `object` what it was applied to (may be empty).
  SystemError(const std::string& call, const std::string& object, int error_number);
  int error_number() const noexcept { return error_number_; }

 private:
  int error_number_;
};

/// A peer sent bytes that the grammar (docs/protocol.md) does not allow. Costs that peer's
/// connection and nothing else.
class ProtocolError : public Error {
 public:
  static constexpr std::size_t kNoOffset = static_cast<std::size_t>(-1);

  explicit ProtocolError(const std::string& what, std::size_t offset_bytes = kNoOffset);
  /// Offset into the payload of the frame (header not counted); kNoOffset when the error is not
  /// tied to a byte.
  std::size_t offset_bytes() const noexcept { return offset_bytes_; }

 private:
  std::size_t offset_bytes_;
};

/// The blob store cannot take `size_bytes` more. what() names size, free bytes and the remedy.
class StoreFull : public Error {
 public:
  using Error::Error;
};

}  // namespace tasklib::base
