#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "wire/messages.h"

namespace tasklib::blob {

/// Payloads are aligned to this, and extents are multiples of it.
constexpr std::uint64_t kBlobAlignmentBytes = 64;

/// The extent that a blob of `size_bytes` occupies; 0 bytes occupy none.
constexpr std::uint64_t extent_size(std::uint64_t size_bytes) {
  return (size_bytes + kBlobAlignmentBytes - 1) / kBlobAlignmentBytes * kBlobAlignmentBytes;
}

/// The free extents of one region, as its lease holder keeps them. Prefers extents that were
/// used before (warm pages) over fresh ones. A value; not thread-safe.
class FreeExtents {
 public:
  /// Adds a free extent and joins it with its neighbours.
  /// Returns false (and adds nothing) when it overlaps one that is free already.
  bool add(wire::Extent extent);
  /// Takes `size_bytes` (rounded up to extent_size), or nothing if no extent is large enough.
  std::optional<std::uint64_t> take(std::uint64_t size_bytes);
  std::uint64_t largest_bytes() const;
  std::uint64_t total_bytes() const { return total_bytes_; }
  std::vector<wire::Extent> list() const;

 private:
  std::map<std::uint64_t, std::uint64_t> by_offset_;  // offset -> size
  std::uint64_t total_bytes_ = 0;
};

}  // namespace tasklib::blob
