#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tasklib::base {

/// Bytes that somebody else owns. Whoever hands one out says how long it lives.
struct ByteView {
  const unsigned char* data = nullptr;
  std::size_t size = 0;

  ByteView() = default;
  ByteView(const void* bytes, std::size_t size_bytes)
      : data(static_cast<const unsigned char*>(bytes)), size(size_bytes) {}
  explicit ByteView(std::string_view text) : ByteView(text.data(), text.size()) {}

  bool empty() const { return size == 0; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data), size}; }
  friend bool operator==(ByteView a, ByteView b) { return a.text() == b.text(); }
};

}  // namespace tasklib::base
