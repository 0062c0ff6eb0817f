#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "blob/memory_limit.h"
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
///
/// A region counts against the budget with its whole size from the moment it is made until it is
/// dropped, without what was punched out of it: when there is no room otherwise, the gaps of
/// kPunchBytes and more between the blobs of unleased regions give their pages back. A lease of
/// such a region counts them again. All blobs of 0 bytes in one region are one blob with as many
/// owners.
///
/// A reference to some of a blob's bytes (a slice) stands for the blob in all functions but seal():
/// owners and views are those of the whole.
///
/// What throws ProtocolError says that a peer was wrong, and has changed nothing.
class Store {
 public:
  static constexpr std::uint64_t kPunchBytes = 1 << 20;

  struct Limits {
    std::uint64_t budget_bytes = 0;
    /// Ordinary regions, but no more than 1/16 of the budget, so that several writers have room,
    /// and no less than 1/256, so that descriptors suffice. A blob larger than half of one gets
    /// its own.
    std::uint64_t region_bytes = 32u << 20;
    std::uint64_t warm_bytes = 1u << 30;  ///< regions kept for reuse, at most; and 25 % of budget
    base::Duration warm_time = std::chrono::seconds(10);
    /// What the machine still allows, asked before each new region; nothing: no limit.
    std::function<std::optional<std::uint64_t>()> headroom_bytes = [] {
      return memory_headroom_bytes();
    };
  };

  struct Lease {
    std::shared_ptr<Region> region;  ///< as created, mapped read-write here
    std::vector<wire::Extent> free;  ///< where the writer may allocate
  };

  /// `regions_bytes`: what counts against the budget. `blobs_bytes`: of live blobs.
  /// `punched_bytes`: of regions, and not counted in them. `views`: add_view minus drop_view.
  struct Usage {
    std::uint64_t budget_bytes = 0, regions_bytes = 0, blobs_bytes = 0, warm_bytes = 0;
    std::uint64_t punched_bytes = 0;
    std::uint32_t regions = 0, blobs = 0, views = 0;
  };

  explicit Store(Limits limits);
  ~Store();

  /// Leases a region with a free extent of at least `size_bytes` to `writer`: a warm one, an
  /// unleased one with room, else a new one. Counts as sending the region to `writer`, which
  /// keeps it mapped until it is told that it was dropped.
  /// Throws StoreFull, SystemError; nothing has changed then, but warm regions may be gone.
  Lease lease(Holder writer, std::uint64_t size_bytes);
  /// Ends a lease; its blobs stay. Throws ProtocolError when `writer` doesn't hold it.
  void return_lease(Holder writer, base::RegionId region, base::TimePoint now);

  /// `writer` says that it wrote a blob into its lease. The caller becomes its one owner.
  /// Throws ProtocolError: not its lease, out of range, unaligned, overlapping another blob, or
  /// one that it was not told yet is free.
  void seal(Holder writer, const wire::BlobRef& ref);

  /// One more, or one less, owner. Throws ProtocolError when there is no such blob, or it has no
  /// owner to release.
  void retain(const wire::BlobRef& ref);
  void release(const wire::BlobRef& ref, base::TimePoint now);

  /// `reader` is about to be sent `ref`. True when it has not been sent the region yet: the
  /// caller sends region(ref.region) first. (Never for kClient, who is in this process.)
  bool add_view(Holder reader, const wire::BlobRef& ref);
  /// Throws ProtocolError when `reader` has no view of `ref`.
  void drop_view(Holder reader, const wire::BlobRef& ref, base::TimePoint now);

  /// The process is gone: its leases and views end.
  void drop_holder(Holder holder, base::TimePoint now);

  /// Extents of `writer`'s leases that became free since the last call. Until then they are not
  /// the writer's to use.
  std::vector<wire::Freed> take_freed(Holder writer);
  /// Regions that were dropped since the last call and that `reader` had been sent.
  std::vector<base::RegionId> take_dropped(Holder reader);

