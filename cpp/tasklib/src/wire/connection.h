#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "wire/frame.h"

namespace tasklib::wire {

/// One end of an AF_UNIX stream socket that carries frames and descriptors, for both sides and
/// both protocols. Owns the socket. Not thread-safe, except that one thread may send while another
/// receives: the two directions share nothing but the descriptor. Never blocks: the socket is
/// switched to non-blocking, callers poll. Several frames travel per system call, both ways.
///
/// Descriptors: queued by attach_fd() for the frame appended next; they are received in order
/// and taken with take_fd() by whoever decodes the frame that announces one.
class Connection {
 public:
  /// More descriptors than this waiting untaken is a ProtocolError.
  static constexpr std::size_t kMaxWaitingFds = 64;

  enum class Io { done, would_block, closed };

  explicit Connection(base::UniqueFd socket);

  int fd() const { return socket_.get(); }

  /// Outgoing frames are appended here (codec.h); send() sends what there is.
  std::string& out() { return out_; }
  /// The descriptor travels with the first byte appended to out() after this.
  /// Throws Error: more than kMaxWaitingFds for one frame.
  void attach_fd(base::UniqueFd fd);
  bool has_output() const { return sent_ < out_.size(); }
  /// done: everything is sent. would_block: poll for writing. closed: the peer is gone.
  Io send();

  /// Reads once. done: something came. Throws ProtocolError on too many descriptors.
  Io receive();
  /// As FrameBuffer::next(); the view is valid until receive().
  std::optional<base::ByteView> next_frame() { return in_.next(); }
  bool mid_frame() const { return in_.mid_frame(); }
  std::optional<base::UniqueFd> take_fd();

  /// Bytes that went out and came in so far.
  std::uint64_t sent_bytes() const { return total_sent_; }
  std::uint64_t received_bytes() const { return total_received_; }

 private:
  struct PendingFd {
    std::size_t position;  // offset in out_ of the byte it travels with
    base::UniqueFd fd;
  };

  void forget_sent();

  base::UniqueFd socket_;
  std::string out_;
  std::size_t sent_ = 0;
  std::deque<PendingFd> fds_out_;
  FrameBuffer in_;
  std::deque<base::UniqueFd> fds_in_;
  std::uint64_t total_sent_ = 0, total_received_ = 0;
};

}  // namespace tasklib::wire
