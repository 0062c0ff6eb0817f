#include "blob/extents.h"

#include <iterator>

namespace tasklib::blob {

void FreeExtents::insert(wire::Extent extent) {
  by_offset_.emplace(extent.offset_bytes, extent.size_bytes);
  by_size_.emplace(extent.size_bytes, extent.offset_bytes);
}

void FreeExtents::erase(ByOffset::iterator extent) {
  by_size_.erase({extent->second, extent->first});
  by_offset_.erase(extent);
}

// Moves the nodes instead of making new ones: taking and giving back allocate nothing then.
void FreeExtents::replace(ByOffset::iterator extent, wire::Extent with) {
  auto size_node = by_size_.extract({extent->second, extent->first});
  size_node.value() = {with.size_bytes, with.offset_bytes};
  by_size_.insert(std::move(size_node));
  auto offset_node = by_offset_.extract(extent);
  offset_node.key() = with.offset_bytes;
  offset_node.mapped() = with.size_bytes;
  by_offset_.insert(std::move(offset_node));
}

bool FreeExtents::add(wire::Extent extent) {
  if (extent.size_bytes == 0) return true;
  const std::uint64_t begin = extent.offset_bytes;
  const std::uint64_t end = begin + extent.size_bytes;
  if (end < begin) return false;
  const auto next = by_offset_.lower_bound(begin);
  const auto previous = next == by_offset_.begin() ? by_offset_.end() : std::prev(next);
  if (next != by_offset_.end() && next->first < end) return false;
  if (previous != by_offset_.end() && previous->first + previous->second > begin) return false;

  total_bytes_ += extent.size_bytes;
  const bool joins_next = next != by_offset_.end() && next->first == end;
  const bool joins_previous =
      previous != by_offset_.end() && previous->first + previous->second == begin;
  if (joins_next) {
    extent.size_bytes += next->second;
    if (joins_previous) erase(next);
  }
  if (joins_previous)
    replace(previous, {previous->first, previous->second + extent.size_bytes});
  else if (joins_next)
    replace(next, extent);
  else
    insert(extent);
  return true;
}

std::optional<std::uint64_t> FreeExtents::take(std::uint64_t size_bytes) {
  if (size_bytes > largest_bytes()) return std::nullopt;  // before rounding, which could wrap
  const std::uint64_t size = extent_size(size_bytes);
  if (size == 0) return 0;
  const auto found = by_size_.lower_bound({size, 0});
  if (found == by_size_.end()) return std::nullopt;
  const auto [found_size, offset] = *found;
  if (found_size == size)
    erase(by_offset_.find(offset));
  else
    replace(by_offset_.find(offset), {offset + size, found_size - size});
  total_bytes_ -= size;
  return offset;
}

std::vector<wire::Extent> FreeExtents::list() const {
  std::vector<wire::Extent> extents;
  extents.reserve(by_offset_.size());
  for (const auto& [offset, size] : by_offset_) extents.push_back({offset, size});
  return extents;
}

}  // namespace tasklib::blob
