#include "blob/arena.h"

#include <iterator>
#include <string>
#include <utility>

#include "base/errors.h"

namespace tasklib::blob {
namespace {

[[noreturn]] void refuse(const std::string& what, const wire::BlobRef& ref) {
  throw base::ProtocolError(what + ": " + std::to_string(ref.size_bytes) + " bytes at offset " +
                            std::to_string(ref.offset_bytes) + " of region " +
                            std::to_string(ref.region.value));
}

void check_extent(const Region& region, const wire::BlobRef& ref) {
  region.at(ref);
  if (ref.offset_bytes % kBlobAlignmentBytes != 0) refuse("unaligned extent", ref);
}

}  // namespace

Arena::Leased& Arena::leased(base::RegionId region) {
  const auto found = leases_.find(region);
  if (found == leases_.end())
    throw base::ProtocolError("region " + std::to_string(region.value) + " is not leased to us");
  return found->second;
}

void Arena::add_lease(std::shared_ptr<Region> region, const std::vector<wire::Extent>& free) {
  const base::RegionId id = region->id();
  if (holds(id))
    throw base::ProtocolError("region " + std::to_string(id.value) + " is leased to us already");
  Leased lease;
  for (const wire::Extent& extent : free) {
    const wire::BlobRef ref{id, extent.offset_bytes, extent.size_bytes};
    check_extent(*region, ref);
    if (extent.size_bytes % kBlobAlignmentBytes != 0) refuse("unaligned extent", ref);
    if (!lease.free.add(extent)) refuse("free extent named twice", ref);
  }
  lease.region = std::move(region);
  leases_.emplace(id, std::move(lease));
}

std::optional<Arena::Allocation> Arena::allocate(std::uint64_t size_bytes) {
  for (auto& [id, lease] : leases_) {
    const auto offset = lease.free.take(size_bytes);
    if (!offset) continue;
    if (size_bytes == 0)
      ++lease.unsealed_empty;
    else
      lease.unsealed.emplace(*offset, size_bytes);
    const wire::BlobRef ref{id, *offset, size_bytes};
    return Allocation{lease.region, ref, lease.region->at(ref)};
  }
  return std::nullopt;
}

void Arena::seal(const wire::BlobRef& ref) {
  Leased& lease = leased(ref.region);
  if (ref.size_bytes == 0) {
    if (lease.unsealed_empty == 0) refuse("sealed, but not allocated", ref);
    --lease.unsealed_empty;
    return;
  }
  const auto found = lease.unsealed.find(ref.offset_bytes);
  if (found == lease.unsealed.end() || found->second != ref.size_bytes)
    refuse("sealed, but not allocated", ref);
  lease.unsealed.erase(found);
}

void Arena::free(const wire::BlobRef& ref) {
  Leased& lease = leased(ref.region);
  check_extent(*lease.region, ref);
  if (ref.size_bytes == 0) {
    if (lease.unsealed_empty == 0) refuse("freed, but not allocated", ref);
    --lease.unsealed_empty;
    return;
  }
  // check_extent() has made sure that nothing here wraps.
  const wire::Extent extent{ref.offset_bytes, extent_size(ref.size_bytes)};
  const std::uint64_t end = extent.offset_bytes + extent.size_bytes;
  const auto first = lease.unsealed.lower_bound(extent.offset_bytes);
  const auto last = lease.unsealed.lower_bound(end);
  const auto leaves = [](const auto& allocation, std::uint64_t border) {
    return allocation.first + allocation.second > border;
  };
  if ((first != lease.unsealed.begin() && leaves(*std::prev(first), extent.offset_bytes)) ||
      (first != last && leaves(*std::prev(last), end)))
    refuse("freed, but in part still being written", ref);
  if (!lease.free.add(extent)) refuse("freed, but free already", ref);
  lease.unsealed.erase(first, last);
}

std::vector<base::RegionId> Arena::give_up_idle_leases(const std::set<base::RegionId>& but) {
  std::vector<base::RegionId> idle;
  for (auto lease = leases_.begin(); lease != leases_.end();) {
    if (lease->second.unsealed.empty() && lease->second.unsealed_empty == 0 &&
        but.count(lease->first) == 0) {
      idle.push_back(lease->first);
      lease = leases_.erase(lease);
    } else {
      ++lease;
    }
  }
  return idle;
}

std::uint64_t Arena::free_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [id, lease] : leases_) bytes += lease.free.total_bytes();
  return bytes;
}

}  // namespace tasklib::blob