  /// Throws ProtocolError for an unknown one.
  std::shared_ptr<Region> region(base::RegionId id) const;
  /// Drops warm regions that are idle for longer than warm_time. Returns when to call next.
  std::optional<base::TimePoint> tick(base::TimePoint now);
  /// No region gets pages ahead of its writer any more: the end is near.
  void stop_populating() noexcept;
  Usage usage() const;
  /// How many views of a live blob there are. Throws ProtocolError when there is no such blob, as
  /// the next.
  std::uint32_t views(const wire::BlobRef& ref) const;
  /// Who views it, each once, in order.
  std::vector<Holder> viewers(const wire::BlobRef& ref) const;
  /// Whether the end of this process, or of its calls, would give something back.
  bool holds_anything(Holder holder) const;
  /// Throws ProtocolError for an unknown one.
  bool is_leased(base::RegionId region) const;
  /// It has leases, some of which it may not need.
  bool has_leases(Holder holder) const;

 private:
  struct Blob {
    std::uint64_t size_bytes;
    std::uint32_t owners;
    std::uint32_t views;  // of all holders. Neither owners nor views: free, but the lease holder
                          // has not been told
  };
  using Blobs = std::map<std::uint64_t, Blob>;  // by offset; the empty ones at kEmptyBlobs

  struct Entry {
    std::shared_ptr<Region> region;
    std::optional<Holder> writer;       // of the lease
    std::optional<Holder> last_writer;  // of the lease, or of the one before
    Blobs blobs;
    std::vector<std::uint64_t> untold;          // offsets of free blobs, while leased
    std::uint64_t largest_gap = 0;              // between blobs; kept while not leased
    std::uint64_t punched_bytes = 0;            // of its gaps; 0 while leased or warm
    bool used = false;                          // something was sealed in it: its pages may be warm
    std::optional<base::TimePoint> idle_since;  // in warm_
  };

  struct BlobKey {
    base::RegionId region;
    std::uint64_t offset_bytes;
    friend bool operator==(const BlobKey& a, const BlobKey& b) {
      return a.region == b.region && a.offset_bytes == b.offset_bytes;
    }
  };
  struct HashBlobKey {
    std::size_t operator()(const BlobKey& key) const {
      return std::hash<std::uint64_t>()(key.offset_bytes / 64 ^ std::uint64_t{key.region.value}
                                                                    << 40);
    }
  };
  struct HolderState {
    std::unordered_map<BlobKey, std::uint32_t, HashBlobKey> views;
    std::set<base::RegionId> leases;
    std::unordered_set<base::RegionId> sent;
    std::vector<base::RegionId> dropped;  // of those sent, not taken yet
    bool has_untold = false;              // in one of its leases
  };

  Entry& entry(base::RegionId id);
  Entry& leased_entry(Holder writer, base::RegionId id);
  // These throw ProtocolError when there is none.
  Blobs::iterator find_blob(Entry& entry, const wire::BlobRef& ref);
  const Blobs::value_type& live_blob(const wire::BlobRef& ref) const;
  void free_if_dead(Entry& entry, Blobs::iterator blob, base::TimePoint now);
  void end_lease(Entry& entry, base::TimePoint now);
  void settle(Entry& entry, base::TimePoint now);

  /// `room_bytes`: what may be counted again of what was punched.
  Entry* find_unleased(Holder writer, std::uint64_t gap_bytes, std::uint64_t at_most_bytes,
                       std::uint64_t room_bytes);
  void punch_gaps();
  Entry& make_region(std::uint64_t size_bytes);
  void make_room(std::uint64_t bytes);
  void drop(std::map<base::RegionId, Entry>::iterator entry);
  void leave_warm(Entry& entry);
  /// What new regions may take up, the warm ones dropped or kept.
  struct Room {
    std::uint64_t without_warm_bytes, now_bytes;
  };
  Room room() const;
  [[noreturn]] void refuse(std::uint64_t size_bytes, std::uint64_t room_bytes) const;

  const Limits limits_;
  const std::uint64_t ordinary_bytes_;  // size of ordinary regions
  const std::uint64_t warm_limit_bytes_;
  std::map<base::RegionId, Entry> regions_;
  std::unordered_map<Holder, HolderState> holders_;
  std::set<std::pair<base::TimePoint, base::RegionId>> warm_;  // idle since; oldest first
  Usage usage_;
  std::uint32_t last_region_ = 0;
};

/// Half of what this process may use, in bytes, of the machine's memory or its cgroup's limit (v2
/// memory.max or v1 memory.limit_in_bytes, whichever there is); less if the cgroup leaves less. The
/// other half is what tasks allocate for themselves, which nobody accounts for.
std::uint64_t default_budget_bytes();

}  // namespace tasklib::blob
