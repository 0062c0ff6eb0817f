#include "executor/loop.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "base/errors.h"
#include "base/syscall.h"
#include "wire/codec.h"
#include "wire/version.h"

namespace tasklib::executor {
namespace {

using std::chrono::microseconds;

/// Polling before blocking, which saves a wake-up.
constexpr auto kPollTime = microseconds(20);

/// How long finished results wait for a call that was taken to be short and isn't.
constexpr auto kMaxUnsentTime = std::chrono::milliseconds(1);

/// After the end, what is left to send gets this long.
constexpr int kLastFlushMs = 1000;

/// Leases that are kept though nothing is being written in them.
constexpr std::size_t kKeptLeases = 2;

const bool kMayPoll = std::thread::hardware_concurrency() > 1;

std::vector<wire::AnnouncedValue> announce(const std::vector<ValueType>& types) {
  std::vector<wire::AnnouncedValue> values;
  for (const ValueType& type : types) values.push_back({type.to_string(), type.name});
  return values;
}

wire::AnnouncedTask announce(std::string name, const Method& method) {
  wire::AnnouncedTask task;
  task.name = std::move(name);
  if (method.typed)
    task.signature.emplace(
        wire::AnnouncedSignature{announce(method.typed->inputs), announce(method.typed->outputs)});
  return task;
}

}  // namespace

Loop::Loop(std::string type, Methods& methods, Environment environment, unsigned threads)
    : type_(std::move(type)),
      methods_(methods),
      environment_(std::move(environment)),
      protocol_(environment_.cbor2 ? wire::Protocol::cbor2 : wire::Protocol::cbor1),
      workers_(threads) {
  for (Worker& worker : workers_) worker.context = Access::make_context();
}

Loop::~Loop() { end_watch(); }

void Loop::run() {
  connection_.emplace(connect_to(environment_.socket_path));
  register_self();
  std::vector<std::thread> others;
  try {
    for (std::size_t i = 1; i < workers_.size(); ++i)
      others.emplace_back([this, i] { work(workers_[i]); });
  } catch (...) {
    stop(std::current_exception());
  }
  work(workers_[0]);
  for (std::thread& other : others) other.join();
  end_watch();
  if (error_) std::rethrow_exception(error_);
  // Results that were finished while another thread saw the end.
  if (connection_->send() == wire::Connection::Io::would_block) {
    pollfd socket{connection_->fd(), POLLOUT, 0};
    base::retry_interrupted([&] { return ::poll(&socket, 1, kLastFlushMs); });
    connection_->send();
  }
}

void Loop::register_self() {
  wire::Register message;
  message.executor_id = environment_.executor_id;
  message.executor_type = type_;
  if (protocol_ == wire::Protocol::cbor1) {
    message.protocol = "cbor-1";
  } else {
    message.protocol = "cbor-2";
    message.threads = static_cast<std::uint32_t>(workers_.size());
    message.features = {wire::kFeatureBoard, wire::kFeatureLeaseWanted, wire::kFeaturePing,
                        wire::kFeatureSlices};
    message.tasklib_version = wire::own_version();
    for (const auto& method : methods_)
      message.tasks.push_back(announce(method.first.substr(type_.size() + 1), method.second));
    std::sort(message.tasks.begin(), message.tasks.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
  }
  append(message);
  flush();
}

void Loop::work(Worker& worker) {
  CallState& state = Access::state(*worker.context);
  worker.log.begin();
  state.outputs = protocol_ == wire::Protocol::cbor2 ? this : nullptr;
  try {
    PendingCall pending;
    while (next_call(worker, pending)) run_call(worker, pending);
  } catch (...) {
    stop(std::current_exception());
  }
}

void Loop::stop(std::exception_ptr error) {
  std::deque<PendingCall> dropped;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (error && !error_ && !stopped_) error_ = error;
    stopped_ = true;
    dropped.swap(queue_);
    for (Worker& worker : workers_) Access::state(*worker.context).cancel = true;
    changed_.notify_all();
  }
  if (error) ::shutdown(connection_->fd(), SHUT_RDWR);  // wakes the receiver
}

// ---- Receiving --------------------------------------------------------------------------------

bool Loop::next_call(Worker& worker, PendingCall& next) {
  std::unique_lock<std::mutex> lock(mutex_);
  worker.running = 0;
  if (!serve_until(lock, [this] { return !queue_.empty(); })) return false;
  next = std::move(queue_.front());
  queue_.pop_front();
  worker.running = next.call.sequence;
  Access::state(*worker.context).cancel.store(false, std::memory_order_relaxed);
  return true;
}

/// Takes part in receiving until `ready`. False: the end came.
template <class Ready>
bool Loop::serve_until(std::unique_lock<std::mutex>& lock, Ready ready) {
  bool flushed = false;
  while (!stopped_ && !ready()) {
    if (!receiving_) {
      receiving_ = true;
      lock.unlock();
      receive();  // if it throws, the role is never needed again
      lock.lock();
      receiving_ = false;
      // The others look for calls and answers; one that finds none takes the role.
      if (workers_.size() > 1) changed_.notify_all();
    } else if (!flushed) {
      // What this thread finished must not wait while it sleeps. (The receiver flushes, too.)
      lock.unlock();
      flush();
      lock.lock();
      flushed = true;
    } else {
      changed_.wait(lock);
    }
  }
  return !stopped_;
}

void Loop::receive() {
  switch (wait_for_input()) {
    case wire::Connection::Io::would_block:
      return;
    case wire::Connection::Io::closed:
      if (connection_->mid_frame())
        throw base::ProtocolError("the governor closed the connection in the middle of a frame");
      if (protocol_ == wire::Protocol::cbor2 && !welcomed_)
        throw base::Error(
            "the governor closed the connection instead of welcoming executor '" + type_ +
            "', which registered with cbor-2; its log says why (wrong type or id, or a version "
            "that doesn't fit)");
      stop(nullptr);
      return;
    case wire::Connection::Io::done:
      while (const auto payload = connection_->next_frame()) handle_frame(*payload);
  }
}

/// Sends what there is, then waits until bytes came (done), the peer is gone (closed), or there is
/// something else to look at (would_block).
wire::Connection::Io Loop::wait_for_input() {
  const std::vector<base::RegionId> idle = room_->give_up_idle_leases(kKeptLeases);
  if (!idle.empty()) append(wire::LeaseReturned{idle});
  flush();
  auto io = connection_->receive();
  if (io != wire::Connection::Io::would_block) return io;
  const base::TimePoint start = base::Clock::now();
  if (kMayPoll && poll_advice_.worth_it()) {
    while (base::Clock::now() - start < kPollTime) {
      io = connection_->receive();
      if (io == wire::Connection::Io::would_block) continue;
      poll_advice_.succeeded();
      return io;
    }
    poll_advice_.failed();
  }
  pollfd waited[] = {{connection_->fd(), POLLIN, 0}, {releases_->event_fd(), POLLIN, 0}};
  base::checked("poll", "governor's socket", [&] { return ::poll(waited, 2, -1); });
  io = waited[0].revents != 0 ? connection_->receive() : wire::Connection::Io::would_block;
  return io;
}

void Loop::handle_frame(base::ByteView payload) {
  wire::ToExecutor message;
  try {
    message = wire::decode_to_executor(payload, protocol_);
  } catch (const base::ProtocolError& error) {
    if (protocol_ == wire::Protocol::cbor1) throw;
    throw base::ProtocolError(std::string("can't read the governor's message: ") + error.what() +
                              " (" + wire::mismatch_text(wire::own_version(), governor_version_) +
                              ")");
  }
  if (protocol_ == wire::Protocol::cbor2 && !welcomed_ &&
      !std::holds_alternative<wire::Welcome>(message))
    throw base::ProtocolError("the governor's first message is not 'welcome'");
  std::visit([this](auto&& each) { handle(std::move(each)); }, std::move(message));
}

void Loop::handle(wire::Call&& call) {
  if (call.inputs.size() != call.spec.inputs.size() ||
      call.outputs.size() != call.spec.outputs.size())
    throw base::ProtocolError("the call of task " + call.spec.id.to_string() +
                              " has other inputs or outputs than its spec");
  PendingCall pending;
  pending.inputs.reserve(call.inputs.size());
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    std::shared_ptr<Content> content = input_content(call, i);
    wire::ObjectIn& input = call.inputs[i];
    std::unique_ptr<Metadata> metadata(new Metadata);
    metadata->spec = std::move(input.spec);
    if (input.info) metadata->info = std::move(*input.info);
    metadata->task_label = std::move(call.spec.inputs[i].label);
    metadata->input = true;
    pending.inputs.push_back(Access::make(std::move(content), std::move(metadata)));
  }
  pending.call = std::move(call);
  std::lock_guard<std::mutex> lock(mutex_);
  if (stopped_) return;
  queue_.push_back(std::move(pending));
}

