#include "executor/room.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "blob/extents.h"

namespace tasklib::executor {
namespace {

constexpr base::RegionId kRegion{3};
constexpr std::uint64_t kBlob = 640;

class RoomTest : public ::testing::Test {
 protected:
  RoomTest() { room.add_lease(blob::Region::create(kRegion, 4096), {{0, 4 * kBlob}}); }

  wire::BlobRef made() {
    const auto allocation = room.allocate(kBlob);
    return room.seal(allocation.value().ref, kBlob);
  }

  Room room;
};

TEST_F(RoomTest, joins_what_is_free_around_what_is_viewed) {
  const auto a = made(), b = made(), c = made(), d = made();
  EXPECT_FALSE(room.allocate(kBlob));
  room.end_view(a);
  room.end_view(c);
  room.end_view(d);
  room.free({kRegion, {{0, 4 * kBlob}}});
  EXPECT_EQ(room.allocate(2 * kBlob).value().ref.offset_bytes, c.offset_bytes);
  EXPECT_EQ(room.allocate(kBlob).value().ref.offset_bytes, a.offset_bytes);
  EXPECT_FALSE(room.allocate(kBlob)) << "b is viewed still";
  room.end_view(b);
  EXPECT_EQ(room.allocate(kBlob).value().ref.offset_bytes, b.offset_bytes);
}

TEST_F(RoomTest, refuses_to_free_twice_or_what_is_being_written) {
  const auto a = made();
  room.end_view(a);
  room.free({kRegion, {{0, kBlob}}});
  EXPECT_THROW(room.free({kRegion, {{0, kBlob}}}), base::ProtocolError);
  const auto writing = room.allocate(kBlob).value();
  EXPECT_THROW(room.free({kRegion, {{writing.ref.offset_bytes, kBlob / 2}}}), base::ProtocolError);
}

TEST_F(RoomTest, ignores_what_is_freed_in_a_lease_that_was_returned) {
  EXPECT_EQ(room.give_up_idle_leases(0), std::vector<base::RegionId>{kRegion});
  room.free({kRegion, {{0, kBlob}}});
  EXPECT_FALSE(room.allocate(kBlob));
}

TEST_F(RoomTest, keeps_a_lease_that_was_asked_for_until_it_was_used) {
  constexpr base::RegionId kAsked{4};
  room.add_lease(blob::Region::create(kAsked, 65536), {{0, 65536}}, true);
  EXPECT_EQ(room.give_up_idle_leases(0), std::vector<base::RegionId>{kRegion});
  EXPECT_TRUE(room.give_up_idle_leases(0).empty());
  const auto allocation = room.allocate(kBlob).value();
  room.give_back(allocation.ref);
  EXPECT_EQ(room.give_up_idle_leases(0), std::vector<base::RegionId>{kAsked});
}

TEST_F(RoomTest, keeps_leases_with_unsealed_or_viewed_outputs) {
  const auto allocation = room.allocate(kBlob).value();
  EXPECT_TRUE(room.give_up_idle_leases(0).empty());
  const auto sealed = room.seal(allocation.ref, kBlob);
  EXPECT_TRUE(room.give_up_idle_leases(0).empty());
  room.end_view(sealed);
  EXPECT_TRUE(room.give_up_idle_leases(1).empty()) << "one may stay";
  EXPECT_EQ(room.give_up_idle_leases(0).size(), 1u);
}

}  // namespace
}  // namespace tasklib::executor
