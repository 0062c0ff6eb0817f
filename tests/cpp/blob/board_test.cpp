#include "blob/board.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/errors.h"
#include "census.h"

namespace tasklib::blob {
namespace {

using Phase = CallBoard::Phase;

// A fixture's members live until after TearDown(), so the census has a test of its own.
TEST(Board, leaves_no_descriptor_or_mapping) {
  const int fds = count_entries("/proc/self/fd");
  const int mappings = count_mappings("memfd:rain-board");
  {
    CallBoard made = CallBoard::create();
    CallBoard mapped = CallBoard::map(made.duplicate_fd());
    CallBoard moved = std::move(made);
    mapped = std::move(moved);
  }
  EXPECT_EQ(count_entries("/proc/self/fd"), fds);
  EXPECT_EQ(count_mappings("memfd:rain-board"), mappings);
}

class BoardPair : public testing::Test {
 protected:
  CallBoard governor = CallBoard::create();
  CallBoard executor = CallBoard::map(governor.duplicate_fd());
};

TEST_F(BoardPair, a_call_goes_from_queued_to_started_to_done) {
  EXPECT_EQ(governor.phase(1), Phase::empty);
  governor.queue(1);
  EXPECT_EQ(executor.phase(1), Phase::queued);
  EXPECT_TRUE(executor.start(1));
  EXPECT_EQ(governor.phase(1), Phase::started);
  EXPECT_FALSE(executor.cancel_requested(1));
  executor.finish(1);
  EXPECT_EQ(governor.phase(1), Phase::done);
}

TEST_F(BoardPair, a_retracted_call_does_not_start) {
  governor.queue(1);
  EXPECT_TRUE(governor.retract(1));
  EXPECT_TRUE(governor.retract(1));
  EXPECT_FALSE(executor.start(1));
  EXPECT_EQ(governor.phase(1), Phase::retracted);
}

TEST_F(BoardPair, a_call_that_began_is_not_retracted) {
  governor.queue(1);
  ASSERT_TRUE(executor.start(1));
  EXPECT_FALSE(governor.retract(1));
  EXPECT_FALSE(executor.start(1));  // nor does it begin twice
  executor.finish(1);
  EXPECT_FALSE(governor.retract(1));
  EXPECT_EQ(governor.phase(1), Phase::done);
}

TEST_F(BoardPair, cancel_reaches_started_calls_and_no_others) {
  governor.queue(1);
  governor.request_cancel(1);
  EXPECT_EQ(governor.phase(1), Phase::queued);
  ASSERT_TRUE(executor.start(1));
  governor.request_cancel(1);
  EXPECT_TRUE(executor.cancel_requested(1));
  executor.finish(1);
  EXPECT_EQ(governor.phase(1), Phase::done);
  governor.request_cancel(1);
  EXPECT_EQ(governor.phase(1), Phase::done);
}

TEST_F(BoardPair, a_slot_belongs_to_the_last_call_that_was_queued_in_it) {
  const std::uint32_t early = 5, late = early + CallBoard::kSlots;
  governor.queue(early);
  governor.queue(early + 1);
  governor.queue(late);
  EXPECT_EQ(governor.phase(early), Phase::empty);
  EXPECT_FALSE(executor.start(early));
  EXPECT_FALSE(governor.retract(early));
  executor.finish(early);
  EXPECT_EQ(governor.phase(late), Phase::queued);
  EXPECT_EQ(governor.phase(early + 1), Phase::queued);
}

TEST_F(BoardPair, sequences_up_to_the_last_one_work) {
  for (const std::uint32_t sequence : {511u, 512u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    governor.queue(sequence);
    EXPECT_EQ(executor.phase(sequence), Phase::queued);
    EXPECT_TRUE(executor.start(sequence));
  }
}

TEST_F(BoardPair, a_phase_that_does_not_exist_reads_as_empty) {
  const auto fd = governor.duplicate_fd();
  const std::uint64_t word = std::uint64_t{3} << 32 | 77;
  ASSERT_EQ(::pwrite(fd.get(), &word, sizeof word, 3 * sizeof word),
            static_cast<ssize_t>(sizeof word));
  EXPECT_EQ(governor.phase(3), Phase::empty);
  EXPECT_FALSE(governor.retract(3));
}

TEST_F(BoardPair, words_lie_where_the_documented_layout_says) {
  governor.queue(514);
  std::uint64_t word = 0;
  ASSERT_EQ(::pread(governor.duplicate_fd().get(), &word, sizeof word, 2 * sizeof word),
            static_cast<ssize_t>(sizeof word));
  EXPECT_EQ(word, std::uint64_t{514} << 32 | 1);
}

TEST(Board, map_refuses_other_descriptors) {
  base::UniqueFd small(::memfd_create("rain-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(small.get(), 512), 0);
  ASSERT_EQ(::fcntl(small.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  EXPECT_THROW(CallBoard::map(std::move(small)), base::ProtocolError);
  EXPECT_THROW(CallBoard::map(base::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC))),
               base::ProtocolError);
  EXPECT_THROW(CallBoard::map(base::UniqueFd()), base::SystemError);
}

// `round` is raised by the governor's side once the call is queued, `answered` by the other.
TEST_F(BoardPair, exactly_one_of_start_and_retract_wins_every_race) {
  constexpr std::uint32_t kRounds = 100000;
  std::atomic<std::uint32_t> round{0}, answered{0};
  bool started = false;
  std::thread other([&] {
    for (std::uint32_t sequence = 1; sequence <= kRounds; ++sequence) {
      while (round.load() != sequence) std::this_thread::yield();
      started = executor.start(sequence);
      answered.store(sequence);
    }
  });
  std::uint32_t starts = 0, wrong = 0;
  for (std::uint32_t sequence = 1; sequence <= kRounds; ++sequence) {
    governor.queue(sequence);
    round.store(sequence);
    if (sequence % 2 == 0) std::this_thread::yield();
    const bool retracted = governor.retract(sequence);
    while (answered.load() != sequence) std::this_thread::yield();
    wrong += retracted == started ? 1 : 0;
    starts += started ? 1 : 0;
    wrong += governor.phase(sequence) != (started ? Phase::started : Phase::retracted) ? 1 : 0;
  }
  other.join();
  EXPECT_EQ(wrong, 0u);
  RecordProperty("starts", static_cast<int>(starts));
}

TEST_F(BoardPair, finish_wins_over_a_cancel_at_the_same_time) {
  constexpr std::uint32_t kRounds = 20000;
  std::atomic<std::uint32_t> round{0}, answered{0};
  std::thread other([&] {
    for (std::uint32_t sequence = 1; sequence <= kRounds; ++sequence) {
      while (round.load() != sequence) std::this_thread::yield();
      executor.finish(sequence);
      answered.store(sequence);
    }
  });
  std::uint32_t wrong = 0;
  for (std::uint32_t sequence = 1; sequence <= kRounds; ++sequence) {
    governor.queue(sequence);
    wrong += executor.start(sequence) ? 0 : 1;
    round.store(sequence);
    governor.request_cancel(sequence);
    while (answered.load() != sequence) std::this_thread::yield();
    wrong += governor.phase(sequence) != Phase::done ? 1 : 0;
  }
  other.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace tasklib::blob
