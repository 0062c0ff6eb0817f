// The store against a model of it.

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <set>

#include "base/errors.h"
#include "blob/extents.h"
#include "blob/store.h"
#include "census.h"

namespace tasklib::blob {
namespace {

using base::ProtocolError;
using base::RegionId;
using base::StoreFull;
using wire::BlobRef;

constexpr std::uint64_t kBudget = 4 << 20, kOrdinary = 256 << 10, kWarm = 600 << 10;
constexpr base::Duration kWarmTime = std::chrono::seconds(10);

/// What the store should hold, in the plainest form: every rule is a scan. The choice of a region
/// for a lease is the store's own; the model checks that it was a legal one.
struct Model {
  struct Blob {
    std::uint64_t size_bytes = 0;
    std::uint32_t owners = 0;
    std::map<Holder, std::uint32_t> views;
    bool live() const { return owners > 0 || !views.empty(); }
  };
  struct Region {
    std::uint64_t size_bytes = 0;
    std::optional<Holder> writer;
    std::map<std::uint64_t, Blob> blobs;  // by offset, also free ones that the writer wasn't told
    Blob empty;                           // the empty ones
    bool used = false;
    std::set<Holder> sent;
    bool live() const {
      return writer || empty.live() ||
             std::any_of(blobs.begin(), blobs.end(), [](auto& blob) { return blob.second.live(); });
    }
  };
  struct Warm {
    RegionId id;
    base::TimePoint since;
  };

  std::map<RegionId, Region> regions;
  std::vector<Warm> warm;  // oldest first
  std::map<Holder, std::set<RegionId>> dropped;

  Blob* find(const BlobRef& ref) {
    const auto region = regions.find(ref.region);
    if (region == regions.end()) return nullptr;
    if (ref.size_bytes == 0) return region->second.empty.live() ? &region->second.empty : nullptr;
    for (auto& [offset, blob] : region->second.blobs) {
      const bool around = offset <= ref.offset_bytes && ref.size_bytes <= blob.size_bytes &&
                          ref.offset_bytes - offset <= blob.size_bytes - ref.size_bytes;
      if (around && blob.live()) return &blob;
    }
    return nullptr;
  }

  bool may_seal(Holder writer, const BlobRef& ref) {
    const auto region = regions.find(ref.region);
    if (region == regions.end() || region->second.writer != writer) return false;
    const std::uint64_t size = region->second.size_bytes;
    if (ref.offset_bytes > size || ref.size_bytes > size - ref.offset_bytes) return false;
    if (ref.offset_bytes % 64 != 0) return false;
    for (const auto& [offset, blob] : region->second.blobs)
      if (ref.size_bytes != 0 && offset < ref.offset_bytes + ref.size_bytes &&
          ref.offset_bytes < offset + extent_size(blob.size_bytes))
        return false;
    return true;
  }

  std::vector<wire::Extent> gaps(const Region& region) const {
    std::vector<wire::Extent> found;
    std::uint64_t begin = 0;
    for (const auto& [offset, blob] : region.blobs) {
      if (offset > begin) found.push_back({begin, offset - begin});
      begin = offset + extent_size(blob.size_bytes);
    }
    if (region.size_bytes > begin) found.push_back({begin, region.size_bytes - begin});
    return found;
  }

  std::uint64_t warm_bytes() const {
    std::uint64_t sum = 0;
    for (const Warm& entry : warm) sum += regions.at(entry.id).size_bytes;
    return sum;
  }

  void drop(RegionId id) {
    for (const Holder holder : regions[id].sent) dropped[holder].insert(id);
    regions.erase(id);
    warm.erase(std::remove_if(warm.begin(), warm.end(), [&](auto& w) { return w.id == id; }),
               warm.end());
  }

  /// After anything that may have ended a region's last use.
  void settle(RegionId id, base::TimePoint now) {
    Region& region = regions.at(id);
    for (auto blob = region.blobs.begin(); !region.writer && blob != region.blobs.end();)
      blob = blob->second.live() ? std::next(blob) : region.blobs.erase(blob);
    if (region.live()) return;
    if (!region.used || region.size_bytes > kWarm) return drop(id);
    while (warm_bytes() + region.size_bytes > kWarm) drop(warm.front().id);
    warm.push_back({id, now});
  }

  void tick(base::TimePoint now) {
    while (!warm.empty() && warm.front().since + kWarmTime <= now) drop(warm.front().id);
  }
};

class Walk {
 public:
  explicit Walk(unsigned seed) : random_(seed), store_(limits()) {}

