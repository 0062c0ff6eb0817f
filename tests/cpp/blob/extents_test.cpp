#include "blob/extents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace tasklib::blob {
namespace {

using Extents = std::vector<wire::Extent>;

FreeExtents fresh(std::uint64_t size_bytes) {
  FreeExtents extents;
  EXPECT_TRUE(extents.add({0, size_bytes}));
  return extents;
}

TEST(Extents, sizes_are_rounded_up_to_the_alignment) {
  EXPECT_EQ(extent_size(0), 0u);
  EXPECT_EQ(extent_size(1), 64u);
  EXPECT_EQ(extent_size(63), 64u);
  EXPECT_EQ(extent_size(64), 64u);
  EXPECT_EQ(extent_size(65), 128u);
  EXPECT_EQ(extent_size(4097), 4160u);
  EXPECT_EQ(extent_size((5ull << 30) + 1), (5ull << 30) + 64);
}

TEST(Extents, takes_are_aligned_and_side_by_side) {
  FreeExtents extents = fresh(4096);
  EXPECT_EQ(extents.take(1), 0u);
  EXPECT_EQ(extents.take(65), 64u);
  EXPECT_EQ(extents.take(64), 192u);
  EXPECT_EQ(extents.total_bytes(), 4096u - 256);
  EXPECT_EQ(extents.list(), (Extents{{256, 3840}}));
}

TEST(Extents, neighbours_are_joined_whatever_the_order) {
  for (const Extents& order :
       {Extents{{0, 64}, {64, 64}, {128, 64}}, Extents{{128, 64}, {0, 64}, {64, 64}},
        Extents{{128, 64}, {64, 64}, {0, 64}}}) {
    FreeExtents extents;
    for (const wire::Extent& extent : order) EXPECT_TRUE(extents.add(extent));
    EXPECT_EQ(extents.list(), (Extents{{0, 192}}));
    EXPECT_EQ(extents.largest_bytes(), 192u);
    EXPECT_EQ(extents.total_bytes(), 192u);
  }
}

TEST(Extents, overlaps_and_wrapping_ends_are_refused_and_change_nothing) {
  FreeExtents extents;
  ASSERT_TRUE(extents.add({128, 128}));
  ASSERT_TRUE(extents.add({512, 64}));
  const Extents before = extents.list();
  for (const wire::Extent& bad : Extents{{128, 128},
                                         {64, 128},
                                         {192, 64},
                                         {192, 128},
                                         {0, 1024},
                                         {128, 64},
                                         {~0ull - 63, 128},
                                         {64, ~0ull}})
    EXPECT_FALSE(extents.add(bad)) << bad.offset_bytes << " " << bad.size_bytes;
  EXPECT_EQ(extents.list(), before);
  EXPECT_EQ(extents.total_bytes(), 192u);
}

TEST(Extents, nothing_is_taken_when_no_extent_is_large_enough) {
  FreeExtents extents;
  EXPECT_EQ(extents.take(1), std::nullopt);
  extents.add({0, 64});
  extents.add({128, 64});
  EXPECT_EQ(extents.take(65), std::nullopt);
  EXPECT_EQ(extents.take(~0ull), std::nullopt);  // rounding would wrap to 0
  EXPECT_EQ(extents.total_bytes(), 128u);
}

TEST(Extents, an_empty_blob_takes_nothing) {
  FreeExtents extents = fresh(64);
  EXPECT_TRUE(extents.take(0).has_value());
  EXPECT_TRUE(extents.add({0, 0}));
  EXPECT_EQ(extents.total_bytes(), 64u);
  EXPECT_TRUE(FreeExtents().take(0).has_value());
}

TEST(Extents, holes_left_by_earlier_blobs_go_before_fresh_memory) {
  FreeExtents extents = fresh(1 << 20);
  for (int i = 0; i < 8; ++i) extents.take(4096);
  extents.add({3 * 4096, 4096});
  extents.add({1 * 4096, 4096});
  EXPECT_EQ(extents.take(4096), 1u * 4096);
  EXPECT_EQ(extents.take(4000), 3u * 4096);
  EXPECT_EQ(extents.take(4096), 8u * 4096);
}

TEST(Extents, a_region_that_was_emptied_is_used_from_its_start_again) {
  FreeExtents extents = fresh(1 << 20);
  for (int i = 0; i < 4; ++i) extents.take(64);
  for (const std::uint64_t offset : {64, 192, 0, 128}) extents.add({offset, 64});
  EXPECT_EQ(extents.take(64), 0u);
}

TEST(Extents, equal_a_bitmap_through_random_takes_and_adds) {
  constexpr std::size_t kUnits = 4096;
  std::mt19937 random(4);
  std::vector<bool> is_free(kUnits, true);
  FreeExtents extents = fresh(kUnits * 64);
  Extents taken;
  for (int step = 0; step < 20000; ++step) {
    if (taken.empty() || random() % 2 == 0) {
      const std::uint64_t size = random() % 3 == 0 ? random() % 20000 : random() % 300;
      std::size_t longest = 0, run = 0;
      for (const bool unit : is_free) longest = std::max(longest, run = unit ? run + 1 : 0);
      ASSERT_EQ(extents.largest_bytes(), longest * 64);
      const auto offset = extents.take(size);
      ASSERT_EQ(offset.has_value(), extent_size(size) <= longest * 64);
      if (!offset || size == 0) continue;
      ASSERT_EQ(*offset % 64, 0u);
      for (std::size_t i = *offset / 64; i < (*offset + extent_size(size)) / 64; ++i) {
        ASSERT_TRUE(is_free[i]);
        is_free[i] = false;
      }
      taken.push_back({*offset, extent_size(size)});
    } else {
      std::swap(taken[random() % taken.size()], taken.back());
      const wire::Extent extent = taken.back();
      taken.pop_back();
      ASSERT_TRUE(extents.add(extent));
      ASSERT_FALSE(extents.add(extent));
      for (std::size_t i = 0; i < extent.size_bytes / 64; ++i)
        is_free[extent.offset_bytes / 64 + i] = true;
    }
    ASSERT_EQ(extents.total_bytes() / 64,
              static_cast<std::size_t>(std::count(is_free.begin(), is_free.end(), true)));
  }
  for (const wire::Extent& extent : taken) ASSERT_TRUE(extents.add(extent));
  EXPECT_EQ(extents.list(), (Extents{{0, kUnits * 64}}));
}

}  // namespace
}  // namespace tasklib::blob
