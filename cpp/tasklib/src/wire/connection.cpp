#include "wire/connection.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/errors.h"
#include "base/syscall.h"

namespace tasklib::wire {
namespace {

/// One read asks for this much; a large frame, of which more is known to come, for more.
constexpr std::size_t kReadBytes = 64u << 10;
constexpr std::size_t kLargeReadBytes = 1u << 20;
/// An output buffer that grew beyond this is given back once everything is sent.
constexpr std::size_t kKeptBytes = 4u << 20;
constexpr std::size_t kFdsBytes = Connection::kMaxWaitingFds * sizeof(int);

/// Room for the control message with descriptors, aligned as the kernel wants it.
union Control {
  cmsghdr header;
  char bytes[CMSG_SPACE(kFdsBytes)];
};

bool peer_is_gone(int error_number) { return error_number == EPIPE || error_number == ECONNRESET; }

}  // namespace

Connection::Connection(base::UniqueFd socket) : socket_(std::move(socket)) {
  const int flags =
      base::checked("fcntl", "socket", [&] { return ::fcntl(socket_.get(), F_GETFL); });
  base::checked("fcntl", "socket",
                [&] { return ::fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK); });
}

void Connection::attach_fd(base::UniqueFd fd) {
  const auto same_place = std::count_if(fds_out_.begin(), fds_out_.end(), [&](const PendingFd& p) {
    return p.position == out_.size();
  });
  if (static_cast<std::size_t>(same_place) == kMaxWaitingFds)
    throw base::Error("more than " + std::to_string(kMaxWaitingFds) + " descriptors for one frame");
  fds_out_.push_back({out_.size(), std::move(fd)});
}

Connection::Io Connection::send() {
  while (has_output()) {
    // Descriptors go with the first byte sent by a call, so a call ends before the next ones.
    std::size_t batch = 0;
    while (batch < fds_out_.size() && fds_out_[batch].position == sent_) ++batch;
    const std::size_t end =
        batch < fds_out_.size() ? std::min(fds_out_[batch].position, out_.size()) : out_.size();
    iovec bytes{out_.data() + sent_, end - sent_};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    Control control;
    if (batch > 0) {
      std::memset(&control, 0, sizeof control);
      message.msg_control = control.bytes;
      message.msg_controllen = CMSG_SPACE(batch * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(batch * sizeof(int));
      for (std::size_t i = 0; i < batch; ++i) {
        const int fd = fds_out_[i].fd.get();
        std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
      }
    }
    const ssize_t sent = base::retry_interrupted(
        [&] { return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT); });
    if (sent < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        forget_sent();
        return Io::would_block;
      }
      if (peer_is_gone(errno)) return Io::closed;
      throw base::SystemError("sendmsg", "socket", errno);
    }
    fds_out_.erase(fds_out_.begin(), fds_out_.begin() + static_cast<std::ptrdiff_t>(batch));
    sent_ += static_cast<std::size_t>(sent);
    total_sent_ += static_cast<std::uint64_t>(sent);
  }
  forget_sent();
  return Io::done;
}

void Connection::forget_sent() {
  // Moving the rest costs less than what was sent of it, if it is done at half.
  if (sent_ == 0 || sent_ < out_.size() / 2) return;
  for (PendingFd& pending : fds_out_) pending.position -= sent_;
  out_.erase(0, sent_);
  sent_ = 0;
  if (out_.empty() && out_.capacity() > kKeptBytes) std::string().swap(out_);
}

Connection::Io Connection::receive() {
  const std::size_t wanted = std::clamp(in_.missing_bytes(), kReadBytes, kLargeReadBytes);
  std::size_t room = 0;
  unsigned char* place = in_.prepare(wanted, &room);
  iovec bytes{place, room};
  Control control;
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  const ssize_t received = base::retry_interrupted(
      [&] { return ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC); });
  if (received < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Io::would_block;
    if (peer_is_gone(errno)) return Io::closed;
    throw base::SystemError("recvmsg", "socket", errno);
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      fds_in_.emplace_back(fd);
    }
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0 || fds_in_.size() > kMaxWaitingFds)
    throw base::ProtocolError("the peer sent more descriptors than the " +
                              std::to_string(kMaxWaitingFds) + " that may wait");
  if (received == 0) return Io::closed;
  in_.commit(static_cast<std::size_t>(received));
  total_received_ += static_cast<std::uint64_t>(received);
  return Io::done;
}

std::optional<base::UniqueFd> Connection::take_fd() {
  if (fds_in_.empty()) return std::nullopt;
  std::optional<base::UniqueFd> fd(std::move(fds_in_.front()));
  fds_in_.pop_front();
  return fd;
}

}  // namespace tasklib::wire