/// The data of an input; what lies in the frame is copied, for the frame is gone with the next.
std::shared_ptr<Content> Loop::input_content(const wire::Call& call, std::size_t index) {
  const wire::Location& location = call.inputs[index].location;
  if (const auto* ref = std::get_if<wire::BlobRef>(&location)) {
    const auto region = regions_.find(ref->region.value);
    if (region != regions_.end())
      return std::make_shared<ViewContent>(region->second, *ref, releases_);
    throw base::ProtocolError("input " + std::to_string(index) + " of task " +
                              call.spec.id.to_string() + " lies in region " +
                              std::to_string(ref->region.value) + ", which was never sent");
  }
  if (const auto* memory = std::get_if<wire::Memory>(&location)) {
    if (memory->joined) return std::make_shared<ForeignContent>(memory->joined, memory->bytes);
    return std::make_shared<CopiedContent>(memory->bytes);
  }
  if (const auto* path = std::get_if<wire::Path>(&location))
    return std::make_shared<FileContent>(path->path);
  if (const auto* slice = std::get_if<wire::FileSlice>(&location))
    return std::make_shared<FileContent>(slice->path, slice->offset_bytes, slice->size_bytes);
  throw base::ProtocolError("input " + std::to_string(index) + " of task " +
                            call.spec.id.to_string() +
                            " has no data: its location is missing or of a kind that this "
                            "executor never offered");
}

