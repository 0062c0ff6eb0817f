#include "process/executor_session.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/errors.h"
#include "base/syscall.h"
#include "wire/codec.h"
#include "wire/version.h"

namespace rain::process {

using tasklib::base::checked;
using tasklib::base::ProtocolError;
using tasklib::base::UniqueFd;
using tasklib::blob::CallBoard;
using tasklib::wire::Connection;
using tasklib::wire::Protocol;

namespace {

UniqueFd listen_at(const std::string& path) {
  UniqueFd fd(checked("socket", path, [] {
    return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  }));
  // sun_path has 107 usable bytes; a longer path is bound through its directory's descriptor.
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  UniqueFd directory;
  std::string name = path;
  if (path.size() >= sizeof address.sun_path) {
    const std::string parent = path.substr(0, path.rfind('/'));
    directory = UniqueFd(checked(
        "open", parent, [&] { return ::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
    name = "/proc/self/fd/" + std::to_string(directory.get()) + path.substr(parent.size());
  }
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  checked("bind", path, [&] {
    return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  });
  checked("listen", path, [&] { return ::listen(fd.get(), 8); });
  return fd;
}

/// A byte within a character of UTF-8.
bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

ExecutorSession::ExecutorSession(graph::ExecutorId id, graph::TypeIndex type, std::string type_name,
                                 std::string directory, std::string socket_path)
    : id(id),
      type(type),
      type_name(std::move(type_name)),
      directory(std::move(directory)),
      socket_path(std::move(socket_path)),
      listener_(listen_at(this->socket_path)),
      table_(CallBoard::kSlots) {}

int ExecutorSession::fd() const { return connection_ ? connection_->fd() : listener_.get(); }

bool ExecutorSession::accept(Listener& listener) {
  while (true) {
    UniqueFd socket(tasklib::base::retry_interrupted(
        [&] { return ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC); }));
    if (!socket) return false;
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
        peer.uid != ::geteuid()) {
      listener.on_warning("turned away a connection of user " + std::to_string(peer.uid) +
                          " to the socket of executor '" + type_name + "'");
      continue;
    }
    peer_pid_ = peer.pid;
    connection_.emplace(std::move(socket));
    listener_.reset();
    ::unlink(socket_path.c_str());
    return true;
  }
}

ExecutorSession::Peer ExecutorSession::receive(Listener& listener) {
  // A few reads at most, so that one talkative executor can't keep the loop.
  for (int reads = 0; reads < 4; ++reads) {
    const auto io = connection_->receive();
    if (connection_->take_fd())
      throw ProtocolError("sent a descriptor, which no message to a governor has");
    if (io == Connection::Io::would_block) return Peer::open;
    while (auto frame = connection_->next_frame()) on_frame(*frame, listener);
    if (io == Connection::Io::closed) {
      if (connection_->mid_frame()) throw ProtocolError("closed in the middle of a frame");
      return Peer::gone;
    }
    if (in_flight_count_ == 0) return Peer::open;  // nothing more is expected soon
  }
  return Peer::open;
}

ExecutorSession::Peer ExecutorSession::flush() {
  dirty = false;
  if (!connection_) return Peer::open;
  return connection_->send() == Connection::Io::closed ? Peer::gone : Peer::open;
}

void ExecutorSession::on_frame(tasklib::base::ByteView payload, Listener& listener) {
  tasklib::wire::ToGovernor message;
  try {
    message = tasklib::wire::decode_to_governor(payload, protocol_);
  } catch (const ProtocolError& error) {
    std::string text = error.what();
    if (!registered_) text = "Not registered by first message: " + text;
    if (!registered_ || protocol_ == Protocol::cbor2) text += mismatch();
    throw ProtocolError(text);
  }
  if (auto* reg = std::get_if<tasklib::wire::Register>(&message)) {
    if (registered_) throw ProtocolError("registered twice");
    check_registration(*reg, listener);
    listener.on_registered(*this);
  } else if (!registered_) {
    throw ProtocolError("Not registered by first message" + mismatch());
  } else if (auto* result = std::get_if<tasklib::wire::Result>(&message)) {
    deliver_result(*result, listener);
  } else if (auto* released = std::get_if<tasklib::wire::Released>(&message)) {
    listener.on_released(*this, *released);
  } else if (auto* request = std::get_if<tasklib::wire::LeaseRequest>(&message)) {
    listener.on_lease_request(*this, *request);
  } else if (auto* returned = std::get_if<tasklib::wire::LeaseReturned>(&message)) {
    listener.on_lease_returned(*this, *returned);
  } else if (auto* log = std::get_if<tasklib::wire::Log>(&message)) {
    deliver_log(*log, listener);
  } else if (auto* debug = std::get_if<tasklib::wire::Debug>(&message)) {
    keep_debug(*debug);
  } else if (auto* pong = std::get_if<tasklib::wire::Pong>(&message)) {
    listener.on_pong(*this, pong->number);
  }
}

void ExecutorSession::check_registration(const tasklib::wire::Register& message,
                                         Listener& listener) {
  // Order and texts: reference 1.4.
  tasklib_version_ = message.tasklib_version;
  if (message.protocol == "cbor-2") {
    protocol_ = Protocol::cbor2;
  } else if (message.protocol == "cbor-1") {
    protocol_ = Protocol::cbor1;
  } else {
    throw ProtocolError("registered with invalid protocol; expected = cbor-1 or cbor-2, got = " +
                        message.protocol + mismatch());
  }
  const auto own_id = static_cast<std::int64_t>(id.value);
  if (message.executor_id != own_id) {
    // The C++ library of Rain 0.4 sends the number of digits (quirk Q11). The socket is private
    // to this process, so that the id says nothing that is not known.
    const auto digits = static_cast<std::int64_t>(std::to_string(own_id).size());
    if (protocol_ != Protocol::cbor1 || message.executor_id != digits) {
      throw ProtocolError("registered with invalid id; expected = " + std::to_string(own_id) +
                          ", got = " + std::to_string(message.executor_id));
    }
    listener.on_warning("executor '" + type_name + "' registered as id " + std::to_string(digits) +
                        " instead of " + std::to_string(own_id) +
                        ", as the C++ library of Rain 0.4 does; accepted. Rebuild it with this "
                        "tasklib to be rid of this line");
  }
  if (message.executor_type != type_name) {
    throw ProtocolError("registered with invalid type; expected = " + type_name +
                        ", got = " + message.executor_type);
  }
  registered_ = true;
  tasks_ = message.tasks;
  traits_ = {};
  traits_.pid = peer_pid_;
  if (protocol_ == Protocol::cbor2) {
    const auto announced = [&](const char* feature) {
      return std::find(message.features.begin(), message.features.end(), feature) !=
             message.features.end();
    };
    wants_board_ = announced(tasklib::wire::kFeatureBoard);
    gives_leases_back_ = announced(tasklib::wire::kFeatureLeaseWanted);
    answers_pings_ = announced(tasklib::wire::kFeaturePing);
    takes_slices_ = announced(tasklib::wire::kFeatureSlices);
    traits_.threads = std::clamp<std::uint32_t>(message.threads, 1, CallBoard::kSlots);
    // Without a board a queued call can't be taken back: queue none.
    traits_.max_in_flight = wants_board_ ? CallBoard::kSlots : traits_.threads;
  }
}

void ExecutorSession::send_welcome(std::uint64_t inline_limit_bytes, bool wants_began) {
  tasklib::wire::Welcome welcome;
  welcome.credit = traits_.max_in_flight;
  welcome.inline_limit_bytes = inline_limit_bytes;
  welcome.board = wants_board_;
  welcome.features = {tasklib::wire::kFeatureLog, tasklib::wire::kFeatureSlices};
  if (wants_began) welcome.features.emplace_back(tasklib::wire::kFeatureBegan);
  welcome.tasklib_version = tasklib::wire::own_version();
  UniqueFd fd;
  if (wants_board_) {
    board_.emplace(CallBoard::create());
    fd = board_->duplicate_fd();
  }
  send(welcome, std::move(fd));
}

void ExecutorSession::send_call(tasklib::wire::Call& call, InFlight flight) {
  const std::uint32_t sequence = flight.task->sequence;
  call.sequence = sequence;
  tasklib::wire::encode_frame(connection_->out(), call, protocol_);
  if (board_) board_->queue(sequence);
  last_sequence_ = sequence;
  table_[sequence % CallBoard::kSlots] = std::move(flight);
  ++in_flight_count_;
  dirty = true;
}

void ExecutorSession::send(const tasklib::wire::ToExecutor& message, UniqueFd fd) {
  if (!connection_) return;
  if (fd) connection_->attach_fd(std::move(fd));
  tasklib::wire::encode_frame(connection_->out(), message, protocol_);
  dirty = true;
}

void ExecutorSession::put_back(InFlight call) {
  table_[call.task->sequence % CallBoard::kSlots] = std::move(call);
  ++in_flight_count_;
}

InFlight ExecutorSession::take(std::uint32_t sequence) {
  InFlight& slot = table_[sequence % CallBoard::kSlots];
  InFlight call = std::move(slot);
  slot = InFlight{};
  if (!debug_.empty()) debug_.erase(sequence);
  --in_flight_count_;
  return call;
}

void ExecutorSession::deliver_result(tasklib::wire::Result& result, Listener& listener) {
  std::uint32_t sequence = result.sequence;
  if (protocol_ == Protocol::cbor1) {
    if (in_flight_count_ == 0) throw ProtocolError("sent a result, but no call is running");
    sequence = last_sequence_;
  }
  if (!has_call(sequence)) {
    throw ProtocolError("sent a result for call " + std::to_string(sequence) +
                        ", which is not in flight");
  }
  // Whatever is wrong with this result from here on is this call's fault.
  culprit_ = table_[sequence % CallBoard::kSlots].task;
  if (result.task != culprit_->id) {
    throw ProtocolError("sent a result for task " + result.task.to_string() + ", but task " +
                        culprit_->id.to_string() + " was called");
  }
  ++calls_done;
  InFlight call = take(sequence);
  try {
    listener.on_result(*this, call, result);
  } catch (const ProtocolError&) {
    put_back(std::move(call));
    throw;
  }
  culprit_ = {};
}

const graph::TaskRecord& ExecutorSession::running(std::uint32_t sequence) const {
  if (!has_call(sequence))
    throw ProtocolError("sent a line for the log of call " + std::to_string(sequence) +
                        ", which is not in flight");
  return *table_[sequence % CallBoard::kSlots].task;
}

void ExecutorSession::deliver_log(tasklib::wire::Log& message, Listener& listener) {
  const graph::TaskRecord& task = running(message.sequence);
  constexpr std::size_t kMax = tasklib::wire::kMaxLogBytes;
  if (message.text.size() > 2 * kMax) {  // ours has cut it before, and said so
    std::size_t size = kMax;
    while (size > 0 && is_continuation(message.text[size])) --size;
    message.text.resize(size);
  }
  listener.on_log(*this, task, message);
}

void ExecutorSession::keep_debug(const tasklib::wire::Debug& message) {
  running(message.sequence);
  constexpr std::size_t kMax = tasklib::wire::kMaxDebugBytes;
  std::string& text = debug_[message.sequence];
  text += message.text;
  if (text.size() <= 2 * kMax) return;
  std::size_t begin = text.size() - kMax;
  while (begin < text.size() && is_continuation(text[begin])) ++begin;
  text.erase(0, begin);
}

bool ExecutorSession::has_call(std::uint32_t sequence) const {
  const InFlight& flight = table_[sequence % CallBoard::kSlots];
  return flight.task && flight.task->sequence == sequence;
}

std::optional<tasklib::base::TimePoint> ExecutorSession::sent_at(std::uint32_t sequence) const {
  if (!has_call(sequence)) return {};
  return table_[sequence % CallBoard::kSlots].sent;
}

std::optional<InFlight> ExecutorSession::retract(std::uint32_t sequence) {
  if (!board_ || !has_call(sequence) || !board_->retract(sequence)) return {};
  return take(sequence);
}

void ExecutorSession::request_cancel(std::uint32_t sequence) {
  if (protocol_ == Protocol::cbor1 || !has_call(sequence)) return;
  if (board_) board_->request_cancel(sequence);
  send(tasklib::wire::Cancel{table_[sequence % CallBoard::kSlots].task->id, sequence});
}

std::string ExecutorSession::mismatch() const {
  return " (" + tasklib::wire::mismatch_text(tasklib_version_, tasklib::wire::own_version()) + ")";
}

std::vector<ExecutorSession::Lost> ExecutorSession::take_all() {
  std::vector<Lost> lost;
  for (auto& slot : table_) {
    if (!slot.task) continue;
    const std::uint32_t sequence = slot.task->sequence;
    bool begun = true;
    if (board_) {
      const auto phase = board_->phase(sequence);
      begun = phase == CallBoard::Phase::started || phase == CallBoard::Phase::cancel_requested;
    }
    begun = begun || slot.task == culprit_;
    std::string debug;
    if (const auto said = debug_.find(sequence); said != debug_.end())
      debug = std::move(said->second);
    lost.push_back({take(sequence), begun, std::move(debug)});
  }
  return lost;
}

}  // namespace rain::process
