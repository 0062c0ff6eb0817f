#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "blob/arena.h"
#include "wire/messages.h"

namespace tasklib::executor {

/// Where the process writes outputs: the leases of one connection. What the governor frees while
/// somebody in this process still views it (a task that kept its own output) becomes free only
/// when that view ends. Thread-safe. Shared by the loop and every output, which may outlive it.
class Room {
 public:
  std::optional<blob::Arena::Allocation> allocate(std::uint64_t size_bytes);
  /// `promised`: somebody asked for it. Else it might be asked back before he comes to use it.
  void add_lease(std::shared_ptr<blob::Region> region, const std::vector<wire::Extent>& free,
                 bool promised = false);
  /// All leases in which nothing is being written or viewed and that wait for nobody, if there are
  /// more than `keep` leases.
  std::vector<base::RegionId> give_up_idle_leases(std::size_t keep);

  /// `allocated` was filled up to `size_bytes` (> 0), the rest is free again.
  wire::BlobRef seal(const wire::BlobRef& allocated, std::uint64_t size_bytes);
  /// Allocated and never sealed.
  void give_back(const wire::BlobRef& allocated);
  /// The process no longer views what it sealed.
  void end_view(const wire::BlobRef& sealed);
  /// Throws ProtocolError when they can't be freed.
  void free(const wire::Freed& freed);

 private:
  struct View {
    std::uint64_t extent_bytes;
    bool freed;
  };

  std::mutex mutex_;
  // Guarded by mutex_.
  blob::Arena arena_;
  std::size_t leases_ = 0;
  std::set<base::RegionId> promised_;                               // until the first allocation
  std::map<std::pair<base::RegionId, std::uint64_t>, View> views_;  // sealed, by region and offset
};

}  // namespace tasklib::executor