void Loop::handle(wire::Welcome&& welcome) {
  if (welcomed_) throw base::ProtocolError("a second 'welcome'");
  welcomed_ = true;
  inline_limit_bytes_ = welcome.inline_limit_bytes;
  governor_version_ = std::move(welcome.tasklib_version);
  const auto& features = welcome.features;
  if (std::find(features.begin(), features.end(), wire::kFeatureLog) != features.end())
    for (Worker& worker : workers_) Access::state(*worker.context).streams = this;
  may_send_slices_ =
      std::find(features.begin(), features.end(), wire::kFeatureSlices) != features.end();
  tells_began_ = std::find(features.begin(), features.end(), wire::kFeatureBegan) != features.end();
  if (!welcome.board) return;
  auto fd = connection_->take_fd();
  if (!fd) throw base::ProtocolError("'welcome' announces a call board, but no descriptor came");
  board_ = blob::CallBoard::map(std::move(*fd));
  for (Worker& worker : workers_) Access::state(*worker.context).board = &*board_;
}

void Loop::handle(wire::Region&& message) {
  auto fd = connection_->take_fd();
  if (!fd)
    throw base::ProtocolError("region " + std::to_string(message.id.value) +
                              " came without a descriptor");
  std::shared_ptr<blob::Region>& region = regions_[message.id.value];
  const auto access =
      message.writable ? blob::Region::Access::read_write : blob::Region::Access::read_only;
  // Leased again: the old mapping has its pages.
  if (!region || region->access() != access || region->size_bytes() != message.size_bytes)
    region = blob::Region::map(message.id, message.size_bytes, std::move(*fd), access);
  if (message.writable) room_->add_lease(region, message.free, message.request != 0);
  if (message.request != 0) answer_request(message.request, std::nullopt);
}

void Loop::handle(wire::LeaseRefused&& refused) {
  answer_request(refused.request, std::move(refused.message));
}

