#include "blob/region.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>

#include "base/errors.h"
#include "blob/memfd.h"
#include "census.h"

namespace tasklib::blob {
namespace {

using base::ProtocolError;
using base::RegionId;
using base::SystemError;
using base::UniqueFd;

class RegionTest : public CensusTest {};

TEST_F(RegionTest, writes_are_seen_through_a_second_mapping_of_the_same_pages) {
  const auto made = Region::create(RegionId{7}, 8192);
  const auto seen =
      Region::map(RegionId{7}, 8192, made->open_read_only(), Region::Access::read_only);
  EXPECT_EQ(made->access(), Region::Access::read_write);
  EXPECT_EQ(seen->access(), Region::Access::read_only);
  EXPECT_NE(made->data(), seen->data());
  std::memcpy(made->at({RegionId{7}, 4096, 5}), "hello", 5);
  EXPECT_EQ(std::memcmp(seen->at({RegionId{7}, 4096, 5}), "hello", 5), 0);
}

TEST_F(RegionTest, size_can_never_change_and_further_seals_are_refused) {
  const auto region = Region::create(RegionId{1}, 8192);
  const UniqueFd fd = region->open_read_write();
  EXPECT_EQ(::ftruncate(fd.get(), 4096), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd.get(), 16384), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
}

TEST_F(RegionTest, descriptors_are_closed_on_exec) {
  const auto region = Region::create(RegionId{1}, 4096);
  EXPECT_TRUE(::fcntl(region->open_read_only().get(), F_GETFD) & FD_CLOEXEC);
  EXPECT_TRUE(::fcntl(region->open_read_write().get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(RegionTest, a_private_view_is_written_for_oneself) {
  const auto made = Region::create(RegionId{2}, 16384);
  const auto seen =
      Region::map(RegionId{2}, 16384, made->open_read_only(), Region::Access::read_only);
  std::memset(made->data(), 'a', 16384);
  for (const auto& region : {made, seen}) {
    const wire::BlobRef ref{RegionId{2}, 4096 + 64, 8192};
    const auto own = region->map_private(ref);
    EXPECT_EQ(own.get()[0], 'a');
    own.get()[0] = own.get()[8191] = 'b';
    EXPECT_EQ(made->at(ref)[0], 'a');
    EXPECT_EQ(region->at(ref)[8191], 'a');
  }
  EXPECT_THROW(seen->map_private({RegionId{2}, 8192, 8193}), ProtocolError);
}

TEST_F(RegionTest, a_private_view_outlives_its_region) {
  auto made = Region::create(RegionId{2}, 4096);
  made->data()[100] = 'x';
  const auto own = made->map_private({RegionId{2}, 64, 128});
  made.reset();
  own.get()[0] = 'y';
  EXPECT_EQ(own.get()[36], 'x');
}

TEST_F(RegionTest, at_refuses_everything_outside) {
  const auto region = Region::create(RegionId{3}, 4096);
  constexpr std::uint64_t kMax = ~std::uint64_t{0};
  EXPECT_EQ(region->at({RegionId{3}, 0, 4096}), region->data());
  EXPECT_EQ(region->at({RegionId{3}, 4096, 0}), region->data() + 4096);
  EXPECT_THROW(region->at({RegionId{3}, 4097, 0}), ProtocolError);
  EXPECT_THROW(region->at({RegionId{3}, 0, 4097}), ProtocolError);
  EXPECT_THROW(region->at({RegionId{3}, 4095, 2}), ProtocolError);
  EXPECT_THROW(region->at({RegionId{3}, kMax, 1}), ProtocolError);
  EXPECT_THROW(region->at({RegionId{3}, 1, kMax}), ProtocolError);
  EXPECT_THROW(region->at({RegionId{3}, kMax, kMax}), ProtocolError);
  EXPECT_THROW(region->at({RegionId{4}, 0, 1}), ProtocolError);
}

TEST_F(RegionTest, offsets_around_2_and_4_gib_are_exact) {
  constexpr std::uint64_t kSize = std::uint64_t{5} << 30;  // sparse: a few pages are touched
  const auto region = Region::create(RegionId{1}, kSize);
  const auto reader =
      Region::map(RegionId{1}, kSize, region->open_read_only(), Region::Access::read_only);
  for (const std::uint64_t border : {std::uint64_t{1} << 31, std::uint64_t{1} << 32, kSize}) {
    const wire::BlobRef ref{RegionId{1}, border - 4, 4};
    EXPECT_EQ(region->at(ref) - region->data(), static_cast<std::ptrdiff_t>(border - 4));
    std::memcpy(region->at(ref), "edge", 4);
    EXPECT_EQ(std::memcmp(reader->at(ref), "edge", 4), 0);
    if (border == kSize) continue;
    region->data()[border] = 0xab;
    EXPECT_EQ(*reader->at({RegionId{1}, border, 1}), 0xab);
  }
  EXPECT_EQ(region->at({RegionId{1}, 0, kSize}), region->data());
  EXPECT_THROW(region->at({RegionId{1}, kSize - 3, 4}), ProtocolError);
  EXPECT_LT(region->resident_bytes(), 1u << 20);
}

TEST_F(RegionTest, map_refuses_what_is_not_a_sealed_memfd_of_that_size) {
  const auto region = Region::create(RegionId{1}, 8192);
  const auto map = [](UniqueFd fd, std::uint64_t size) {
    return Region::map(RegionId{1}, size, std::move(fd), Region::Access::read_only);
  };
  EXPECT_THROW(map(region->open_read_only(), 4096), ProtocolError);
  EXPECT_THROW(map(region->open_read_only(), 16384), ProtocolError);
  EXPECT_THROW(map(region->open_read_only(), 0), ProtocolError);
  EXPECT_THROW(map(UniqueFd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), 4096), ProtocolError);
  EXPECT_THROW(map(UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), 4096), ProtocolError);
  EXPECT_THROW(map(UniqueFd(), 4096), SystemError);

  UniqueFd unsealed(::memfd_create("rain-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(unsealed.get(), 4096), 0);
  EXPECT_THROW(map(UniqueFd(::dup(unsealed.get())), 4096), ProtocolError);
  ASSERT_EQ(::fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_THROW(map(std::move(unsealed), 4096), ProtocolError);
}

TEST_F(RegionTest, a_read_only_descriptor_gives_no_way_to_write) {
  const auto region = Region::create(RegionId{1}, 4096);
  EXPECT_THROW(Region::map(RegionId{1}, 4096, region->open_read_only(), Region::Access::read_write),
               SystemError);
  const auto reader =
      Region::map(RegionId{1}, 4096, region->open_read_only(), Region::Access::read_only);
  EXPECT_EQ(::mprotect(reader->data(), 4096, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
}

TEST_F(RegionTest, a_child_process_reads_the_same_bytes_and_cannot_write_them) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd ours(pair[0]), theirs(pair[1]);
  // The child maps the region from the descriptor that it receives: it is made after the fork.
  const pid_t child = ::fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    int verdict = 1;
    try {
      const auto seen =
          Region::map(RegionId{9}, 1u << 20, receive_fd(theirs.get()), Region::Access::read_only);
      const bool same = std::memcmp(seen->at({RegionId{9}, 65536, 11}), "shared page", 11) == 0;
      const bool writable = ::mprotect(seen->data(), 4096, PROT_READ | PROT_WRITE) == 0;
      verdict = same && !writable ? 0 : 2;
    } catch (const std::exception&) {
    }
    ::_exit(verdict);
  }
  const auto region = Region::create(RegionId{9}, 1u << 20);
  std::memcpy(region->at({RegionId{9}, 65536, 11}), "shared page", 11);
  send_fd(ours.get(), region->open_read_only().get());
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(RegionTest, a_mapping_outlives_the_region_of_the_maker) {
  auto region = Region::create(RegionId{1}, 4096);
  const auto reader =
      Region::map(RegionId{1}, 4096, region->open_read_only(), Region::Access::read_only);
  region->data()[0] = 42;
  region.reset();
  EXPECT_EQ(reader->data()[0], 42);
}

TEST_F(RegionTest, memory_comes_with_the_first_write_and_goes_with_discard) {
  const auto region = Region::create(RegionId{1}, 1u << 20);
  const auto reader =
      Region::map(RegionId{1}, 1u << 20, region->open_read_only(), Region::Access::read_only);
  EXPECT_EQ(region->resident_bytes(), 0u);
  std::memset(region->data(), 1, 1u << 20);
  EXPECT_EQ(region->resident_bytes(), 1u << 20);
  region->discard();
  EXPECT_EQ(region->resident_bytes(), 0u);
  EXPECT_EQ(reader->data()[4096], 0);  // and no SIGBUS
}

TEST_F(RegionTest, populate_gives_pages_to_the_part_and_changes_no_byte) {
  const auto region = Region::create(RegionId{1}, 8u << 20);
  region->data()[0] = 42;
  region->populate((5u << 20) + 4096);
  EXPECT_EQ(region->resident_bytes(), (5u << 20) + 4096);
  EXPECT_EQ(region->data()[0], 42);
  EXPECT_EQ(region->data()[5u << 20], 0);
}

TEST_F(RegionTest, existing_pages_are_mapped_at_once_and_no_new_ones_made) {
  constexpr std::uint64_t kSize = 4 << 20, kFilled = 1 << 20;
  const auto made = Region::create(RegionId{1}, kSize);
  std::memset(made->data(), 5, kFilled);
  const auto seen =
      Region::map(RegionId{1}, kSize, made->open_read_write(), Region::Access::read_write);
  seen->map_existing({RegionId{1}, 0, kSize});
  EXPECT_EQ(made->resident_bytes(), kFilled);
  const auto faults = [] {
    rusage usage;
    ::getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_minflt;
  };
  const long before = faults();
  for (std::uint64_t i = 0; i < kFilled; i += 4096) ++seen->data()[i];
  // Kernels without MADV_POPULATE_READ (before 5.14) fault for each of the 256 pages.
  const bool can = ::madvise(seen->data(), 4096, 22) == 0;
#ifdef __SANITIZE_ADDRESS__
  constexpr long kFew = 4 + 32;  // of its own shadow of them
#else
  constexpr long kFew = 4;
#endif
  EXPECT_LE(faults() - before, can ? kFew : 256);
  EXPECT_EQ(made->data()[4096], 6);
  EXPECT_EQ(made->data()[4097], 5);
}

TEST_F(RegionTest, pages_that_were_given_back_do_not_return_by_populate) {
  const auto discarded = Region::create(RegionId{1}, 4u << 20);
  discarded->discard();
  discarded->populate(4u << 20);
  EXPECT_EQ(discarded->resident_bytes(), 0u);

  const auto punched = Region::create(RegionId{2}, 64u << 20);
  std::thread populating([&] { punched->populate(64u << 20); });
  while (punched->resident_bytes() == 0) std::this_thread::yield();
  EXPECT_TRUE(punched->punch(0, 64u << 20));
  const auto left = punched->resident_bytes();
  populating.join();
  EXPECT_EQ(left, 0u);
  EXPECT_EQ(punched->resident_bytes(), 0u);
}

TEST_F(RegionTest, a_size_that_no_file_can_have_is_a_system_error) {
  EXPECT_THROW(Region::create(RegionId{1}, ~std::uint64_t{0}), SystemError);
}

}  // namespace
}  // namespace tasklib::blob
