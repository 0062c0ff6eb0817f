#pragma once

#include <atomic>
#include <cstdint>

#include "base/unique_fd.h"

namespace tasklib::blob {

/// The call board: one shared page per cbor-2 executor process where each call in flight has a
/// one-word slot. Without a message it settles who owns a queued call: the executor claims it
/// before running it, the governor retracts it if it wants it back, and exactly one of them wins.
/// After a death it says which calls had begun. Holds no lock: either side may die at any time.
///
/// Layout (version 1): kSlots little-endian 64-bit words. Word of call `sequence` is at
/// sequence % kSlots: upper 32 bits the sequence, lower 32 bits the Phase. Hence at most kSlots
/// calls may be in flight. The governor writes `queued` before it sends the call.
///
/// Thread-safe (each slot is one atomic). The governor treats what it reads as advice: a hostile
/// executor can spoil its own calls and no others.
class CallBoard {
 public:
  static constexpr std::uint32_t kSlots = 512;

  enum class Phase : std::uint32_t {
    empty = 0,
    queued = 1,
    retracted = 2,  // the executor must skip it and sends nothing
    started = 3,
    cancel_requested = 4,  // started, and should stop early; answered by a Result
    done = 5,
  };

  /// Makes a new board in a memfd (governor). Throws SystemError.
  static CallBoard create();
  /// Maps a received board (executor). Throws SystemError, ProtocolError on a wrong size.
  static CallBoard map(base::UniqueFd fd);

  CallBoard(CallBoard&&) noexcept;
  CallBoard& operator=(CallBoard&&) noexcept;
  ~CallBoard();

  /// A second descriptor of the board, to send. Requires: made by create().
  base::UniqueFd duplicate_fd() const;

  // Governor.
  void queue(std::uint32_t sequence);
  /// True: the executor will not run it (also when asked again). False: it has begun or is done.
  bool retract(std::uint32_t sequence);
  /// Marks a started call; no effect on others.
  void request_cancel(std::uint32_t sequence);
  /// `empty` when the slot is another call's.
  Phase phase(std::uint32_t sequence) const;

  // Executor.
  /// True: run it. False: it was retracted.
  bool start(std::uint32_t sequence);
  bool cancel_requested(std::uint32_t sequence) const;
  void finish(std::uint32_t sequence);

 private:
  CallBoard(base::UniqueFd fd, std::atomic<std::uint64_t>* slots) noexcept;
  bool change(std::uint32_t sequence, Phase from, Phase to);

  base::UniqueFd fd_;  // none when mapped from a received descriptor
  std::atomic<std::uint64_t>* slots_ = nullptr;
};

}  // namespace tasklib::blob
