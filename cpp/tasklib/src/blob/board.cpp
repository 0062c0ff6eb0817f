#include "blob/board.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <new>
#include <utility>

#include "base/syscall.h"
#include "blob/memfd.h"

namespace tasklib::blob {
namespace {

using Slot = std::atomic<std::uint64_t>;
constexpr std::uint64_t kBoardBytes = CallBoard::kSlots * sizeof(std::uint64_t);
const char* const kBoardName = "call board";

// The words are shared with another process: the atomic must be the bare word, without a lock
// beside it.
static_assert(sizeof(Slot) == sizeof(std::uint64_t) && alignof(Slot) == alignof(std::uint64_t));
static_assert(Slot::is_always_lock_free);
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "board layout 1 is little endian");

constexpr std::uint64_t word(std::uint32_t sequence, CallBoard::Phase phase) {
  return std::uint64_t{sequence} << 32 | static_cast<std::uint32_t>(phase);
}

Slot* map_slots(const base::UniqueFd& fd) {
  return reinterpret_cast<Slot*>(map_memfd(fd, kBoardBytes, true, kBoardName));
}

}  // namespace

CallBoard::CallBoard(base::UniqueFd fd, Slot* slots) noexcept : fd_(std::move(fd)), slots_(slots) {}

CallBoard::CallBoard(CallBoard&& other) noexcept
    : fd_(std::move(other.fd_)), slots_(std::exchange(other.slots_, nullptr)) {}

CallBoard& CallBoard::operator=(CallBoard&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(slots_, other.slots_);
  return *this;
}

CallBoard::~CallBoard() {
  if (slots_ != nullptr) ::munmap(static_cast<void*>(slots_), kBoardBytes);
}

CallBoard CallBoard::create() {
  base::UniqueFd fd = make_memfd("rain-board", kBoardBytes);  // all zeroes: every phase is empty
  Slot* slots = map_slots(fd);
  return CallBoard(std::move(fd), slots);
}

CallBoard CallBoard::map(base::UniqueFd fd) {
  check_memfd(fd, kBoardBytes, kBoardName);
  return CallBoard(base::UniqueFd(), map_slots(fd));
}

base::UniqueFd CallBoard::duplicate_fd() const {
  return base::UniqueFd(base::checked("fcntl(F_DUPFD_CLOEXEC)", kBoardName,
                                      [&] { return ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0); }));
}

bool CallBoard::change(std::uint32_t sequence, Phase from, Phase to) {
  std::uint64_t expected = word(sequence, from);
  return slots_[sequence % kSlots].compare_exchange_strong(expected, word(sequence, to));
}

void CallBoard::queue(std::uint32_t sequence) {
  slots_[sequence % kSlots].store(word(sequence, Phase::queued));
}

bool CallBoard::retract(std::uint32_t sequence) {
  return change(sequence, Phase::queued, Phase::retracted) || phase(sequence) == Phase::retracted;
}

void CallBoard::request_cancel(std::uint32_t sequence) {
  change(sequence, Phase::started, Phase::cancel_requested);
}

CallBoard::Phase CallBoard::phase(std::uint32_t sequence) const {
  const std::uint64_t value = slots_[sequence % kSlots].load();
  const auto low = static_cast<std::uint32_t>(value);
  if (value >> 32 != sequence || low > static_cast<std::uint32_t>(Phase::done)) return Phase::empty;
  return static_cast<Phase>(low);
}

bool CallBoard::start(std::uint32_t sequence) {
  return change(sequence, Phase::queued, Phase::started);
}

bool CallBoard::cancel_requested(std::uint32_t sequence) const {
  return phase(sequence) == Phase::cancel_requested;
}

void CallBoard::finish(std::uint32_t sequence) {
  // The governor may set cancel_requested in between, once.
  if (!change(sequence, Phase::started, Phase::done))
    change(sequence, Phase::cancel_requested, Phase::done);
}

}  // namespace tasklib::blob