  void run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      draining_ = step / 300 % 4 == 3;       // the store fills up and empties by turns
      now_ += std::chrono::microseconds(1);  // no two regions became warm at the same time
      act();
      compare();
    }
  }

  std::uint32_t leases = 0, refused_leases = 0, refused = 0, accepted = 0, drops = 0;

 private:
  static Store::Limits limits() {
    Store::Limits limits;
    limits.budget_bytes = kBudget;
    limits.region_bytes = kOrdinary;
    limits.warm_bytes = kWarm;
    limits.warm_time = kWarmTime;
    limits.headroom_bytes = nullptr;
    return limits;
  }

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  Holder holder() { return Holder{static_cast<std::uint32_t>(below(4))}; }  // 0: the client

  std::uint64_t size() {
    constexpr std::uint64_t kSizes[] = {0, 1, 63, 64, 65, 4095, 4096, 4097};
    switch (below(10)) {
      case 0:
        return kOrdinary / 2 + below(700 << 10);
      case 1:
      case 2:
      case 3:
        return below(60000);
      default:
        return kSizes[below(8)];
    }
  }

  template <class Map>
  static auto pick(Map& map, std::uint64_t number) {
    return std::next(map.begin(), static_cast<std::ptrdiff_t>(number % map.size()));
  }

  // Mostly a live blob or part of one; else something near one.
  BlobRef reference() {
    if (model_.regions.empty()) return {RegionId{1}, 0, 64};
    const auto& [id, region] = *pick(model_.regions, random_());
    BlobRef ref{id, 0, 0};
    if (!region.blobs.empty() && below(8) != 0) {
      const auto& [offset, blob] = *pick(region.blobs, random_());
      ref = {id, offset, blob.size_bytes};
      if (below(3) == 0 && ref.size_bytes > 0) {
        ref.offset_bytes += below(ref.size_bytes);
        ref.size_bytes = 1 + below(offset + blob.size_bytes - ref.offset_bytes);
      }
    }
    switch (below(24)) {
      case 0:
        ref.offset_bytes += 64;
        break;
      case 1:
        ref.size_bytes += 1;
        break;
      case 2:
        ref.region.value += 1;
        break;
      case 3:
        ref.offset_bytes = ~std::uint64_t{0} - below(128);
        break;
      case 4:
        ref.size_bytes = ~std::uint64_t{0} - below(128);
        break;
    }
    return ref;
  }

  // `call` must throw ProtocolError unless `legal`.
  template <class Call>
  bool expect(bool legal, Call&& call) {
    bool threw = false;
    try {
      call();
    } catch (const ProtocolError&) {
      threw = true;
    }
    EXPECT_EQ(threw, !legal);
    ++(legal ? accepted : refused);
    return legal && !threw;
  }

  void act() {
    // What ends things lies at 8 and above.
    switch (draining_ ? 8 + below(13) : below(21)) {
      case 0:
        return lease();
      case 1:
      case 2:
      case 3:
      case 4:
        return seal();
      case 5: {
        const BlobRef ref = reference();
        Model::Blob* blob = model_.find(ref);
        if (expect(blob != nullptr, [&] { store_.retain(ref); })) ++blob->owners;
        return;
      }
      case 6:
      case 7:
        return add_view();
      case 8:
        return return_lease();
      case 9:
      case 10:
      case 11:
      case 12:
      case 13: {
        const BlobRef ref = reference();
        Model::Blob* blob = model_.find(ref);
        const bool legal = blob != nullptr && blob->owners > 0;
        if (!expect(legal, [&] { store_.release(ref, now_); })) return;
        --blob->owners;
        return model_.settle(ref.region, now_);
      }
      case 14:
      case 15:
      case 16:
      case 17:
        return drop_view();
      case 18:
        return take();
      case 19:
        now_ += std::chrono::milliseconds(below(4000));
        store_.tick(now_);
        return model_.tick(now_);
      case 20:
        if (below(10) == 0) drop_holder();
        return;
    }
  }

