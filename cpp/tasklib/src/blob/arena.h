#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>

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

  void add_lease(std::shared_ptr<Region> region, const std::vector<wire::Extent>& free);
  /// Nothing: no lease has room; ask the governor for one.
  std::optional<Allocation> allocate(std::uint64_t size_bytes);
  /// An allocation that was not sealed, or that the governor declared free.
  /// Throws ProtocolError when that extent is not one of ours or is free already.
  void free(const wire::BlobRef& ref);
  /// Leases in which nothing is allocated (all that was is sealed or free), to be returned. They
  /// are no longer ours.
  std::vector<base::RegionId> give_up_idle_leases();
  bool holds(base::RegionId region) const;
  std::uint64_t free_bytes() const;

 private:
  struct Leased {
    std::shared_ptr<Region> region;
    FreeExtents free;
    std::uint32_t unsealed = 0;
  };
  std::map<base::RegionId, Leased> leases_;
};

}  // namespace tasklib::blob
