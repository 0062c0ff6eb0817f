#include "wire/frame.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/errors.h"

namespace tasklib::wire {
namespace {

constexpr std::size_t kSmallestBytes = 64u << 10;
/// A buffer that grew beyond this for a huge frame is given back once it is empty.
constexpr std::size_t kKeptBytes = 4u << 20;

std::size_t read_length(const unsigned char* header) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < kFrameHeaderBytes; ++i)
    length |= static_cast<std::size_t>(header[i]) << 8 * i;
  return length;
}

}  // namespace

unsigned char* FrameBuffer::prepare(std::size_t at_least_bytes, std::size_t* room_bytes) {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    if (capacity_ > kKeptBytes && at_least_bytes <= kKeptBytes) {
      bytes_.reset();
      capacity_ = 0;
    }
  }
  if (capacity_ - end_ < at_least_bytes && begin_ > 0) {
    // What is left is part of one frame, and after this it begins at 0: moved once.
    std::memmove(bytes_.get(), bytes_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (capacity_ - end_ < at_least_bytes) {
    const std::size_t wanted = std::max({end_ + at_least_bytes, 2 * capacity_, kSmallestBytes});
    // realloc moves the pages of a large buffer instead of copying them.
    void* grown = std::realloc(bytes_.get(), wanted);
    if (grown == nullptr) throw std::bad_alloc();
    static_cast<void>(bytes_.release());
    bytes_.reset(static_cast<unsigned char*>(grown));
    capacity_ = wanted;
  }
  *room_bytes = capacity_ - end_;
  return bytes_.get() + end_;
}

void FrameBuffer::commit(std::size_t size_bytes) { end_ += size_bytes; }

std::optional<std::size_t> FrameBuffer::payload_size() const {
  if (end_ - begin_ < kFrameHeaderBytes) return std::nullopt;
  return read_length(bytes_.get() + begin_);
}

std::optional<base::ByteView> FrameBuffer::next() {
  const std::optional<std::size_t> size = payload_size();
  if (!size) return std::nullopt;
  if (*size == 0) throw base::ProtocolError("a frame of length 0");
  if (*size > kMaxFrameBytes)
    throw base::ProtocolError("a frame of " + std::to_string(*size) +
                              " bytes is longer than the limit of " +
                              std::to_string(kMaxFrameBytes));
  if (end_ - begin_ - kFrameHeaderBytes < *size) return std::nullopt;
  const base::ByteView payload(bytes_.get() + begin_ + kFrameHeaderBytes, *size);
  begin_ += kFrameHeaderBytes + *size;
  return payload;
}

std::size_t FrameBuffer::missing_bytes() const {
  const std::optional<std::size_t> size = payload_size();
  if (!size) return 0;
  const std::size_t have = end_ - begin_ - kFrameHeaderBytes;
  return have < *size ? *size - have : 0;
}

bool FrameBuffer::mid_frame() const { return begin_ != end_; }

}  // namespace tasklib::wire
