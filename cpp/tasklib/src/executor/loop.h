#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/poll_advice.h"
#include "blob/board.h"
#include "blob/region.h"
#include "executor/call.h"
#include "executor/content.h"
#include "executor/environment.h"
#include "executor/log_positions.h"
#include "executor/method.h"
#include "executor/room.h"
#include "tasklib/executor.h"
#include "wire/connection.h"
#include "wire/messages.h"

namespace tasklib::executor {

/// The executor's side of one connection, from registration to its end: receives calls, runs them,
/// sends results. Owned by Executor::start(), on the stack.
///
/// Threads are leader and followers: a worker without a queued call takes the receiver's role if
/// it is free, and waits for it or for a call otherwise. Results are collected and sent together:
/// when a worker has nothing to run, before a call that may be long, before any call after 100 µs
/// or 64 KiB, and by the watcher when a call takes longer than it used to.
class Loop final : private OutputSource, private Streams {
 public:
  /// `methods` must outlive the loop. Connects nothing yet.
  Loop(std::string type, Methods& methods, Environment environment, unsigned threads);
  ~Loop();

  /// Serves until the governor says shutdown or closes the connection. Throws base::Error (and its
  /// subclasses) when it can't connect, or receives what the protocol doesn't allow.
  void run();

 private:
  struct PendingCall {
    wire::Call call;
    DataInstanceVec inputs;
    bool cancelled = false;
  };
  struct Worker {
    std::unique_ptr<Context> context;
    DataInstanceVec outputs;
    std::vector<std::shared_ptr<Content>> contents;  // of the inputs of the call
    wire::Result result;
    LogPositions log;
    std::uint32_t running = 0;  // sequence of its call; guarded by mutex_
  };

  void register_self();
  void work(Worker& worker);
  void stop(std::exception_ptr error);

  // Receiving (loop.cpp). receive() and what it calls need the receiver's role.
  bool next_call(Worker& worker, PendingCall& next);
  template <class Ready>
  bool serve_until(std::unique_lock<std::mutex>& lock, Ready ready);
  void receive();
  wire::Connection::Io wait_for_input();
  void handle_frame(base::ByteView payload);
  void handle(wire::Call&& call);
  void handle(wire::DropCached&&) {}  // nothing is ever cached
  void handle(wire::Welcome&& welcome);
  void handle(wire::Region&& region);
  void handle(wire::LeaseRefused&& refused);
  void handle(wire::Freed&& freed);
  void handle(wire::RegionDropped&& dropped);
  void handle(wire::Cancel&& cancel);
  void handle(wire::Shutdown&&);
  void handle(wire::LeaseWanted&&);
  void handle(wire::Ping&& ping);
  std::shared_ptr<Content> input_content(const wire::Call& call, std::size_t index);
  void answer_request(std::uint32_t request, std::optional<std::string> refusal);

  // Running (loop_run.cpp).
  void run_call(Worker& worker, PendingCall& pending);
  bool invoke(Worker& worker, PendingCall& pending);
  void resolve_outputs(Worker& worker, PendingCall& pending);
  wire::Location locate(Worker& worker, const wire::Call& call, std::size_t index,
                        std::uint64_t& inline_bytes);
  std::optional<wire::ObjectSlice> part_of_input(const Worker& worker, const wire::Call& call,
                                                 const Content& content) const;
  void send_result(Worker& worker, PendingCall& pending);
  std::string write_file(const wire::Call& call, std::size_t index, const Content& content);

  // Outputs.
  MutableBlob allocate(std::size_t size_bytes) override;
  std::shared_ptr<RoomContent> allocate_in_room(std::uint64_t size_bytes);
  std::optional<std::string> await_lease(std::uint32_t request);

  // What tasks say while they run (loop_streams.cpp).
  void log(CallState& state, unsigned level, const std::string& text) override;
  void debug(CallState& state) override;
  void send_soon(CallState& state);
  void tell_lost_lines(std::uint32_t sequence);

  // Sending. `append` encodes with send_mutex_ held.
  void append(const wire::ToGovernor& message);
  void flush();
  void flush_locked();
  void watch_unsent();
  void watch();
  void end_watch();

  const std::string type_;
  Methods& methods_;
  const Environment environment_;
  const wire::Protocol protocol_;
  std::vector<Worker> workers_;
  const std::shared_ptr<Releases> releases_ = std::make_shared<Releases>();
  const std::shared_ptr<Room> room_ = std::make_shared<Room>();

  // The receiver reads from it, and whoever holds send_mutex_ writes to it; the two halves of a
  // Connection share nothing but the descriptor.
  std::optional<wire::Connection> connection_;

  // The receiver's role.
  bool welcomed_ = false;
  std::string governor_version_;
  base::PollAdvice poll_advice_;
  std::unordered_map<std::uint32_t, std::shared_ptr<blob::Region>> regions_;

  // Set by the receiver before the first call, constant afterwards.
  std::uint64_t inline_limit_bytes_ = UINT64_MAX;
  bool may_send_slices_ = false, tells_began_ = false;
  std::optional<blob::CallBoard> board_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::deque<PendingCall> queue_;
  bool receiving_ = false;  // somebody has the receiver's role
  std::uint32_t last_request_ = 0;
  std::map<std::uint32_t, std::optional<std::string>> answers_;  // refusals, or none: granted
  std::exception_ptr error_;
  bool stopped_ = false;

  std::mutex send_mutex_;
  // Guarded by send_mutex_.
  base::TimePoint last_flush_{};
  std::uint64_t lost_lines_ = 0;  // of logs, not told yet
  bool peer_gone_ = false;

  // The watcher: a thread that sends what waits for a call that was taken to be short and isn't.
  // Made when something waits for the first time.
  std::thread watcher_;
  std::mutex watch_mutex_;
  std::condition_variable watch_changed_;
  std::atomic<bool> watch_wanted_{false};  // written with watch_mutex_ held
  bool watch_ended_ = false;               // guarded by watch_mutex_
};

}  // namespace tasklib::executor
