#include "executor/room.h"

#include <algorithm>

namespace tasklib::executor {

std::optional<blob::Arena::Allocation> Room::allocate(std::uint64_t size_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto allocation = arena_.allocate(size_bytes);
  if (allocation) promised_.erase(allocation->ref.region);
  return allocation;
}

void Room::add_lease(std::shared_ptr<blob::Region> region, const std::vector<wire::Extent>& free,
                     bool promised) {
  std::lock_guard<std::mutex> lock(mutex_);
  const base::RegionId id = region->id();
  arena_.add_lease(std::move(region), free);
  if (promised) promised_.insert(id);
  ++leases_;
}

std::vector<base::RegionId> Room::give_up_idle_leases(std::size_t keep) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (leases_ <= keep || !views_.empty()) return {};
  std::vector<base::RegionId> idle = arena_.give_up_idle_leases(promised_);
  leases_ -= idle.size();
  return idle;
}

wire::BlobRef Room::seal(const wire::BlobRef& allocated, std::uint64_t size_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  arena_.seal(allocated);
  const std::uint64_t kept = blob::extent_size(size_bytes);
  const std::uint64_t had = blob::extent_size(allocated.size_bytes);
  if (kept < had) arena_.free({allocated.region, allocated.offset_bytes + kept, had - kept});
  views_[{allocated.region, allocated.offset_bytes}] = {kept, false};
  return {allocated.region, allocated.offset_bytes, size_bytes};
}

void Room::give_back(const wire::BlobRef& allocated) {
  std::lock_guard<std::mutex> lock(mutex_);
  arena_.free(allocated);
}

void Room::end_view(const wire::BlobRef& sealed) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto view = views_.find({sealed.region, sealed.offset_bytes});
  if (view == views_.end()) return;
  const View was = view->second;
  views_.erase(view);
  if (was.freed && arena_.holds(sealed.region))
    arena_.free({sealed.region, sealed.offset_bytes, was.extent_bytes});
}

void Room::free(const wire::Freed& freed) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!arena_.holds(freed.region)) return;  // it crossed our LeaseReturned
  for (const wire::Extent& extent : freed.extents) {
    std::uint64_t begin = extent.offset_bytes;
    const std::uint64_t end = begin + extent.size_bytes;
    // The gaps between what is viewed are free now, the rest when its view ends.
    for (auto view = views_.lower_bound({freed.region, begin});
         view != views_.end() && view->first.first == freed.region && view->first.second < end;
         ++view) {
      if (view->first.second > begin)
        arena_.free({freed.region, begin, view->first.second - begin});
      view->second.freed = true;
      begin = std::min(end, view->first.second + view->second.extent_bytes);
    }
    if (begin < end) arena_.free({freed.region, begin, end - begin});
  }
}

}  // namespace tasklib::executor
