#include "blob/store.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <limits>

#include "base/errors.h"
#include "blob/extents.h"

namespace tasklib::blob {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kEmptyBlobs = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kAnySize = std::numeric_limits<std::uint64_t>::max();

std::uint64_t whole_pages(std::uint64_t size_bytes) {
  return (size_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

// Sums and roundings of sizes up to this can't wrap.
constexpr std::uint64_t kMaxBudgetBytes = std::uint64_t{1} << 60;

Store::Limits bounded(Store::Limits limits) {
  limits.budget_bytes = std::min(limits.budget_bytes, kMaxBudgetBytes);
  limits.region_bytes = std::min(limits.region_bytes, kMaxBudgetBytes);
  return limits;
}

std::uint64_t key_of(const wire::BlobRef& ref) {
  return ref.size_bytes == 0 ? kEmptyBlobs : ref.offset_bytes;
}

std::uint64_t ordinary_bytes(const Store::Limits& limits) {
  const std::uint64_t wanted = std::max(limits.region_bytes, limits.budget_bytes / 256);
  return std::max(std::min(whole_pages(wanted), limits.budget_bytes / 16 / kPageBytes * kPageBytes),
                  kPageBytes);
}

[[noreturn]] void refuse_blob(const wire::BlobRef& ref, const char* why) {
  throw base::ProtocolError("blob of " + std::to_string(ref.size_bytes) + " bytes at offset " +
                            std::to_string(ref.offset_bytes) + " of region " +
                            std::to_string(ref.region.value) + ": " + why);
}

[[noreturn]] void refuse_region(base::RegionId id, const char* why) {
  throw base::ProtocolError("region " + std::to_string(id.value) + " " + why);
}

std::string readable(std::uint64_t bytes) {
  if (bytes < 10240) return std::to_string(bytes) + " bytes";
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit < 3; ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, units[unit]);
  return text;
}

// The blob that a reference is to, or to part of.
template <class Blobs>
auto find_around(Blobs& blobs, const wire::BlobRef& ref) {
  if (ref.size_bytes == 0) return blobs.find(kEmptyBlobs);
  auto blob = blobs.upper_bound(ref.offset_bytes);
  if (blob == blobs.begin()) return blobs.end();
  --blob;
  const std::uint64_t size = blob->second.size_bytes, begin = ref.offset_bytes - blob->first;
  return begin < size && ref.size_bytes <= size - begin ? blob : blobs.end();
}

// Calls `gap(begin, end)` for what lies between the blobs of a region.
template <class Blobs, class Gap>
void for_each_gap(const Blobs& blobs, std::uint64_t region_bytes, Gap&& gap) {
  std::uint64_t begin = 0;
  for (const auto& [offset, blob] : blobs) {
    if (offset == kEmptyBlobs) break;
    if (offset > begin) gap(begin, offset);
    begin = offset + extent_size(blob.size_bytes);
  }
  if (region_bytes > begin) gap(begin, region_bytes);
}

}  // namespace

Store::Store(Limits limits)
    : limits_(bounded(std::move(limits))),
      ordinary_bytes_(ordinary_bytes(limits_)),
      warm_limit_bytes_(std::min(limits_.budget_bytes / 4, limits_.warm_bytes)) {
  usage_.budget_bytes = limits_.budget_bytes;
}

Store::~Store() = default;

// ---- regions ------------------------------------------------------------------------------------

Store::Entry& Store::entry(base::RegionId id) {
  const auto found = regions_.find(id);
  if (found == regions_.end()) refuse_region(id, "is unknown");
  return found->second;
}

Store::Entry& Store::leased_entry(Holder writer, base::RegionId id) {
  Entry& found = entry(id);
  if (found.writer != writer) refuse_region(id, "is not leased to this process");
  return found;
}

std::shared_ptr<Region> Store::region(base::RegionId id) const {
  const auto found = regions_.find(id);
  if (found == regions_.end()) refuse_region(id, "is unknown");
  return found->second.region;
}

// One that this writer had before is best: its page tables are warm, too.
Store::Entry* Store::find_unleased(Holder writer, std::uint64_t gap_bytes,
                                   std::uint64_t at_most_bytes, std::uint64_t room_bytes) {
  Entry* found = nullptr;
  for (auto& [id, entry] : regions_) {
    if (entry.writer || entry.largest_gap < gap_bytes || entry.punched_bytes > room_bytes ||
        entry.region->size_bytes() > at_most_bytes)
      continue;
    if (entry.last_writer == writer) return &entry;
    if (found == nullptr) found = &entry;
  }
  return found;
}

void Store::punch_gaps() {
  for (auto& region_entry : regions_) {
    Entry& entry = region_entry.second;
    if (entry.writer || entry.idle_since || entry.largest_gap < kPunchBytes) continue;
    std::uint64_t punched = 0;  // what was punched before lies in today's gaps
    for_each_gap(entry.blobs, entry.region->size_bytes(),
                 [&](std::uint64_t begin, std::uint64_t end) {
                   begin = whole_pages(begin);
                   end = end / kPageBytes * kPageBytes;
                   if (begin + kPunchBytes > end) return;
                   if (entry.region->punch(begin, end - begin)) punched += end - begin;
                 });
    if (punched <= entry.punched_bytes) continue;
    usage_.regions_bytes -= punched - entry.punched_bytes;
    usage_.punched_bytes += punched - entry.punched_bytes;
    entry.punched_bytes = punched;
  }
}

// Drops warm regions until there is so much room without them.
void Store::make_room(std::uint64_t bytes) {
  while (!warm_.empty() && room().now_bytes < bytes) drop(regions_.find(warm_.begin()->second));
}

Store::Room Store::room() const {
  const std::uint64_t budget_left = limits_.budget_bytes - usage_.regions_bytes;
  Room room{budget_left + usage_.warm_bytes, budget_left};
  const auto headroom = limits_.headroom_bytes ? limits_.headroom_bytes() : std::nullopt;
  if (!headroom) return room;
  // The machine counts only pages that were touched: the rest of our regions is still to come.
  std::uint64_t promised = 0, promised_warm = 0, warm_resident = 0;
  for (const auto& [id, entry] : regions_) {
    const std::uint64_t size = entry.region->size_bytes();
    const std::uint64_t resident = std::min(entry.region->resident_bytes(), size);
    (entry.idle_since ? promised_warm : promised) +=
        size - std::min(size, resident + entry.punched_bytes);
    if (entry.idle_since) warm_resident += resident;
  }
  const auto left = [](std::uint64_t bytes, std::uint64_t taken) {
    return bytes - std::min(bytes, taken);
  };
  room.without_warm_bytes =
      std::min(room.without_warm_bytes, left(*headroom + warm_resident, promised));
  room.now_bytes = std::min(room.now_bytes, left(*headroom, promised + promised_warm));
  return room;
}

Store::Entry& Store::make_region(std::uint64_t size_bytes) {
  do {
    ++last_region_;
  } while (last_region_ == 0 || regions_.count(base::RegionId{last_region_}) != 0);
  const base::RegionId id{last_region_};
  Entry made;
  made.region = Region::create(id, size_bytes);
  Entry& entry = regions_.emplace(id, std::move(made)).first->second;
  usage_.regions_bytes += size_bytes;
  ++usage_.regions;
  return entry;
}

void Store::stop_populating() noexcept {
  for (auto& [id, entry] : regions_) entry.region->stop_populating();
}

// Requires: no lease and no blob.
void Store::drop(std::map<base::RegionId, Entry>::iterator dropped) {
  Entry& entry = dropped->second;
  leave_warm(entry);
  entry.region->stop_populating();
  bool mapped_elsewhere = false;
  for (auto& [id, holder] : holders_) {
    if (holder.sent.erase(dropped->first) == 0) continue;
    holder.dropped.push_back(dropped->first);
    mapped_elsewhere = true;
  }
  // A process that is busy unmaps it late; its memory is back in the budget now.
  if (mapped_elsewhere) entry.region->discard();
  usage_.regions_bytes -= entry.region->size_bytes() - entry.punched_bytes;
  usage_.punched_bytes -= entry.punched_bytes;
  --usage_.regions;
  regions_.erase(dropped);
}

void Store::leave_warm(Entry& entry) {
  if (!entry.idle_since) return;
  warm_.erase({*entry.idle_since, entry.region->id()});
  usage_.warm_bytes -= entry.region->size_bytes();
  entry.idle_since.reset();
}

// A region without lease and blobs becomes warm, or goes. Then `entry` is gone.
void Store::settle(Entry& entry, base::TimePoint now) {
  const base::RegionId id = entry.region->id();
  const std::uint64_t size = entry.region->size_bytes();
  if (entry.used && entry.punched_bytes == 0 && size <= warm_limit_bytes_) {
    while (usage_.warm_bytes + size > warm_limit_bytes_) drop(regions_.find(warm_.begin()->second));
    entry.idle_since = now;
    warm_.emplace(now, id);
    usage_.warm_bytes += size;
  } else {
    drop(regions_.find(id));
  }
}

std::optional<base::TimePoint> Store::tick(base::TimePoint now) {
  while (!warm_.empty() && warm_.begin()->first + limits_.warm_time <= now)
    drop(regions_.find(warm_.begin()->second));
  if (warm_.empty()) return std::nullopt;
  return warm_.begin()->first + limits_.warm_time;
}

// ---- leases -------------------------------------------------------------------------------------

Store::Lease Store::lease(Holder writer, std::uint64_t size_bytes) {
  if (size_bytes > limits_.budget_bytes)
    refuse(size_bytes, 0);  // before rounding, which could wrap
  const std::uint64_t least = std::max(whole_pages(size_bytes), kPageBytes);
  const bool ordinary = extent_size(size_bytes) <= ordinary_bytes_ / 2;
  const std::uint64_t wanted = ordinary ? ordinary_bytes_ : least;
  // A region with hardly any room would only be asked to be replaced soon, and a huge one not
  // become free again for the sake of a small blob.
  const std::uint64_t comfortable =
      ordinary ? std::max(extent_size(size_bytes), wanted / 4) : extent_size(size_bytes);
  const std::uint64_t at_most = std::max(ordinary_bytes_, wanted + wanted / 4);
  Entry* entry = find_unleased(writer, comfortable, at_most, 0);
  if (entry == nullptr) {
    std::uint64_t room_bytes = room().without_warm_bytes;
    entry = find_unleased(writer, comfortable, at_most, room_bytes);
    if (entry == nullptr && room_bytes < wanted) {
      entry = find_unleased(writer, extent_size(size_bytes), kAnySize, room_bytes);
      if (entry == nullptr) {
        punch_gaps();
        room_bytes = room().without_warm_bytes;
      }
    }
    if (entry == nullptr) {
      if (room_bytes < least) refuse(size_bytes, room_bytes);
      const std::uint64_t size = std::min(wanted, room_bytes / kPageBytes * kPageBytes);
      make_room(size);
      entry = &make_region(size);
    }
  }
  leave_warm(*entry);
  if (entry->punched_bytes != 0) {
    make_room(entry->punched_bytes);
    usage_.regions_bytes += entry->punched_bytes;
    usage_.punched_bytes -= std::exchange(entry->punched_bytes, 0);
  }
  entry->writer = entry->last_writer = writer;
  HolderState& holder = holders_[writer];
  holder.leases.insert(entry->region->id());
  if (writer != kClient) holder.sent.insert(entry->region->id());
  Lease lease{entry->region, {}};
  for_each_gap(entry->blobs, entry->region->size_bytes(),
               [&](std::uint64_t begin, std::uint64_t end) {
                 lease.free.push_back({begin, end - begin});
               });
  return lease;
}

void Store::return_lease(Holder writer, base::RegionId region, base::TimePoint now) {
  Entry& entry = leased_entry(writer, region);
  holders_[writer].leases.erase(region);
  end_lease(entry, now);
}

void Store::end_lease(Entry& entry, base::TimePoint now) {
  entry.writer.reset();
  for (const std::uint64_t offset : entry.untold) entry.blobs.erase(offset);
  entry.untold.clear();
  entry.largest_gap = 0;
  for_each_gap(entry.blobs, entry.region->size_bytes(),
               [&](std::uint64_t begin, std::uint64_t end) {
                 entry.largest_gap = std::max(entry.largest_gap, end - begin);
               });
  if (entry.blobs.empty()) settle(entry, now);
}

std::vector<wire::Freed> Store::take_freed(Holder writer) {
  std::vector<wire::Freed> all;
  const auto holder = holders_.find(writer);
  if (holder == holders_.end() || !holder->second.has_untold) return all;
  holder->second.has_untold = false;
  for (const base::RegionId id : holder->second.leases) {
    Entry& leased = regions_.at(id);
    if (leased.untold.empty()) continue;
    std::sort(leased.untold.begin(), leased.untold.end());
    wire::Freed freed{id, {}};
    for (const std::uint64_t offset : leased.untold) {
      const auto blob = leased.blobs.find(offset);
      const std::uint64_t size = extent_size(blob->second.size_bytes);
      leased.blobs.erase(blob);
      wire::Extent* last = freed.extents.empty() ? nullptr : &freed.extents.back();
      if (last != nullptr && last->offset_bytes + last->size_bytes == offset)
        last->size_bytes += size;
      else
        freed.extents.push_back({offset, size});
    }
    leased.untold.clear();
    all.push_back(std::move(freed));
  }
  return all;
}

std::vector<base::RegionId> Store::take_dropped(Holder reader) {
  const auto holder = holders_.find(reader);
  if (holder == holders_.end()) return {};
  return std::exchange(holder->second.dropped, {});
}

// ---- blobs --------------------------------------------------------------------------------------

Store::Blobs::iterator Store::find_blob(Entry& entry, const wire::BlobRef& ref) {
  const auto blob = find_around(entry.blobs, ref);
  if (blob == entry.blobs.end() || (blob->second.owners == 0 && blob->second.views == 0))
    refuse_blob(ref, "there is no such blob");
  return blob;
}

void Store::seal(Holder writer, const wire::BlobRef& ref) {
  Entry& entry = leased_entry(writer, ref.region);
  entry.region->at(ref);  // in range; regions end on a page, so the rounded extent is, too
  if (ref.offset_bytes % kBlobAlignmentBytes != 0) refuse_blob(ref, "its offset is unaligned");
  const auto next = entry.blobs.lower_bound(key_of(ref));
  if (ref.size_bytes == 0) {
    if (next != entry.blobs.end()) {
      ++next->second.owners;
      return;
    }
  } else {
    const bool meets_next =
        next != entry.blobs.end() && next->first < ref.offset_bytes + extent_size(ref.size_bytes);
    const bool meets_previous =
        next != entry.blobs.begin() &&
        std::prev(next)->first + extent_size(std::prev(next)->second.size_bytes) > ref.offset_bytes;
    if (meets_next || meets_previous) refuse_blob(ref, "it overlaps another blob");
  }
  entry.blobs.emplace_hint(next, key_of(ref), Blob{ref.size_bytes, 1, 0});
  entry.used = true;
  ++usage_.blobs;
  usage_.blobs_bytes += ref.size_bytes;
}

void Store::retain(const wire::BlobRef& ref) { ++find_blob(entry(ref.region), ref)->second.owners; }

void Store::release(const wire::BlobRef& ref, base::TimePoint now) {
  Entry& entry = this->entry(ref.region);
  const auto blob = find_blob(entry, ref);
  if (blob->second.owners == 0) refuse_blob(ref, "it was released by all its owners already");
  --blob->second.owners;
  free_if_dead(entry, blob, now);
}

bool Store::add_view(Holder reader, const wire::BlobRef& ref) {
  const auto blob = find_blob(entry(ref.region), ref);
  ++blob->second.views;
  ++usage_.views;
  HolderState& holder = holders_[reader];
  ++holder.views[{ref.region, blob->first}];
  return reader != kClient && holder.sent.insert(ref.region).second;
}

void Store::drop_view(Holder reader, const wire::BlobRef& ref, base::TimePoint now) {
  Entry& entry = this->entry(ref.region);
  const auto blob = find_blob(entry, ref);
  const auto holder = holders_.find(reader);
  if (holder == holders_.end()) refuse_blob(ref, "this process has no view of it");
  const auto view = holder->second.views.find({ref.region, blob->first});
  if (view == holder->second.views.end()) refuse_blob(ref, "this process has no view of it");
  if (--view->second == 0) holder->second.views.erase(view);
  --blob->second.views;
  --usage_.views;
  free_if_dead(entry, blob, now);
}

// Without owners and views the blob goes; with it may go the region, and `entry`.
void Store::free_if_dead(Entry& entry, Blobs::iterator blob, base::TimePoint now) {
  if (blob->second.owners != 0 || blob->second.views != 0) return;
  --usage_.blobs;
  usage_.blobs_bytes -= blob->second.size_bytes;
  if (entry.writer && blob->second.size_bytes != 0) {
    entry.untold.push_back(blob->first);
    holders_[*entry.writer].has_untold = true;
    return;
  }
  const auto next = entry.blobs.erase(blob);
  if (entry.writer) return;
  std::uint64_t begin = 0, end = entry.region->size_bytes();
  if (next != entry.blobs.end()) end = std::min(end, next->first);
  if (next != entry.blobs.begin() && std::prev(next)->first != kEmptyBlobs)
    begin = std::prev(next)->first + extent_size(std::prev(next)->second.size_bytes);
  entry.largest_gap = std::max(entry.largest_gap, end - begin);
  if (entry.blobs.empty()) settle(entry, now);
}

void Store::drop_holder(Holder holder, base::TimePoint now) {
  const auto found = holders_.find(holder);
  if (found == holders_.end()) return;
  const HolderState gone = std::move(found->second);
  holders_.erase(found);
  for (const base::RegionId id : gone.leases) end_lease(entry(id), now);
  for (const auto& [key, count] : gone.views) {
    Entry& viewed = entry(key.region);
    const auto blob = viewed.blobs.find(key.offset_bytes);
    blob->second.views -= count;
    usage_.views -= count;
    free_if_dead(viewed, blob, now);
  }
}

// ---- accounts -----------------------------------------------------------------------------------

Store::Usage Store::usage() const { return usage_; }

const Store::Blobs::value_type& Store::live_blob(const wire::BlobRef& ref) const {
  const auto region = regions_.find(ref.region);
  if (region == regions_.end()) refuse_region(ref.region, "is unknown");
  const auto blob = find_around(region->second.blobs, ref);
  if (blob == region->second.blobs.end() || (blob->second.owners == 0 && blob->second.views == 0))
    refuse_blob(ref, "there is no such blob");
  return *blob;
}

std::uint32_t Store::views(const wire::BlobRef& ref) const { return live_blob(ref).second.views; }

std::vector<Holder> Store::viewers(const wire::BlobRef& ref) const {
  const std::uint64_t offset = live_blob(ref).first;
  std::vector<Holder> all;
  for (const auto& [id, holder] : holders_)
    if (holder.views.count({ref.region, offset}) != 0) all.push_back(id);
  std::sort(all.begin(), all.end());
  return all;
}

bool Store::holds_anything(Holder holder) const {
  const auto found = holders_.find(holder);
  return found != holders_.end() && (!found->second.leases.empty() || !found->second.views.empty());
}

bool Store::is_leased(base::RegionId id) const {
  const auto found = regions_.find(id);
  if (found == regions_.end()) refuse_region(id, "is unknown");
  return found->second.writer.has_value();
}

bool Store::has_leases(Holder holder) const {
  const auto found = holders_.find(holder);
  return found != holders_.end() && !found->second.leases.empty();
}

void Store::refuse(std::uint64_t size_bytes, std::uint64_t room_bytes) const {
  const std::uint64_t budget_left = usage_.budget_bytes - usage_.regions_bytes + usage_.warm_bytes;
  if (size_bytes > usage_.budget_bytes)
    throw base::StoreFull("A blob of " + readable(size_bytes) +
                          " is larger than the whole blob store of " +
                          readable(usage_.budget_bytes) + " (" + readable(budget_left) +
                          " free). Make the store larger: Client(memory=...)");
  std::uint64_t only_viewed = 0, only_viewed_bytes = 0;
  std::uint32_t leased = 0;
  for (const auto& [id, entry] : regions_) {
    leased += entry.writer ? 1 : 0;
    for (const auto& [offset, blob] : entry.blobs)
      if (blob.owners == 0 && blob.views != 0) {
        ++only_viewed;
        only_viewed_bytes += blob.size_bytes;
      }
  }
  const bool machine = room_bytes < budget_left && whole_pages(size_bytes) <= budget_left;
  std::string text = "The blob store is full: " + readable(size_bytes) + " were asked for, " +
                     readable(budget_left) + " of " + readable(usage_.budget_bytes) + " are free";
  if (machine) text += ", but the memory limit of this machine leaves " + readable(room_bytes);
  text += ". " + std::to_string(usage_.blobs) + " blobs hold " + readable(usage_.blobs_bytes);
  text += " (" + std::to_string(only_viewed) + " of them with " + readable(only_viewed_bytes) +
          " only because executors still view them; " + std::to_string(usage_.views) +
          " views in all); " + std::to_string(leased) + " of " + std::to_string(usage_.regions) +
          " regions are leased to writers. Unkeep or drop objects that are no longer needed, or ";
  text += machine ? "give the machine (its cgroup or container) more memory"
                  : "make the store larger: Client(memory=...)";
  throw base::StoreFull(text);
}

std::uint64_t default_budget_bytes() {
  const std::uint64_t machine = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                                static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return std::min({machine / 2, memory_limit_bytes().value_or(machine) / 2,
                   memory_headroom_bytes().value_or(machine)});
}

}  // namespace tasklib::blob
