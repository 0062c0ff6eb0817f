#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/unique_fd.h"
#include "blob/board.h"
#include "graph/core.h"
#include "graph/records.h"
#include "process/program_build.h"
#include "wire/connection.h"
#include "wire/messages.h"

namespace rain::process {

/// A call that was sent and not answered.
struct InFlight {
  graph::TaskRef task;
  tasklib::base::TimePoint sent;              // cbor-1, whose results don't say how long they took
  std::vector<tasklib::wire::BlobRef> views;  // parallel to the inputs; region 0: none counted
};

/// One executor process as the governor sees it: its socket, what it registered as, its calls in
/// flight. Speaks both protocols; knows no store and no graph: what the executor says goes to a
/// Listener. Owned by the Runtime, named by ExecutorId. Thread: token holder.
class ExecutorSession {
 public:
  /// Hears what the executor says. May throw ProtocolError: the executor talked nonsense.
  class Listener {
   public:
    virtual void on_registered(ExecutorSession& session) = 0;
    /// `call` was taken off the table.
    virtual void on_result(ExecutorSession& session, const InFlight& call,
                           tasklib::wire::Result& result) = 0;
    virtual void on_released(ExecutorSession& session, const tasklib::wire::Released& message) = 0;
    virtual void on_lease_request(ExecutorSession& session,
                                  const tasklib::wire::LeaseRequest& message) = 0;
    virtual void on_lease_returned(ExecutorSession& session,
                                   const tasklib::wire::LeaseReturned& message) = 0;
    /// `task` runs; the text is no longer than kMaxLogBytes.
    virtual void on_log(ExecutorSession& session, const graph::TaskRecord& task,
                        const tasklib::wire::Log& message) = 0;
    virtual void on_pong(ExecutorSession& session, std::uint32_t number) = 0;
    /// Something that deserves a line for the user and no more.
    virtual void on_warning(const std::string& text) = 0;

   protected:
    ~Listener() = default;
  };

  enum class Peer { open, gone };

  /// Starts listening at `socket_path`. Throws SystemError.
  ExecutorSession(graph::ExecutorId id, graph::TypeIndex type, std::string type_name,
                  std::string directory, std::string socket_path);

  // Constant after construction.
  const graph::ExecutorId id;
  const graph::TypeIndex type;
  const std::string type_name;
  const std::string directory;  // the executor's own; a path output must lie in it
  const std::string socket_path;

  /// The descriptor to watch now: the listening socket, then the connection; -1 after the end.
  int fd() const;
  bool connected() const { return connection_.has_value(); }
  bool registered() const { return registered_; }
  tasklib::wire::Protocol protocol() const { return protocol_; }
  const graph::ExecutorTraits& traits() const { return traits_; }
  /// Its tasks, as far as it announced them.
  const std::vector<tasklib::wire::AnnouncedTask>& tasks() const { return tasks_; }
  bool answers_pings() const { return answers_pings_; }
  /// Idle leases can be asked back from it.
  bool gives_leases_back() const { return gives_leases_back_; }
  /// It takes part of a file as an input.
  bool takes_slices() const { return takes_slices_; }
  std::int32_t peer_pid() const { return peer_pid_; }

  /// Accepts the one connection. False: nobody of this user was there (others are turned away).
  bool accept(Listener& listener);
  /// Reads what there is and hands it on, message by message. Throws ProtocolError.
  Peer receive(Listener& listener);
  /// Sends what is queued. `gone`: the peer closed.
  Peer flush();
  bool wants_to_write() const { return connection_ && connection_->has_output(); }

  /// Answers the registration (cbor-2). `wants_began`: results are to say when their call began.
  void send_welcome(std::uint64_t inline_limit_bytes, bool wants_began);
  /// Queues the call and enters it in the table under the sequence that the Core gave the task.
  /// The views in `flight` are already counted. Throws ProtocolError when the call is too large for
  /// a frame.
  void send_call(tasklib::wire::Call& call, InFlight flight);
  /// Queues another message; `fd` travels with it.
  void send(const tasklib::wire::ToExecutor& message, tasklib::base::UniqueFd fd = {});

  bool has_call(std::uint32_t sequence) const;
  std::optional<tasklib::base::TimePoint> sent_at(std::uint32_t sequence) const;
  /// The call, taken back and off the table; nothing when it has begun or is not out.
  std::optional<InFlight> retract(std::uint32_t sequence);
  void request_cancel(std::uint32_t sequence);
  /// Takes every call off the table; `begun` tells for each whether it had begun and not ended
  /// (or whether its result was what was wrong).
  struct Lost {
    InFlight call;
    bool begun;
    std::string debug;  // what it has said so far, of the end kMaxDebugBytes
  };
  std::vector<Lost> take_all();
  std::uint32_t in_flight() const { return in_flight_count_; }

  /// Closes the descriptors in a forked child; nothing is sent.
  void abandon_after_fork() noexcept {
    listener_.reset();
    connection_.reset();
  }

  // For the Runtime's own use.
  bool dirty = false;                                // output was queued since the last flush
  bool write_armed = false;                          // epoll watches for writing
  tasklib::base::TimePoint started;                  // when the spawn was asked for
  std::optional<tasklib::base::TimePoint> deadline;  // to register, or to die
  std::string trouble;  // why it is being killed, when that is our doing
  std::string stdout_path, stderr_path;
  std::optional<ProgramBuild> build;  // that it was started from; nothing: not to be compared
  bool spare = false;                 // was started for no task
  bool leases_asked = false;          // LeaseWanted is out
  bool may_have_idle_leases = false;  // since it was asked last
  bool hung_up = false, kill_sent = false, exited = false;
  std::int32_t pid = 0;
  std::uint64_t calls_done = 0;
  std::unordered_set<tasklib::base::DataObjectId> cached;  // cbor-1: reported as cached

 private:
  void on_frame(tasklib::base::ByteView payload, Listener& listener);
  void check_registration(const tasklib::wire::Register& message, Listener& listener);
  void deliver_result(tasklib::wire::Result& result, Listener& listener);
  void deliver_log(tasklib::wire::Log& message, Listener& listener);
  void keep_debug(const tasklib::wire::Debug& message);
  const graph::TaskRecord& running(std::uint32_t sequence) const;
  std::string mismatch() const;
  InFlight take(std::uint32_t sequence);
  void put_back(InFlight call);

  tasklib::base::UniqueFd listener_;
  std::optional<tasklib::wire::Connection> connection_;
  std::optional<tasklib::blob::CallBoard> board_;
  tasklib::wire::Protocol protocol_ = tasklib::wire::Protocol::cbor2;  // until registered
  graph::ExecutorTraits traits_;
  std::vector<tasklib::wire::AnnouncedTask> tasks_;
  std::string tasklib_version_;
  std::int32_t peer_pid_ = 0;
  bool registered_ = false, wants_board_ = false, gives_leases_back_ = false;
  bool answers_pings_ = false, takes_slices_ = false;
  std::uint32_t last_sequence_ = 0, in_flight_count_ = 0;
  graph::TaskRef culprit_;  // whose result is being looked at, or was wrong
  std::unordered_map<std::uint32_t, std::string> debug_;  // of calls in flight, by sequence
  std::vector<InFlight> table_;  // by sequence % CallBoard::kSlots; task null: free
};

}  // namespace rain::process
