#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "wire/messages.h"

namespace tasklib::blob {

/// Payloads are aligned to this, and extents are multiples of it.
constexpr std::uint64_t kBlobAlignmentBytes = 64;

/// The extent that a blob of `size_bytes` occupies; 0 bytes occupy none.
constexpr std::uint64_t extent_size(std::uint64_t size_bytes) {
  return (size_bytes + kBlobAlignmentBytes - 1) / kBlobAlignmentBytes * kBlobAlignmentBytes;
}

/// The free extents of one region, as its lease holder keeps them. Takes from the smallest extent
/// that is large enough, the lowest of these, from its low end: so holes left by earlier blobs
/// (warm pages) go before the fresh rest of the region. All but list() take O(log extents).
/// A value; not thread-safe.
class FreeExtents {
 public:
  /// Adds a free extent and joins it with its neighbours.
  /// Returns false (and adds nothing) when it overlaps one that is free already, or wraps.
  bool add(wire::Extent extent);
  /// Takes `size_bytes` (rounded up to extent_size), or nothing if no extent is large enough.
  std::optional<std::uint64_t> take(std::uint64_t size_bytes);
  std::uint64_t largest_bytes() const { return by_size_.empty() ? 0 : by_size_.rbegin()->first; }
  std::uint64_t total_bytes() const { return total_bytes_; }
  std::vector<wire::Extent> list() const;

 private:
  using ByOffset = std::map<std::uint64_t, std::uint64_t>;
  void insert(wire::Extent extent);
  void erase(ByOffset::iterator extent);
  void replace(ByOffset::iterator extent, wire::Extent with);

  ByOffset by_offset_;                                         // offset -> size
  std::set<std::pair<std::uint64_t, std::uint64_t>> by_size_;  // (size, offset), the same extents
  std::uint64_t total_bytes_ = 0;
};

}  // namespace tasklib::blob
