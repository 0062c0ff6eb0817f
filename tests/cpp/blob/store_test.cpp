#include "blob/store.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/errors.h"
#include "blob/arena.h"
#include "blob/extents.h"
#include "census.h"

namespace tasklib::blob {
namespace {

using base::ProtocolError;
using base::RegionId;
using base::StoreFull;
using std::chrono::seconds;
using wire::BlobRef;
using Extents = std::vector<wire::Extent>;
using Ids = std::vector<RegionId>;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr Holder kWriter{1}, kReader{2}, kOther{3};

Store::Limits limits(std::uint64_t budget_bytes) {
  Store::Limits limits;
  limits.budget_bytes = budget_bytes;
  limits.region_bytes = kMiB;
  limits.headroom_bytes = nullptr;  // not what this machine happens to have
  return limits;
}

class StoreTest : public CensusTest {
 protected:
  // One blob of `size_bytes` at the start of the first free extent of a new lease.
  static BlobRef sealed(Store& store, Holder writer, std::uint64_t size_bytes) {
    const Store::Lease lease = store.lease(writer, size_bytes);
    const BlobRef ref{lease.region->id(), lease.free.front().offset_bytes, size_bytes};
    store.seal(writer, ref);
    return ref;
  }
  static std::string refusal(Store& store, std::uint64_t size_bytes) {
    try {
      store.lease(kOther, size_bytes);
    } catch (const StoreFull& full) {
      return full.what();
    }
    return "(not refused)";
  }

