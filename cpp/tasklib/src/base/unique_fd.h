#pragma once

#include <unistd.h>

#include <utility>

namespace tasklib::base {

/// An owned file descriptor. Move-only; closes in the destructor. Every descriptor the project
/// makes is close-on-exec. kNone (-1) means "none".
class UniqueFd {
 public:
  static constexpr int kNone = -1;

  UniqueFd() noexcept = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, kNone)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, kNone));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ != kNone; }
  /// Gives the descriptor away; the caller closes it.
  int release() noexcept { return std::exchange(fd_, kNone); }
  void reset(int fd = kNone) noexcept {
    if (fd_ != kNone) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = kNone;
};

}  // namespace tasklib::base
