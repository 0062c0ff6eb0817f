#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "blob/extents.h"
#include "blob/region.h"
#include "wire/messages.h"

namespace tasklib::blob {

/// A process as the store sees it: an executor, or the client (kClient).
using Holder = base::ExecutorId;
constexpr Holder kClient{0};

/// The governor's blob store: makes regions, leases each to one writer at a time, and counts who
/// views what. Knows no socket and no task. Owned by the Governor. Thread: token holder.
///
/// A sealed blob lives while its count of owners (retain/release: data objects, the client's
/// views) or any process's view count is above zero; then its extent is free, and goes to the
/// lease holder (take_freed) or back to the region. A region without lease and without blobs is
/// kept warm or dropped, within the limits.
class Store {
 public:
  struct Limits {
    std::uint64_t budget_bytes = 0;
    std::uint64_t region_bytes = 32u << 20;  ///< ordinary regions; a larger blob gets its own
    std::uint64_t warm_bytes = 1u << 30;     ///< regions kept for reuse, at most
    std::uint64_t leased_bytes_per_writer = 256u << 20;  ///< credit for ordinary regions
    base::Duration warm_time = std::chrono::seconds(10);
  };

  struct Lease {
    std::shared_ptr<Region> region;  ///< as created, mapped read-write here
    std::vector<wire::Extent> free;  ///< where the writer may allocate
  };

  struct Usage {
    std::uint64_t budget_bytes = 0, regions_bytes = 0, blobs_bytes = 0, warm_bytes = 0;
    std::uint32_t regions = 0, blobs = 0, views = 0;
  };

  explicit Store(Limits limits);
  ~Store();

  /// Leases a region with a free extent of at least `size_bytes` to `writer`.
  /// Throws StoreFull (nothing has changed then).
  Lease lease(Holder writer, std::uint64_t size_bytes);
  /// Ends a lease; its blobs stay. Throws ProtocolError when `writer` doesn't hold it.
  void return_lease(Holder writer, base::RegionId region, base::TimePoint now);

  /// `writer` says that it wrote a blob into its lease. The caller becomes its one owner.
  /// Throws ProtocolError: not its lease, out of range, unaligned, overlapping another blob.
  void seal(Holder writer, const wire::BlobRef& ref);

  void retain(const wire::BlobRef& ref);
  void release(const wire::BlobRef& ref, base::TimePoint now);

  /// `reader` is about to be sent `ref`. True when it has not been sent the region yet: the
  /// caller sends region(ref.region) first.
  bool add_view(Holder reader, const wire::BlobRef& ref);
  /// Throws ProtocolError when `reader` has no view of `ref`.
  void drop_view(Holder reader, const wire::BlobRef& ref, base::TimePoint now);

  /// The process is gone: its leases and views end.
  void drop_holder(Holder holder, base::TimePoint now);

  /// Extents of `writer`'s leases that became free since the last call.
  std::vector<wire::Freed> take_freed(Holder writer);
  /// Regions that were dropped since the last call and that `reader` had been sent.
  std::vector<base::RegionId> take_dropped(Holder reader);

  /// Throws ProtocolError for an unknown one.
  std::shared_ptr<Region> region(base::RegionId id) const;
  /// Drops warm regions that are idle for longer than warm_time. Returns when to call next.
  std::optional<base::TimePoint> tick(base::TimePoint now);
  Usage usage() const;

 private:
  struct Entry;
  void free_extent(Entry& entry, std::uint64_t offset_bytes, base::TimePoint now);
  void settle(Entry& entry, base::TimePoint now);

  Limits limits_;
  std::map<base::RegionId, std::unique_ptr<Entry>> regions_;
  std::uint64_t regions_bytes_ = 0;
  std::uint32_t last_region_ = 0;
};

/// What this process may use, in bytes: min(half of the machine, cgroup limit - usage - 10 %),
/// from cgroup v2 memory.max or v1 memory.limit_in_bytes, whichever there is.
std::uint64_t default_budget_bytes();

}  // namespace tasklib::blob