  const base::TimePoint now{seconds(1000)};
};

// ---- leases -------------------------------------------------------------------------------------

TEST_F(StoreTest, a_lease_is_a_fresh_region_that_is_free_as_a_whole) {
  Store store(limits(64 * kMiB));
  const Store::Lease lease = store.lease(kWriter, 100);
  EXPECT_EQ(lease.region->size_bytes(), kMiB);
  EXPECT_EQ(lease.free, (Extents{{0, kMiB}}));
  EXPECT_EQ(store.region(lease.region->id()), lease.region);
  EXPECT_EQ(store.usage().regions_bytes, kMiB);
  EXPECT_EQ(store.usage().regions, 1u);
}

TEST_F(StoreTest, two_writers_never_share_a_region) {
  Store store(limits(64 * kMiB));
  const RegionId first = store.lease(kWriter, 100).region->id();
  EXPECT_NE(store.lease(kOther, 100).region->id(), first);
  EXPECT_NE(store.lease(kWriter, 100).region->id(), first);
  EXPECT_NE(store.lease(kClient, 100).region->id(), first);
}

TEST_F(StoreTest, a_large_blob_gets_a_region_of_its_own) {
  Store store(limits(64 * kMiB));
  EXPECT_EQ(store.lease(kWriter, kMiB / 2).region->size_bytes(), kMiB);
  EXPECT_EQ(store.lease(kWriter, kMiB / 2 + 1).region->size_bytes(), kMiB / 2 + 4096);
  EXPECT_EQ(store.lease(kWriter, 3 * kMiB + 1).region->size_bytes(), 3 * kMiB + 4096);
}

TEST_F(StoreTest, blobs_of_several_gib_work) {
  Store store(limits(std::uint64_t{32} << 30));
  const std::uint64_t size = (std::uint64_t{5} << 30) + 1;
  const Store::Lease lease = store.lease(kWriter, size);
  const BlobRef ref{lease.region->id(), 0, size};
  *lease.region->at({ref.region, size - 1, 1}) = 42;
  store.seal(kWriter, ref);
  EXPECT_EQ(store.usage().blobs_bytes, size);
  const auto reader = Region::map(ref.region, lease.region->size_bytes(),
                                  lease.region->open_read_only(), Region::Access::read_only);
  EXPECT_EQ(reader->at(ref)[size - 1], 42);
}

TEST_F(StoreTest, a_returned_region_is_leased_again_around_its_blobs) {
  Store store(limits(64 * kMiB));
  const RegionId id = store.lease(kWriter, 1).region->id();
  store.seal(kWriter, {id, 0, 65});
  store.seal(kWriter, {id, 4096, 64});
  store.return_lease(kWriter, id, now);
  const Store::Lease again = store.lease(kOther, 1000);
  EXPECT_EQ(again.region->id(), id);
  EXPECT_EQ(again.free, (Extents{{128, 3968}, {4160, kMiB - 4160}}));
}

TEST_F(StoreTest, a_writer_gets_the_region_that_it_had_before) {
  Store store(limits(64 * kMiB));
  const RegionId others = store.lease(kOther, 100).region->id();
  const RegionId own = store.lease(kWriter, 100).region->id();
  store.seal(kOther, {others, 0, 100});
  store.seal(kWriter, {own, 0, 100});
  store.return_lease(kOther, others, now);
  store.return_lease(kWriter, own, now);
  EXPECT_EQ(store.lease(kWriter, 100).region->id(), own);
  EXPECT_EQ(store.lease(kWriter, 100).region->id(), others);
}

TEST_F(StoreTest, a_region_with_little_room_is_leased_only_when_the_store_is_full) {
  Store store(limits(16 * kMiB));
  const RegionId id = store.lease(kWriter, 1).region->id();
  store.seal(kWriter, {id, 4096, kMiB - 4096});
  store.return_lease(kWriter, id, now);
  EXPECT_NE(store.lease(kWriter, 100).region->id(), id);
  store.lease(kWriter, 14 * kMiB);
  EXPECT_EQ(store.lease(kOther, 100).region->id(), id);
}

TEST_F(StoreTest, room_that_blobs_leave_in_an_unleased_region_is_leased_again) {
  Store store(limits(16 * kMiB));
  const RegionId id = store.lease(kWriter, 1).region->id();
  for (std::uint64_t offset = 0; offset < kMiB; offset += kMiB / 8)
    store.seal(kWriter, {id, offset, kMiB / 8});
  store.return_lease(kWriter, id, now);
  store.lease(kWriter, 15 * kMiB);
  store.release({id, kMiB / 4, kMiB / 8}, now);
  EXPECT_THROW(store.lease(kOther, kMiB / 4), StoreFull);
  store.release({id, kMiB / 2, kMiB / 8}, now);
  EXPECT_THROW(store.lease(kOther, kMiB / 4), StoreFull);
  store.release({id, kMiB * 3 / 8, kMiB / 8}, now);  // the three lie side by side
  EXPECT_EQ(store.lease(kOther, kMiB * 3 / 8).free, (Extents{{kMiB / 4, kMiB * 3 / 8}}));
}

TEST_F(StoreTest, only_the_holder_of_a_lease_returns_it_and_only_once) {
  Store store(limits(64 * kMiB));
  const RegionId id = store.lease(kWriter, 1).region->id();
  EXPECT_THROW(store.return_lease(kOther, id, now), ProtocolError);
  EXPECT_THROW(store.return_lease(kClient, id, now), ProtocolError);
  EXPECT_THROW(store.return_lease(kWriter, RegionId{99}, now), ProtocolError);
  store.seal(kWriter, {id, 0, 64});
  store.return_lease(kWriter, id, now);
  EXPECT_THROW(store.return_lease(kWriter, id, now), ProtocolError);
  EXPECT_THROW(store.seal(kWriter, {id, 64, 64}), ProtocolError);
}

// ---- seals --------------------------------------------------------------------------------------

TEST_F(StoreTest, blobs_of_all_sizes_are_sealed_side_by_side) {
  Store store(limits(64 * kMiB));
  const RegionId id = store.lease(kWriter, 1).region->id();
  std::uint64_t offset = 0, bytes = 0;
  for (const std::uint64_t size : {0, 1, 63, 64, 65, 4095, 4096, 4097}) {
    store.seal(kWriter, {id, offset, size});
    offset += extent_size(size);
    bytes += size;
  }
  EXPECT_EQ(store.usage().blobs, 8u);
  EXPECT_EQ(store.usage().blobs_bytes, bytes);
}

TEST_F(StoreTest, wrong_seals_are_refused_and_change_nothing) {
  Store store(limits(64 * kMiB));
  const RegionId id = store.lease(kWriter, 1).region->id();
  store.lease(kOther, 1);
  store.seal(kWriter, {id, 4096, 100});
  constexpr std::uint64_t kMax = ~std::uint64_t{0};
  for (const BlobRef& bad : {
           BlobRef{id, 4096, 100},                            // twice
           BlobRef{id, 4096, 64}, BlobRef{id, 4096, 4096},    // the same start
           BlobRef{id, 4032, 128}, BlobRef{id, 0, kMiB},      // into it, over it
           BlobRef{id, 4160, 64},                             // its rounded end
           BlobRef{id, 32, 32}, BlobRef{id, 1, 1},            // unaligned
           BlobRef{id, kMiB, 1}, BlobRef{id, kMiB - 64, 65},  // outside
           BlobRef{id, kMax - 63, 64}, BlobRef{id, kMax - 63, 128}, BlobRef{id, 0, kMax},
           BlobRef{id, 64, kMax - 63}, BlobRef{id, kMiB + 64, 0}, BlobRef{id, 7, 0},
           BlobRef{RegionId{99}, 0, 64}, BlobRef{RegionId{0}, 0, 64},  // unknown
       })
    EXPECT_THROW(store.seal(kWriter, bad), ProtocolError)
        << bad.offset_bytes << " " << bad.size_bytes;
  EXPECT_THROW(store.seal(kOther, {id, 0, 64}), ProtocolError);
  EXPECT_THROW(store.seal(kClient, {id, 0, 64}), ProtocolError);
  EXPECT_EQ(store.usage().blobs, 1u);
  EXPECT_EQ(store.usage().blobs_bytes, 100u);
  store.seal(kWriter, {id, 4224, 64});
  store.seal(kWriter, {id, 4032, 64});
}

TEST_F(StoreTest, a_freed_extent_is_the_writers_only_after_it_was_told) {
  Store store(limits(64 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 100);
  store.release(ref, now);
  EXPECT_EQ(store.usage().blobs, 0u);
  EXPECT_THROW(store.seal(kWriter, ref), ProtocolError);
  const auto freed = store.take_freed(kWriter);
  ASSERT_EQ(freed.size(), 1u);
  EXPECT_EQ(freed[0].region, ref.region);
  EXPECT_EQ(freed[0].extents, (Extents{{0, 128}}));
  EXPECT_TRUE(store.take_freed(kWriter).empty());
  store.seal(kWriter, ref);
}

TEST_F(StoreTest, freed_neighbours_are_told_as_one_extent) {
  Store store(limits(64 * kMiB));
  const RegionId id = store.lease(kWriter, 1).region->id();
  for (const std::uint64_t offset : {0, 64, 128, 256}) store.seal(kWriter, {id, offset, 64});
  for (const std::uint64_t offset : {256, 0, 128, 64}) store.release({id, offset, 64}, now);
  const auto freed = store.take_freed(kWriter);
  ASSERT_EQ(freed.size(), 1u);
  EXPECT_EQ(freed[0].extents, (Extents{{0, 192}, {256, 64}}));
}

TEST_F(StoreTest, nothing_is_told_about_a_lease_that_was_returned) {
  Store store(limits(64 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 100);
  store.seal(kWriter, {ref.region, 4096, 64});
  store.release(ref, now);
  store.return_lease(kWriter, ref.region, now);
  EXPECT_TRUE(store.take_freed(kWriter).empty());
  EXPECT_EQ(store.lease(kWriter, 1).free, (Extents{{0, 4096}, {4160, kMiB - 4160}}));
}

// ---- owners and views ---------------------------------------------------------------------------

TEST_F(StoreTest, a_blob_lives_as_long_as_any_owner_or_view) {
  Store store(limits(64 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 100);
  store.retain(ref);
  store.add_view(kReader, ref);
  store.add_view(kReader, ref);
  store.release(ref, now);
  store.release(ref, now);
  EXPECT_EQ(store.usage().blobs, 1u);
  EXPECT_EQ(store.usage().views, 2u);
  EXPECT_THROW(store.release(ref, now), ProtocolError);  // no owner is left to release
  store.drop_view(kReader, ref, now);
  EXPECT_TRUE(store.take_freed(kWriter).empty());
  store.retain(ref);  // still viewed: it may be passed on
  store.drop_view(kReader, ref, now);
  EXPECT_EQ(store.usage().blobs, 1u);
  store.release(ref, now);
  EXPECT_EQ(store.usage().blobs, 0u);
  EXPECT_EQ(store.take_freed(kWriter).size(), 1u);
}

TEST_F(StoreTest, wrong_references_are_refused_and_change_nothing) {
  Store store(limits(64 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 100);
  const BlobRef gone{ref.region, 4096, 64};
  store.seal(kWriter, gone);
  store.release(gone, now);
  const auto before = store.usage();
  for (const BlobRef& bad :
       {gone, BlobRef{ref.region, 4100, 8}, BlobRef{ref.region, 0, 101}, BlobRef{ref.region, 0, 0},
        BlobRef{ref.region, 64, 37}, BlobRef{ref.region, 100, 1}, BlobRef{ref.region, 128, 1},
        BlobRef{ref.region, 1, ~std::uint64_t{0}}, BlobRef{ref.region, 64, ~std::uint64_t{0} - 10},
        BlobRef{RegionId{99}, 0, 100}, BlobRef{ref.region, ~std::uint64_t{0}, 100},
        BlobRef{ref.region, ~std::uint64_t{0}, 1}}) {
    EXPECT_THROW(store.retain(bad), ProtocolError);
    EXPECT_THROW(store.release(bad, now), ProtocolError);
    EXPECT_THROW(store.add_view(kReader, bad), ProtocolError);
    EXPECT_THROW(store.drop_view(kReader, bad, now), ProtocolError);
  }
  EXPECT_THROW(store.drop_view(kReader, ref, now), ProtocolError);
  store.add_view(kReader, ref);
  EXPECT_THROW(store.drop_view(kOther, ref, now), ProtocolError);
  store.drop_view(kReader, ref, now);
  EXPECT_THROW(store.drop_view(kReader, ref, now), ProtocolError);
  EXPECT_THROW(store.region(RegionId{99}), ProtocolError);
  EXPECT_EQ(store.usage().blobs, before.blobs);
  EXPECT_EQ(store.usage().views, 0u);
}

// ---- slices -------------------------------------------------------------------------------------

TEST_F(StoreTest, owners_and_views_of_a_slice_are_those_of_the_whole_blob) {
  Store store(limits(64 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 10000);
  const BlobRef first{ref.region, 0, 1}, middle{ref.region, 4001, 3000}, last{ref.region, 9999, 1};
  store.retain(middle);
  EXPECT_TRUE(store.add_view(kReader, middle));
  EXPECT_FALSE(store.add_view(kReader, last));
  EXPECT_TRUE(store.add_view(kOther, first));
  for (const BlobRef& any : {ref, first, middle, last}) {
    EXPECT_EQ(store.views(any), 3u);
    EXPECT_EQ(store.viewers(any), (std::vector<Holder>{kReader, kOther}));
  }
  EXPECT_EQ(store.usage().blobs, 1u);  // and its bytes count once
  EXPECT_EQ(store.usage().blobs_bytes, 10000u);
  EXPECT_EQ(store.usage().views, 3u);
}

TEST_F(StoreTest, a_blob_lives_until_the_last_slice_goes_in_whatever_order) {
  for (const bool slice_last : {true, false}) {
    Store store(limits(64 * kMiB));
    const BlobRef ref = sealed(store, kWriter, 10000);
    const BlobRef slice{ref.region, 4001, 3000};
    store.retain(slice);
    store.add_view(kReader, slice);
    store.release(slice_last ? ref : slice, now);
    store.release(slice_last ? slice : ref, now);
    EXPECT_EQ(store.usage().blobs, 1u);
    EXPECT_TRUE(store.take_freed(kWriter).empty());
    store.drop_view(kReader, slice_last ? slice : ref, now);
    const auto freed = store.take_freed(kWriter);
    ASSERT_EQ(freed.size(), 1u);
    EXPECT_EQ(freed[0].extents, (Extents{{0, extent_size(10000)}}));
    EXPECT_THROW(store.views(slice), ProtocolError);
    EXPECT_THROW(store.viewers(slice), ProtocolError);
  }
}

TEST_F(StoreTest, a_dead_process_takes_its_views_of_slices_along) {
  Store store(limits(64 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 10000);
  store.add_view(kReader, {ref.region, 1, 7});
  store.add_view(kReader, {ref.region, 2, 7});
  store.release(ref, now);
  store.drop_holder(kReader, now);
  EXPECT_EQ(store.usage().blobs, 0u);
  EXPECT_EQ(store.usage().views, 0u);
}

TEST_F(StoreTest, a_slice_is_within_one_blob_and_is_sealed_by_nobody) {
  Store store(limits(64 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 128);
  store.seal(kWriter, {ref.region, 128, 128});  // its neighbour
  EXPECT_THROW(store.add_view(kReader, {ref.region, 64, 128}), ProtocolError);
  EXPECT_THROW(store.seal(kWriter, {ref.region, 64, 64}), ProtocolError);
  store.add_view(kReader, {ref.region, 0, 128});
  EXPECT_THROW(store.drop_view(kReader, {ref.region, 128, 64}, now), ProtocolError);
  EXPECT_EQ(store.usage().views, 1u);
}

TEST_F(StoreTest, empty_blobs_of_a_region_are_one_blob_with_many_owners) {
  Store store(limits(64 * kMiB));
  const RegionId id = store.lease(kWriter, 0).region->id();
  const BlobRef empty{id, 0, 0};
  store.seal(kWriter, {id, 0, 64});
  store.seal(kWriter, empty);
  store.seal(kWriter, {id, 128, 0});
  EXPECT_EQ(store.usage().blobs, 2u);
  store.release({id, 0, 64}, now);
  store.return_lease(kWriter, id, now);
  store.release(empty, now);
  EXPECT_EQ(store.region(id)->id(), id);
  EXPECT_EQ(store.usage().warm_bytes, 0u);
  store.release(empty, now);
  EXPECT_EQ(store.usage().blobs, 0u);
  EXPECT_EQ(store.usage().warm_bytes, kMiB);
}

TEST_F(StoreTest, a_region_is_sent_to_each_reader_once) {
  Store store(limits(64 * kMiB));
  const BlobRef a = sealed(store, kWriter, 100);
  const BlobRef b{a.region, 4096, 100};
  store.seal(kWriter, b);
  EXPECT_TRUE(store.add_view(kReader, a));
  EXPECT_FALSE(store.add_view(kReader, a));
  EXPECT_FALSE(store.add_view(kReader, b));
  EXPECT_TRUE(store.add_view(kOther, b));
  EXPECT_FALSE(store.add_view(kWriter, a));  // has had it since its lease
  EXPECT_FALSE(store.add_view(kClient, a));  // is in this process
  store.return_lease(kWriter, a.region, now);
  EXPECT_FALSE(store.add_view(kWriter, b));
}

TEST_F(StoreTest, whoever_was_sent_a_region_is_told_once_that_it_was_dropped) {
  auto cold = limits(64 * kMiB);
  cold.warm_bytes = 0;
  Store store(cold);
  const BlobRef ref = sealed(store, kWriter, 100);
  store.add_view(kReader, ref);
  store.drop_view(kReader, ref, now);
  store.return_lease(kWriter, ref.region, now);
  EXPECT_TRUE(store.take_dropped(kReader).empty());
  store.release(ref, now);
  EXPECT_EQ(store.take_dropped(kReader), Ids{ref.region});
  EXPECT_EQ(store.take_dropped(kWriter), Ids{ref.region});
  EXPECT_TRUE(store.take_dropped(kOther).empty());
  EXPECT_TRUE(store.take_dropped(kReader).empty());
  EXPECT_EQ(store.usage().regions_bytes, 0u);
}

TEST_F(StoreTest, a_dropped_region_gives_its_memory_back_though_a_reader_maps_it) {
  auto cold = limits(64 * kMiB);
  cold.warm_bytes = 0;
  Store store(cold);
  const BlobRef ref = sealed(store, kWriter, 4096);
  const auto region = store.region(ref.region);
  std::memset(region->at(ref), 1, 4096);
  store.return_lease(kWriter, ref.region, now);
  EXPECT_GT(region->resident_bytes(), 0u);
  store.release(ref, now);
  EXPECT_EQ(region->resident_bytes(), 0u);
}

TEST_F(StoreTest, a_dead_process_loses_its_leases_and_views) {
  Store store(limits(64 * kMiB));
  const BlobRef kept = sealed(store, kWriter, 100);
  const BlobRef viewed = sealed(store, kOther, 100);
  store.add_view(kWriter, viewed);
  store.add_view(kWriter, viewed);
  store.add_view(kReader, kept);
  store.release(viewed, now);
  store.drop_holder(kWriter, now);
  EXPECT_EQ(store.usage().views, 1u);
  EXPECT_EQ(store.usage().blobs, 1u);  // what it had sealed stays
  EXPECT_EQ(store.take_freed(kOther).size(), 1u);
  EXPECT_THROW(store.seal(kWriter, {kept.region, 4096, 64}), ProtocolError);
  EXPECT_THROW(store.drop_view(kWriter, viewed, now), ProtocolError);
  EXPECT_EQ(store.lease(kReader, 1).region->id(), kept.region);
  store.drop_holder(kWriter, now);
  store.drop_holder(Holder{77}, now);
}

TEST_F(StoreTest, a_process_that_both_wrote_and_viewed_the_last_blob_takes_its_region_along) {
  Store store(limits(64 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 100);
  store.add_view(kWriter, ref);
  store.release(ref, now);
  store.drop_holder(kWriter, now);
  EXPECT_EQ(store.usage().blobs, 0u);
  EXPECT_EQ(store.usage().warm_bytes, kMiB);
}

// ---- warm regions -------------------------------------------------------------------------------

TEST_F(StoreTest, a_region_that_was_used_stays_warm_for_a_while) {
  Store store(limits(64 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 100);
  store.release(ref, now);
  EXPECT_EQ(store.usage().warm_bytes, 0u);
  store.return_lease(kWriter, ref.region, now);
  EXPECT_EQ(store.usage().warm_bytes, kMiB);
  EXPECT_EQ(store.tick(now + seconds(9)), now + seconds(10));
  EXPECT_EQ(store.lease(kOther, 5).region->id(), ref.region);
  EXPECT_EQ(store.usage().warm_bytes, 0u);
  EXPECT_EQ(store.tick(now + seconds(11)), std::nullopt);
  store.return_lease(kOther, ref.region, now + seconds(20));
  EXPECT_EQ(store.tick(now + seconds(30)), std::nullopt);
  EXPECT_THROW(store.region(ref.region), ProtocolError);
  EXPECT_EQ(store.usage().regions_bytes, 0u);
}

TEST_F(StoreTest, a_region_that_nobody_wrote_to_is_not_kept) {
  Store store(limits(64 * kMiB));
  store.return_lease(kWriter, store.lease(kWriter, 1).region->id(), now);
  EXPECT_EQ(store.usage().regions, 0u);
}

TEST_F(StoreTest, the_warm_stock_is_limited_and_the_oldest_go_first) {
  auto few = limits(64 * kMiB);
  few.warm_bytes = 2 * kMiB;
  Store store(few);
  Ids ids;
  for (int i = 0; i < 3; ++i) {
    const BlobRef ref = sealed(store, kWriter, 100);
    store.release(ref, now);
    ids.push_back(ref.region);
  }
  for (int i = 0; i < 3; ++i) store.return_lease(kWriter, ids[i], now + seconds(i));
  EXPECT_EQ(store.usage().warm_bytes, 2 * kMiB);
  EXPECT_EQ(store.take_dropped(kWriter), Ids{ids[0]});
  const BlobRef large = sealed(store, kWriter, 3 * kMiB);  // more than the stock may hold
  store.release(large, now);
  store.return_lease(kWriter, large.region, now);
  EXPECT_THROW(store.region(large.region), ProtocolError);
  EXPECT_EQ(store.usage().warm_bytes, 2 * kMiB);
}

TEST_F(StoreTest, the_warm_stock_is_at_most_a_quarter_of_the_budget) {
  Store store(limits(16 * kMiB));
  const BlobRef four = sealed(store, kWriter, 4 * kMiB), five = sealed(store, kWriter, 5 * kMiB);
  for (const BlobRef& ref : {four, five}) {
    store.release(ref, now);
    store.return_lease(kWriter, ref.region, now);
  }
  EXPECT_EQ(store.usage().warm_bytes, 4 * kMiB);
}

TEST_F(StoreTest, the_next_large_blob_of_about_that_size_reuses_the_pages) {
  Store store(limits(64 * kMiB));
  const BlobRef large = sealed(store, kWriter, 8 * kMiB);
  store.release(large, now);
  store.return_lease(kWriter, large.region, now);
  EXPECT_NE(store.lease(kWriter, 100).region->id(), large.region);  // too good for a small one
  EXPECT_EQ(store.lease(kWriter, 7 * kMiB).region->id(), large.region);
}

TEST_F(StoreTest, warm_regions_go_before_the_store_is_full) {
  Store store(limits(16 * kMiB));
  const BlobRef ref = sealed(store, kWriter, 4 * kMiB);
  store.release(ref, now);
  store.return_lease(kWriter, ref.region, now);
  EXPECT_EQ(store.lease(kWriter, 14 * kMiB).region->size_bytes(), 14 * kMiB);
  EXPECT_EQ(store.usage().warm_bytes, 0u);
  EXPECT_EQ(store.usage().regions_bytes, 14 * kMiB);
}

// ---- budget -------------------------------------------------------------------------------------

TEST_F(StoreTest, a_small_budget_has_small_regions) {
  auto small = limits(8 * kMiB);
  small.region_bytes = 32 * kMiB;
  Store store(small);
  for (std::uint32_t writer = 0; writer < 8; ++writer)
    EXPECT_EQ(store.lease(Holder{writer}, 1000).region->size_bytes(), kMiB / 2);
  EXPECT_EQ(store.lease(kWriter, 4 * kMiB).region->size_bytes(), 4 * kMiB);
}

TEST_F(StoreTest, a_huge_budget_has_large_regions) {
  EXPECT_EQ(Store(limits(std::uint64_t{64} << 30)).lease(kWriter, 1).region->size_bytes(),
            256 * kMiB);
}

TEST_F(StoreTest, the_last_of_the_budget_is_used_up) {
  Store store(limits(16 * kMiB));
  store.lease(kWriter, 15 * kMiB + 8192);
  EXPECT_EQ(store.lease(kWriter, 100).region->size_bytes(), kMiB - 8192);
  EXPECT_THROW(store.lease(kWriter, 1), StoreFull);
  EXPECT_EQ(store.usage().regions_bytes, 16 * kMiB);
}

TEST_F(StoreTest, a_full_store_says_what_holds_it_and_what_to_do) {
  Store store(limits(16 * kMiB));
  const BlobRef a = sealed(store, kWriter, 5 * kMiB);
  const BlobRef b = sealed(store, kWriter, 9 * kMiB);
  store.add_view(kReader, b);
  store.release(b, now);
  const auto before = store.usage();
  EXPECT_EQ(refusal(store, 3 * kMiB),
            "The blob store is full: 3.0 MiB were asked for, 2.0 MiB of 16.0 MiB are free. "
            "2 blobs hold 14.0 MiB (1 of them with 9.0 MiB only because executors still view them; "
            "1 views in all); 2 of 2 regions are leased to writers. Unkeep or drop objects that "
            "are no longer needed, or make the store larger: Client(memory=...)");
  EXPECT_EQ(store.usage().regions_bytes, before.regions_bytes);
  store.release(a, now);
  store.return_lease(kWriter, a.region, now);
  EXPECT_EQ(store.lease(kOther, 3 * kMiB).region->size_bytes(), 3 * kMiB);
}

TEST_F(StoreTest, a_blob_larger_than_the_store_is_refused_as_such) {
  Store store(limits(16 * kMiB));
  EXPECT_EQ(refusal(store, 17 * kMiB),
            "A blob of 17.0 MiB is larger than the whole blob store of 16.0 MiB (16.0 MiB free). "
            "Make the store larger: Client(memory=...)");
  EXPECT_THROW(store.lease(kWriter, ~std::uint64_t{0}), StoreFull);
  EXPECT_THROW(store.lease(kWriter, ~std::uint64_t{0} - 62), StoreFull);
  EXPECT_THROW(Store(limits(0)).lease(kWriter, 0), StoreFull);
  EXPECT_EQ(store.usage().regions, 0u);
}

TEST_F(StoreTest, no_sum_wraps_under_a_budget_without_end) {
  Store store(limits(~std::uint64_t{0}));
  EXPECT_THROW(store.lease(kWriter, ~std::uint64_t{0}), StoreFull);
  EXPECT_THROW(store.lease(kWriter, std::uint64_t{1} << 62), StoreFull);
}

TEST_F(StoreTest, the_memory_limit_of_the_machine_counts_too) {
  auto tight = limits(64 * kMiB);
  tight.headroom_bytes = [] { return 6 * kMiB; };  // usage does not grow: no page is touched
  Store store(tight);
  store.lease(kWriter, 4 * kMiB);
  const std::string text = refusal(store, 3 * kMiB);
  EXPECT_NE(text.find("60.0 MiB of 64.0 MiB are free, but the memory limit of this machine leaves "
                      "2.0 MiB"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("more memory"), std::string::npos) << text;
  EXPECT_EQ(store.lease(kWriter, 2 * kMiB).region->size_bytes(), 2 * kMiB);
}

TEST_F(StoreTest, warm_regions_go_when_the_machine_has_no_more) {
  std::uint64_t limit = 6 * kMiB;
  std::vector<std::shared_ptr<Region>> made;
  auto tight = limits(64 * kMiB);
  tight.headroom_bytes = [&]() -> std::optional<std::uint64_t> {
    std::uint64_t used = 0;
    for (const auto& region : made)
      if (region.use_count() > 1) used += region->resident_bytes();
    return limit - used;
  };
  Store store(tight);
  const BlobRef ref = sealed(store, kWriter, 4 * kMiB);
  made.push_back(store.region(ref.region));
  std::memset(made[0]->at(ref), 1, ref.size_bytes);
  EXPECT_THROW(store.lease(kWriter, 3 * kMiB), StoreFull);
  store.release(ref, now);
  store.return_lease(kWriter, ref.region, now);
  ASSERT_EQ(store.usage().warm_bytes, 4 * kMiB);
  EXPECT_EQ(store.lease(kWriter, 5 * kMiB).region->size_bytes(), 5 * kMiB);
  EXPECT_EQ(store.usage().warm_bytes, 0u);
}

TEST_F(StoreTest, the_default_budget_is_at_most_half_of_the_machine) {
  const std::uint64_t machine = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                                static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  EXPECT_GT(default_budget_bytes(), 0u);
  EXPECT_LE(default_budget_bytes(), machine / 2);
}

// ---- with an arena on the other side ------------------------------------------------------------

TEST_F(StoreTest, a_writer_with_an_arena_recycles_its_pages_for_ever) {
  Store store(limits(16 * kMiB));
  Arena arena;
  std::vector<BlobRef> live;
  for (int i = 0; i < 2000; ++i) {
    auto allocation = arena.allocate(100000);
    if (!allocation) {
      const Store::Lease lease = store.lease(kWriter, 100000);
      arena.add_lease(lease.region, lease.free);
      allocation = arena.allocate(100000);
    }
    ASSERT_TRUE(allocation);
    arena.seal(allocation->ref);
    store.seal(kWriter, allocation->ref);
    live.push_back(allocation->ref);
    if (live.size() < 25) continue;
    store.release(live[i % live.size()], now);
    live.erase(live.begin() + static_cast<std::ptrdiff_t>(i % live.size()));
    for (const wire::Freed& freed : store.take_freed(kWriter))
      for (const wire::Extent& extent : freed.extents)
        arena.free({freed.region, extent.offset_bytes, extent.size_bytes});
  }
  EXPECT_LE(store.usage().regions, 3u);
  for (const RegionId id : arena.give_up_idle_leases()) store.return_lease(kWriter, id, now);
  for (const BlobRef& ref : live) store.release(ref, now);
  EXPECT_EQ(store.usage().blobs, 0u);
  EXPECT_EQ(store.usage().warm_bytes, store.usage().regions_bytes);
}

}  // namespace
}  // namespace tasklib::blob