void Loop::handle(wire::Freed&& freed) { room_->free(freed); }

void Loop::handle(wire::RegionDropped&& dropped) { regions_.erase(dropped.id.value); }

void Loop::handle(wire::Cancel&& cancel) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (PendingCall& queued : queue_)
    if (queued.call.sequence == cancel.sequence) queued.cancelled = true;
  for (Worker& worker : workers_)
    if (worker.running == cancel.sequence) Access::state(*worker.context).cancel = true;
}

void Loop::handle(wire::Shutdown&&) { stop(nullptr); }

void Loop::handle(wire::LeaseWanted&&) {
  append(wire::LeaseReturned{room_->give_up_idle_leases(0)});
  flush();
}

void Loop::handle(wire::Ping&& ping) {
  append(wire::Pong{ping.number});
  flush();
}

void Loop::answer_request(std::uint32_t request, std::optional<std::string> refusal) {
  std::lock_guard<std::mutex> lock(mutex_);
  answers_[request] = std::move(refusal);
}

std::optional<std::string> Loop::await_lease(std::uint32_t request) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!serve_until(lock, [&] { return answers_.count(request) != 0; }))
    throw base::Error("the governor is gone: there is no room for an output");
  const auto answer = answers_.find(request);
  std::optional<std::string> refusal = std::move(answer->second);
  answers_.erase(answer);
  return refusal;
}

// ---- Sending ----------------------------------------------------------------------------------

void Loop::append(const wire::ToGovernor& message) {
  std::lock_guard<std::mutex> lock(send_mutex_);
  wire::encode_frame(connection_->out(), message, protocol_);
}

void Loop::flush() {
  std::lock_guard<std::mutex> lock(send_mutex_);
  flush_locked();
}

void Loop::flush_locked() {
  std::vector<wire::BlobRef> released = releases_->take();
  if (!released.empty())
    wire::encode_frame(connection_->out(), wire::ToGovernor(wire::Released{std::move(released)}),
                       protocol_);
  while (!peer_gone_ && connection_->has_output()) {
    switch (connection_->send()) {
      case wire::Connection::Io::done:
        break;
      case wire::Connection::Io::would_block: {
        pollfd socket{connection_->fd(), POLLOUT, 0};
        base::checked("poll", "governor's socket", [&] { return ::poll(&socket, 1, -1); });
        break;
      }
      case wire::Connection::Io::closed:
        peer_gone_ = true;  // the receiver sees the end, too
    }
  }
  last_flush_ = base::Clock::now();
}

void Loop::watch_unsent() {
  if (watch_wanted_.load(std::memory_order_relaxed)) return;
  std::lock_guard<std::mutex> lock(watch_mutex_);
  watch_wanted_ = true;
  if (!watcher_.joinable()) watcher_ = std::thread([this] { watch(); });
  watch_changed_.notify_one();
}

void Loop::watch() {
  std::unique_lock<std::mutex> lock(watch_mutex_);
  while (!watch_ended_) {
    if (!watch_wanted_) {
      watch_changed_.wait(lock);
      continue;
    }
    watch_wanted_ = false;
    watch_changed_.wait_for(lock, kMaxUnsentTime, [this] { return watch_ended_; });
    lock.unlock();
    bool left = false;
    try {
      // Without waiting, for tasks that say something would wait, too.
      std::lock_guard<std::mutex> sending(send_mutex_);
      if (!peer_gone_ && connection_->has_output()) {
        last_flush_ = base::Clock::now();
        const auto io = connection_->send();
        peer_gone_ = io == wire::Connection::Io::closed;
        left = io == wire::Connection::Io::would_block;
      }
    } catch (...) {
      stop(std::current_exception());
    }
    lock.lock();
    watch_wanted_ = watch_wanted_ || left;
  }
}

void Loop::end_watch() {
  {
    std::lock_guard<std::mutex> lock(watch_mutex_);
    watch_ended_ = true;
    watch_changed_.notify_one();
  }
  if (watcher_.joinable()) watcher_.join();
}

}  // namespace tasklib::executor