  void lease() {
    const Holder writer = holder();
    const std::uint64_t bytes = size();
    std::uint64_t in_use = 0;
    bool has_gap = false;
    for (const auto& [id, region] : model_.regions) {
      if (region.live()) in_use += region.size_bytes;
      for (const wire::Extent& gap : model_.gaps(region))
        has_gap = has_gap || (!region.writer && gap.size_bytes >= extent_size(bytes));
    }
    const bool room = (std::max<std::uint64_t>(bytes, 1) + 4095) / 4096 * 4096 <= kBudget - in_use;
    std::optional<Store::Lease> lease;
    try {
      lease = store_.lease(writer, bytes);
    } catch (const StoreFull&) {
    }
    ASSERT_EQ(lease.has_value(), room || has_gap);
    ++(lease ? leases : refused_leases);
    if (!lease) return;
    const RegionId id = lease->region->id();
    ASSERT_TRUE(model_.regions.count(id) != 0 || id.value > last_id_);
    const bool is_new = model_.regions.count(id) == 0;
    last_id_ = std::max(last_id_, id.value);
    Model::Region& region = model_.regions[id];
    ASSERT_FALSE(region.writer);
    if (is_new) region.size_bytes = lease->region->size_bytes();
    region.writer = writer;
    if (writer != kClient) region.sent.insert(writer);
    model_.warm.erase(std::remove_if(model_.warm.begin(), model_.warm.end(),
                                     [&](auto& warm) { return warm.id == id; }),
                      model_.warm.end());
    ASSERT_EQ(lease->free, model_.gaps(region));
    ASSERT_TRUE(std::any_of(lease->free.begin(), lease->free.end(),
                            [&](const auto& gap) { return gap.size_bytes >= extent_size(bytes); }));
    // Making it may have cost warm regions, oldest first.
    while (!model_.warm.empty() && !exists(model_.warm.front().id)) {
      ASSERT_TRUE(is_new);
      model_.drop(model_.warm.front().id);
    }
  }

  bool exists(RegionId id) {
    try {
      store_.region(id);
      return true;
    } catch (const ProtocolError&) {
      return false;
    }
  }

  void return_lease() {
    const Holder writer = holder();
    if (model_.regions.empty()) return;
    const RegionId id = pick(model_.regions, random_())->first;
    Model::Region& region = model_.regions.at(id);
    if (!expect(region.writer == writer, [&] { store_.return_lease(writer, id, now_); })) return;
    region.writer.reset();
    model_.settle(id, now_);
  }

  void seal() {
    BlobRef ref = reference();
    Holder writer = holder();
    const auto region = model_.regions.find(ref.region);
    if (region != model_.regions.end() && region->second.writer && below(8) != 0) {
      writer = *region->second.writer;
      const auto gaps = model_.gaps(region->second);
      if (!gaps.empty() && below(8) != 0) {
        const wire::Extent gap = gaps[below(gaps.size())];
        ref = {ref.region, gap.offset_bytes + below(3) * 64, size()};
      }
    }
    if (!expect(model_.may_seal(writer, ref), [&] { store_.seal(writer, ref); })) return;
    region->second.used = true;
    if (ref.size_bytes == 0)
      ++region->second.empty.owners;
    else
      region->second.blobs[ref.offset_bytes] = {ref.size_bytes, 1, {}};
  }

  void add_view() {
    const BlobRef ref = reference();
    const Holder reader = holder();
    Model::Blob* blob = model_.find(ref);
    bool must_send = false;
    if (!expect(blob != nullptr, [&] { must_send = store_.add_view(reader, ref); })) return;
    ++blob->views[reader];
    const bool first =
        reader != kClient && model_.regions.at(ref.region).sent.insert(reader).second;
    EXPECT_EQ(must_send, first);
  }

  void drop_view() {
    const BlobRef ref = reference();
    Model::Blob* blob = model_.find(ref);
    Holder reader = holder();
    if (blob != nullptr && !blob->views.empty() && below(4) != 0)
      reader = pick(blob->views, random_())->first;
    const bool legal = blob != nullptr && blob->views.count(reader) != 0;
    if (!expect(legal, [&] { store_.drop_view(reader, ref, now_); })) return;
    if (--blob->views[reader] == 0) blob->views.erase(reader);
    model_.settle(ref.region, now_);
  }

