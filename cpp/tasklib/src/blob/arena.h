#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "base/ids.h"
#include "blob/extents.h"
#include "blob/region.h"
#include "wire/messages.h"

namespace tasklib::blob {

/// What one process may write into: its leases, and where in them there is room. The executor's
/// (and the client's) allocator. Not thread-safe: the owner locks.
class Arena {
 public:
  struct Allocation {
    std::shared_ptr<Region> region;  // keeps it mapped
    wire::BlobRef ref;
    unsigned char* data;  // 64-byte aligned, size_bytes long
  };

  /// Throws ProtocolError, and adds nothing: a lease that is held already, or extents that are
  /// unaligned, overlap or leave the region.
  void add_lease(std::shared_ptr<Region> region, const std::vector<wire::Extent>& free);
  /// Nothing: no lease has room; ask the governor for one. 0 bytes take no room, but a lease.
  std::optional<Allocation> allocate(std::uint64_t size_bytes);
  /// The blob is complete and its result goes out: from now on it is the governor's to free.
  /// Throws ProtocolError when it was not allocated here, or was sealed or freed already.
  void seal(const wire::BlobRef& ref);
  /// An allocation that was not sealed, or an extent that the governor declared free (whatever
  /// lies in it is ours to use again). Throws ProtocolError, and frees nothing, when that extent is
  /// not in one of our leases, is free already in part, or cuts an unsealed allocation in two.
  /// (A Freed message that crossed our LeaseReturned names a region that we no longer hold: the
  /// caller asks holds() first, and ignores it.)
  void free(const wire::BlobRef& ref);
  /// Leases in which nothing is being written (all that was allocated is sealed or free), to be
  /// returned; not those in `but`. They are no longer ours; the process keeps them mapped until
  /// RegionDropped.
  std::vector<base::RegionId> give_up_idle_leases(const std::set<base::RegionId>& but = {});
  bool holds(base::RegionId region) const { return leases_.count(region) != 0; }
  std::uint64_t free_bytes() const;

 private:
  struct Leased {
    std::shared_ptr<Region> region;
    FreeExtents free;
    std::map<std::uint64_t, std::uint64_t> unsealed;  // offset -> size_bytes of the blob, > 0
    std::uint32_t unsealed_empty = 0;                 // blobs of 0 bytes
  };
  Leased& leased(base::RegionId region);

  std::map<base::RegionId, Leased> leases_;
};

}  // namespace tasklib::blob
