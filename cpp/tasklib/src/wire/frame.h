#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <optional>

#include "base/bytes.h"

namespace tasklib::wire {

/// Reference 1.2: 4 bytes little endian = payload length, then one CBOR item.
constexpr std::size_t kFrameHeaderBytes = 4;
constexpr std::size_t kMaxFrameBytes = 128u << 20;  // payload, inclusive

/// Collects received bytes and gives them out frame by frame. Move-only; not thread-safe. Grows
/// with what came in, never by what a header announces, and shrinks again after a huge frame.
class FrameBuffer {
 public:
  /// Room for `at_least` more bytes at the end; valid until the next call of anything here.
  /// Views from next() die.
  unsigned char* prepare(std::size_t at_least_bytes, std::size_t* room_bytes);
  /// `size_bytes` of what prepare() gave were filled.
  void commit(std::size_t size_bytes);

  /// The payload of the next whole frame, or nothing yet. Valid until prepare().
  /// Throws ProtocolError on a length of 0 or above kMaxFrameBytes.
  std::optional<base::ByteView> next();

  /// Bytes still missing for the frame that began; 0 when unknown or none began.
  std::size_t missing_bytes() const;
  /// True when bytes of an unfinished frame are left over (end of file now means "truncated").
  bool mid_frame() const;

 private:
  struct Free {
    void operator()(unsigned char* bytes) const { std::free(bytes); }
  };
  /// Of the frame at begin_; nothing while its header is incomplete.
  std::optional<std::size_t> payload_size() const;

  std::unique_ptr<unsigned char, Free> bytes_;  // from malloc: large ones grow by remapping
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0, end_ = 0;  // received and not given out yet
};

}  // namespace tasklib::wire