  void take() {
    const Holder who = holder();
    std::map<RegionId, FreeExtents> expected, told;
    for (auto& [id, region] : model_.regions) {
      if (region.writer != who) continue;
      for (auto blob = region.blobs.begin(); blob != region.blobs.end();) {
        if (blob->second.live()) {
          ++blob;
          continue;
        }
        expected[id].add({blob->first, extent_size(blob->second.size_bytes)});
        blob = region.blobs.erase(blob);
      }
    }
    for (const wire::Freed& freed : store_.take_freed(who))
      for (const wire::Extent& extent : freed.extents) EXPECT_TRUE(told[freed.region].add(extent));
    ASSERT_EQ(told.size(), expected.size());
    for (auto& [id, extents] : told) EXPECT_EQ(extents.list(), expected[id].list());

    std::set<RegionId> dropped;
    for (const RegionId id : store_.take_dropped(who)) EXPECT_TRUE(dropped.insert(id).second);
    EXPECT_EQ(dropped, model_.dropped[who]);
    drops += static_cast<std::uint32_t>(dropped.size());
    model_.dropped[who].clear();
  }

  void drop_holder() {
    const Holder gone = holder();
    // In which order its regions become warm is the store's choice: empty the stock before.
    now_ += kWarmTime;
    store_.tick(now_);
    model_.tick(now_);
    store_.drop_holder(gone, now_);
    model_.dropped.erase(gone);
    std::vector<RegionId> ids;
    for (auto& [id, region] : model_.regions) {
      ids.push_back(id);
      region.sent.erase(gone);
      if (region.writer == gone) region.writer.reset();
      region.empty.views.erase(gone);
      for (auto& [offset, blob] : region.blobs) blob.views.erase(gone);
    }
    std::vector<RegionId> idle;
    for (const RegionId id : ids) {
      Model::Region& region = model_.regions.at(id);
      for (auto blob = region.blobs.begin(); !region.writer && blob != region.blobs.end();)
        blob = blob->second.live() ? std::next(blob) : region.blobs.erase(blob);
      if (!region.live()) idle.push_back(id);
    }
    std::uint64_t kept = 0, lost = 0;
    for (const RegionId id : idle) {
      const Model::Region& region = model_.regions.at(id);
      if (exists(id)) {
        EXPECT_TRUE(region.used);
        kept += region.size_bytes;
        model_.warm.push_back({id, now_});  // equal times: by id, as in `idle`
      } else {
        if (region.used) lost = std::max(lost, region.size_bytes);
        model_.drop(id);
      }
    }
    EXPECT_LE(kept, kWarm);
    EXPECT_TRUE(lost == 0 || kept + lost > kWarm);  // none went that there was room for
  }

  // After every step.
  void compare() {
    const Store::Usage usage = store_.usage();
    std::uint64_t regions_bytes = 0, blobs_bytes = 0;
    std::uint32_t blobs = 0, views = 0;
    const auto count = [&](const Model::Blob& blob) {
      if (!blob.live()) return;
      ++blobs;
      blobs_bytes += blob.size_bytes;
      for (const auto& [holder, number] : blob.views) views += number;
    };
    for (const auto& [id, region] : model_.regions) {
      EXPECT_TRUE(exists(id));
      regions_bytes += region.size_bytes;
      count(region.empty);
      for (const auto& [offset, blob] : region.blobs) count(blob);
    }
    EXPECT_EQ(usage.regions, model_.regions.size());
    EXPECT_EQ(usage.regions_bytes, regions_bytes);
    EXPECT_EQ(usage.blobs, blobs);
    EXPECT_EQ(usage.blobs_bytes, blobs_bytes);
    EXPECT_EQ(usage.views, views);
    EXPECT_EQ(usage.warm_bytes, model_.warm_bytes());
    EXPECT_LE(usage.regions_bytes, kBudget);
    EXPECT_LE(usage.warm_bytes, kWarm);
  }

  std::mt19937_64 random_;
  Store store_;
  Model model_;
  base::TimePoint now_{std::chrono::seconds(1000)};
  std::uint32_t last_id_ = 0;
  bool draining_ = false;
};

class StoreModel : public CensusTest, public testing::WithParamInterface<unsigned> {};

TEST_P(StoreModel, random_steps_leave_exactly_the_models_accounts) {
  Walk walk(GetParam());
  walk.run(30000);
  // The walk has been everywhere.
  EXPECT_GT(walk.leases, 50u);
  EXPECT_GT(walk.refused_leases, 0u);
  EXPECT_GT(walk.accepted, 3000u);
  EXPECT_GT(walk.refused, 1000u);
  EXPECT_GT(walk.drops, 10u);
}

INSTANTIATE_TEST_SUITE_P(seeds, StoreModel, testing::Values(1u, 2u, 3u));

}  // namespace
}  // namespace tasklib::blob
