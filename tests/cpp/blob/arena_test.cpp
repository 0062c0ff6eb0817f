#include "blob/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "base/errors.h"
#include "census.h"

namespace tasklib::blob {
namespace {

using base::ProtocolError;
using base::RegionId;

std::shared_ptr<Region> make(std::uint32_t id, std::uint64_t size_bytes) {
  return Region::create(RegionId{id}, size_bytes);
}

class ArenaTest : public CensusTest {};

TEST_F(ArenaTest, without_a_lease_nothing_can_be_allocated) {
  Arena arena;
  EXPECT_FALSE(arena.allocate(1));
  EXPECT_FALSE(arena.allocate(0));
  EXPECT_EQ(arena.free_bytes(), 0u);
}

TEST_F(ArenaTest, allocations_are_aligned_disjoint_and_writable) {
  Arena arena;
  arena.add_lease(make(1, 1 << 20), {{0, 1 << 20}});
  std::map<std::uint64_t, std::uint64_t> seen;
  for (const std::uint64_t size : {1, 63, 64, 65, 4095, 4096, 4097}) {
    const auto allocation = arena.allocate(size);
    ASSERT_TRUE(allocation);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(allocation->data) % 64, 0u);
    EXPECT_EQ(allocation->ref.size_bytes, size);
    EXPECT_EQ(allocation->data, allocation->region->at(allocation->ref));
    std::memset(allocation->data, 0x5a, size);
    seen.emplace(allocation->ref.offset_bytes, size);
  }
  std::uint64_t end = 0;
  for (const auto& [offset, size] : seen) {
    EXPECT_GE(offset, end);
    end = offset + size;
  }
}

TEST_F(ArenaTest, only_the_free_part_of_a_region_is_allocated_in) {
  Arena arena;
  arena.add_lease(make(1, 8192), {{4096, 4096}});
  EXPECT_EQ(arena.free_bytes(), 4096u);
  EXPECT_FALSE(arena.allocate(4097));
  EXPECT_EQ(arena.allocate(4096)->ref.offset_bytes, 4096u);
  EXPECT_FALSE(arena.allocate(1));
}

TEST_F(ArenaTest, the_next_lease_is_used_when_the_first_is_full) {
  Arena arena;
  arena.add_lease(make(1, 4096), {{0, 4096}});
  arena.add_lease(make(2, 8192), {{0, 8192}});
  EXPECT_EQ(arena.allocate(5000)->ref.region, RegionId{2});
  EXPECT_EQ(arena.allocate(4096)->ref.region, RegionId{1});
}

TEST_F(ArenaTest, bad_leases_are_refused_and_add_nothing) {
  Arena arena;
  const auto region = make(1, 8192);
  EXPECT_THROW(arena.add_lease(region, {{0, 8256}}), ProtocolError);
  EXPECT_THROW(arena.add_lease(region, {{8192, 64}}), ProtocolError);
  EXPECT_THROW(arena.add_lease(region, {{~0ull - 63, 128}}), ProtocolError);
  EXPECT_THROW(arena.add_lease(region, {{32, 64}}), ProtocolError);
  EXPECT_THROW(arena.add_lease(region, {{0, 100}}), ProtocolError);
  EXPECT_THROW(arena.add_lease(region, {{0, 128}, {64, 128}}), ProtocolError);
  EXPECT_FALSE(arena.holds(RegionId{1}));
  arena.add_lease(region, {{0, 128}});
  EXPECT_THROW(arena.add_lease(region, {{0, 128}}), ProtocolError);
  EXPECT_EQ(arena.free_bytes(), 128u);
}

TEST_F(ArenaTest, a_lease_is_idle_when_nothing_in_it_is_being_written) {
  Arena arena;
  arena.add_lease(make(1, 4096), {{0, 4096}});
  const auto first = arena.allocate(100), second = arena.allocate(100);
  arena.seal(first->ref);
  EXPECT_TRUE(arena.give_up_idle_leases().empty());
  arena.free(second->ref);
  EXPECT_EQ(arena.give_up_idle_leases(), std::vector<RegionId>{RegionId{1}});
  EXPECT_FALSE(arena.holds(RegionId{1}));
  EXPECT_TRUE(arena.give_up_idle_leases().empty());
}

TEST_F(ArenaTest, an_empty_blob_keeps_its_lease_until_it_is_sealed) {
  Arena arena;
  arena.add_lease(make(1, 4096), {{0, 4096}});
  const auto one = arena.allocate(0), two = arena.allocate(0);
  ASSERT_TRUE(one && two);
  EXPECT_NE(one->data, nullptr);
  arena.seal(one->ref);
  EXPECT_TRUE(arena.give_up_idle_leases().empty());
  arena.free(two->ref);
  EXPECT_THROW(arena.seal(two->ref), ProtocolError);
  EXPECT_EQ(arena.give_up_idle_leases().size(), 1u);
}

TEST_F(ArenaTest, what_the_governor_frees_is_allocated_again) {
  Arena arena;
  arena.add_lease(make(1, 4096), {{64, 4032}});
  const auto blob = arena.allocate(4032);
  ASSERT_TRUE(blob);
  arena.seal(blob->ref);
  EXPECT_FALSE(arena.allocate(1));
  arena.free({RegionId{1}, 64, 4032});
  arena.free({RegionId{1}, 0, 64});  // a blob of an earlier lease holder
  EXPECT_EQ(arena.allocate(4096)->ref.offset_bytes, 0u);
}

TEST_F(ArenaTest, one_free_extent_may_hold_several_blobs) {
  Arena arena;
  arena.add_lease(make(1, 4096), {{0, 4096}});
  const auto a = arena.allocate(100), b = arena.allocate(100), c = arena.allocate(100);
  arena.seal(a->ref);
  arena.free({RegionId{1}, 0, 256});  // a and b, though b was never said to be sealed
  EXPECT_THROW(arena.seal(b->ref), ProtocolError);
  EXPECT_TRUE(arena.give_up_idle_leases().empty());
  arena.seal(c->ref);
  EXPECT_EQ(arena.free_bytes(), 4096u - 128);
  EXPECT_EQ(arena.give_up_idle_leases().size(), 1u);
}

TEST_F(ArenaTest, wrong_seals_and_frees_are_refused_and_change_nothing) {
  Arena arena;
  arena.add_lease(make(1, 8192), {{0, 8192}});
  const auto a = arena.allocate(200), b = arena.allocate(64);
  const std::uint64_t free_bytes = arena.free_bytes();
  const RegionId id{1};
  EXPECT_THROW(arena.seal({id, a->ref.offset_bytes, 199}), ProtocolError);
  EXPECT_THROW(arena.seal({id, 4096, 64}), ProtocolError);
  EXPECT_THROW(arena.seal({RegionId{2}, 0, 200}), ProtocolError);
  EXPECT_THROW(arena.seal({id, 0, 0}), ProtocolError);
  EXPECT_THROW(arena.free({RegionId{2}, 0, 64}), ProtocolError);
  EXPECT_THROW(arena.free({id, 0, 64}), ProtocolError);     // part of a
  EXPECT_THROW(arena.free({id, 64, 64}), ProtocolError);    // inside a
  EXPECT_THROW(arena.free({id, 192, 128}), ProtocolError);  // end of a, and b
  EXPECT_THROW(arena.free({id, 4096, 64}), ProtocolError);  // free already
  EXPECT_THROW(arena.free({id, 8192, 64}), ProtocolError);  // outside
  EXPECT_THROW(arena.free({id, 32, 32}), ProtocolError);    // unaligned
  EXPECT_THROW(arena.free({id, ~0ull - 63, 128}), ProtocolError);
  EXPECT_THROW(arena.free({id, 0, 0}), ProtocolError);
  EXPECT_EQ(arena.free_bytes(), free_bytes);
  arena.seal(a->ref);
  EXPECT_THROW(arena.seal(a->ref), ProtocolError);
  arena.free(b->ref);
  EXPECT_THROW(arena.free(b->ref), ProtocolError);
  EXPECT_THROW(arena.seal(b->ref), ProtocolError);
  arena.free(a->ref);
  EXPECT_EQ(arena.free_bytes(), 8192u);
}

TEST_F(ArenaTest, an_allocation_keeps_its_region_mapped_after_the_arena) {
  std::optional<Arena::Allocation> allocation;
  {
    Arena arena;
    arena.add_lease(make(1, 4096), {{0, 4096}});
    allocation = arena.allocate(10);
  }
  allocation->data[9] = 1;
  EXPECT_EQ(allocation->region->data()[allocation->ref.offset_bytes + 9], 1);
}

TEST_F(ArenaTest, random_work_loses_and_invents_no_byte) {
  std::mt19937 random(11);
  Arena arena;
  arena.add_lease(make(1, 1 << 18), {{0, 1 << 18}});
  arena.add_lease(make(2, 1 << 18), {{0, 1 << 18}});
  std::vector<wire::BlobRef> writing, sealed;
  std::uint64_t taken = 0;
  const auto pick = [&](std::vector<wire::BlobRef>& from) {
    std::swap(from[random() % from.size()], from.back());
    const wire::BlobRef ref = from.back();
    from.pop_back();
    return ref;
  };
  for (int step = 0; step < 20000; ++step) {
    switch (random() % 4) {
      case 0:
      case 1:
        if (const auto allocation = arena.allocate(random() % 9000)) {
          writing.push_back(allocation->ref);
          taken += extent_size(allocation->ref.size_bytes);
        }
        break;
      case 2:
        if (writing.empty()) break;
        sealed.push_back(pick(writing));
        arena.seal(sealed.back());
        break;
      case 3:
        if (const bool unsealed = random() % 3 == 0; !(unsealed ? writing : sealed).empty()) {
          wire::BlobRef ref = pick(unsealed ? writing : sealed);
          taken -= extent_size(ref.size_bytes);
          if (!unsealed) ref.size_bytes = extent_size(ref.size_bytes);  // as Freed names it
          if (unsealed || ref.size_bytes != 0) arena.free(ref);
        }
        break;
    }
    ASSERT_EQ(arena.free_bytes() + taken, 2u << 18);
  }
}

}  // namespace
}  // namespace tasklib::blob
