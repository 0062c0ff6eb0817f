// The half of Loop that runs calls: invokes functions and makes results of what they left.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/errors.h"
#include "base/syscall.h"
#include "executor/failure.h"
#include "executor/loop.h"
#include "executor/visible_devices.h"
#include "wire/codec.h"
#include "wire/frame.h"

namespace tasklib::executor {
namespace {

using base::Clock;

/// A function whose calls took less lately is "short": results of others may wait for it.
constexpr std::int64_t kShortNs = 20'000;
/// What a call says needs no system call of its own if such calls took less lately: the watcher is
/// soon enough.
constexpr std::int64_t kUnheardNs = 1'000'000;
constexpr auto kFlushInterval = std::chrono::microseconds(100);
constexpr std::size_t kMaxUnsentBytes = 64u << 10;

/// Longer error and debug texts are cut, so that they fit a frame and a screen.
constexpr std::size_t kMaxTextBytes = 1u << 20;
/// cbor-1: inline outputs of one result; what exceeds it goes into files. The rest of the frame is
/// for the texts.
constexpr std::uint64_t kMaxInlineBytes = wire::kMaxFrameBytes - (8u << 20);

void cut(std::string& text) {
  if (text.size() <= kMaxTextBytes) return;
  const std::size_t all = text.size();
  text.resize(kMaxTextBytes);
  text += "\n... (" + std::to_string(all - kMaxTextBytes) + " more bytes)";
}

}  // namespace

void Loop::run_call(Worker& worker, PendingCall& pending) {
  const wire::Call& call = pending.call;
  if (board_ && !board_->start(call.sequence)) {
    pending.inputs.clear();  // retracted: nobody waits for an answer
    return;
  }
  wire::Result& result = worker.result;
  result.task = call.spec.id;
  result.sequence = call.sequence;
  result.success = false;
  result.cancelled = pending.cancelled;
  result.duration_ns = result.began_ns = 0;
  result.copied_bytes = 0;
  result.outputs.clear();
  result.held.clear();
  result.printed = wire::Printed();
  result.exception.clear();
  worker.contents.clear();
  for (const DataInstancePtr& input : pending.inputs)
    worker.contents.push_back(Access::content(*input));

  CallState& state = Access::state(*worker.context);
  state.begin(call, pending.inputs.size());
  if (result.cancelled) {
    state.error = "cancelled before it began";
  } else if (invoke(worker, pending)) {
    try {
      resolve_outputs(worker, pending);
      result.success = true;
    } catch (...) {
      state.error = describe_current_exception(call.spec.task_type);
    }
  }
  if (board_) board_->finish(call.sequence);  // before the result can be seen
  send_result(worker, pending);
}

/// Runs the function. False: the call failed, or was cancelled; the state's error says why.
bool Loop::invoke(Worker& worker, PendingCall& pending) {
  const wire::Call& call = pending.call;
  CallState& state = Access::state(*worker.context);
  const auto found = methods_.find(call.spec.task_type);
  if (found == methods_.end()) {
    state.error = unknown_method(type_, methods_, call.spec.task_type);
    return false;
  }
  Method& method = found->second;

  // What is finished may wait for a short call, but for no other.
  const std::int64_t recent_max_ns = method.recent_max_ns.load(std::memory_order_relaxed);
  state.expected_short = recent_max_ns < kUnheardNs;
  base::TimePoint start = Clock::now();
  {
    std::lock_guard<std::mutex> lock(send_mutex_);
    if (connection_->has_output()) {
      if (recent_max_ns >= kShortNs || start - last_flush_ > kFlushInterval ||
          connection_->out().size() > kMaxUnsentBytes) {
        flush_locked();
        start = last_flush_;
      } else {
        watch_unsent();
      }
    }
  }
  if (workers_.size() > 1) worker.log.begin();
  const VisibleDevices devices(call.spec, workers_.size() == 1);
  run_function(method.function, *worker.context, pending.inputs, worker.outputs);
  const std::int64_t duration_ns = (Clock::now() - start).count();
  worker.result.duration_ns = static_cast<std::uint64_t>(duration_ns);
  if (tells_began_)
    worker.result.began_ns =
        static_cast<std::uint64_t>(std::chrono::nanoseconds(start.time_since_epoch()).count());
  worker.result.printed = worker.log.end();
  const std::int64_t decayed =
      recent_max_ns > std::int64_t{1} << 50 ? 0 : recent_max_ns - recent_max_ns / 16;
  method.recent_max_ns.store(std::max(duration_ns, decayed), std::memory_order_relaxed);

  if (state.cancel_seen.load(std::memory_order_relaxed)) {
    worker.result.cancelled = true;
    if (!state.failed) state.error = "cancelled while it ran";
    return false;
  }
  return !state.failed;
}

void Loop::resolve_outputs(Worker& worker, PendingCall& pending) {
  std::uint64_t inline_bytes = 0;
  for (std::size_t i = 0; i < worker.outputs.size(); ++i) {
    wire::ObjectOut out;
    out.location = locate(worker, pending.call, i, inline_bytes);
    out.info = std::move(Access::info(*worker.outputs[i]));
    out.info.size.reset();
    worker.result.outputs.push_back(std::move(out));
  }
}

/// Where the governor finds output `index`; copies it into shared memory if it must.
wire::Location Loop::locate(Worker& worker, const wire::Call& call, std::size_t index,
                            std::uint64_t& inline_bytes) {
  const std::shared_ptr<Content>& content = Access::content(*worker.outputs[index]);
  for (std::size_t i = 0; i < worker.contents.size(); ++i)
    if (worker.contents[i] == content) return wire::OtherObject{call.spec.inputs[i].id};

  if (content->kind() == Content::Kind::file) {
    const auto& file = static_cast<const FileContent&>(*content);
    if (file.path().empty() || file.path()[0] != '/')
      throw base::Error("the path of output " + std::to_string(index) + ", '" + file.path() +
                        "', is not absolute");
    file.size();  // throws if there is none
    return wire::Path{file.path()};
  }
  const std::uint64_t size = content->size();
  if (protocol_ == wire::Protocol::cbor1) {
    if (inline_bytes + size > kMaxInlineBytes) return wire::Path{write_file(call, index, *content)};
    inline_bytes += size;
    return wire::Memory{{content->data(), size}};
  }
  if (size < inline_limit_bytes_) return wire::Memory{{content->data(), size}};
  if (const auto slice = part_of_input(worker, call, *content)) return *slice;

  wire::BlobRef ref;
  if (content->kind() == Content::Kind::room) {
    auto& written = static_cast<RoomContent&>(*content);
    if (written.send(*room_, ref)) {
      worker.result.copied_bytes += written.copied_bytes();
      return ref;
    }
  }
  const std::shared_ptr<RoomContent> copy = allocate_in_room(size);
  std::memcpy(copy->writable(), content->data(), size);
  worker.result.copied_bytes += size;
  copy->send(*room_, ref);
  return ref;
}

/// Bytes that lie inside those of an input, whoever made a view of them.
std::optional<wire::ObjectSlice> Loop::part_of_input(const Worker& worker, const wire::Call& call,
                                                     const Content& content) const {
  if (!may_send_slices_ || content.kind() != Content::Kind::bytes) return {};
  const auto begin = reinterpret_cast<std::uintptr_t>(content.data());
  for (std::size_t i = 0; i < worker.contents.size(); ++i) {
    const Content& input = *worker.contents[i];
    const auto from = reinterpret_cast<std::uintptr_t>(input.mapped());
    if (from == 0 || begin < from || begin - from > input.size()) continue;
    if (content.size() > input.size() - (begin - from)) continue;
    return wire::ObjectSlice{call.spec.inputs[i].id, begin - from, content.size()};
  }
  return {};
}

void Loop::send_result(Worker& worker, PendingCall& pending) {
  wire::Result& result = worker.result;
  CallState& state = Access::state(*worker.context);
  if (!result.success) {
    result.outputs.clear();
    worker.outputs.clear();
    cut(state.error);
    state.info.error = std::move(state.error);
    if (state.exception.size() <= wire::kMaxExceptionBytes)
      result.exception = std::move(state.exception);
  }
  cut(state.info.debug);
  result.info = std::move(state.info);

  // Inputs that went into outputs are not held by that: the result names them by id.
  for (std::size_t i = 0; i < worker.outputs.size(); ++i) {
    const wire::Location& location = result.outputs[i].location;
    if (std::holds_alternative<wire::OtherObject>(location) ||
        std::holds_alternative<wire::ObjectSlice>(location))
      worker.outputs[i].reset();
  }
  pending.inputs.clear();
  for (std::size_t i = 0; i < worker.contents.size(); ++i) {
    Content& content = *worker.contents[i];
    result.copied_bytes += content.copied_bytes();
    if (content.kind() != Content::Kind::view || worker.contents[i].use_count() == 1) continue;
    static_cast<ViewContent&>(content).set_held();
    result.held.push_back(static_cast<std::uint32_t>(i));
  }
  {
    std::lock_guard<std::mutex> lock(send_mutex_);
    tell_lost_lines(result.sequence);
    try {
      wire::encode_frame(connection_->out(), result, protocol_);
    } catch (const base::ProtocolError& error) {
      result.success = false;
      result.outputs.clear();
      result.info = wire::TaskInfo();
      result.info.error = std::string("the result can't be sent: ") + error.what();
      wire::encode_frame(connection_->out(), result, protocol_);
    }
  }
  worker.outputs.clear();
  worker.contents.clear();  // now what is viewed no more is released
}

MutableBlob Loop::allocate(std::size_t size_bytes) {
  if (size_bytes < inline_limit_bytes_) return allocate_on_heap(size_bytes);
  auto content = allocate_in_room(size_bytes);
  unsigned char* data = content->writable();
  return Access::make_blob(std::move(content), data, size_bytes);
}

std::shared_ptr<RoomContent> Loop::allocate_in_room(std::uint64_t size_bytes) {
  bool returned_idle = false, granted = false;
  for (;;) {
    if (auto allocation = room_->allocate(size_bytes)) {
      if (granted) allocation->region->map_existing(allocation->ref);
      return std::make_shared<RoomContent>(room_, std::move(*allocation));
    }
    wire::LeaseRequest request;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      request.request = ++last_request_;
    }
    request.size_bytes = size_bytes;
    append(request);
    flush();
    const std::optional<std::string> refusal = await_lease(request.request);
    granted = !refusal;
    if (granted) continue;
    // Meanwhile something may have become free in our own leases; or perhaps the governor can make
    // room of what we hold and don't use.
    if (auto allocation = room_->allocate(size_bytes))
      return std::make_shared<RoomContent>(room_, std::move(*allocation));
    const std::vector<base::RegionId> idle = room_->give_up_idle_leases(0);
    if (idle.empty() || returned_idle)
      throw StoreFull("no room for an output of " + std::to_string(size_bytes) +
                      " bytes: " + *refusal);
    returned_idle = true;
    append(wire::LeaseReturned{idle});
  }
}

/// cbor-1: an output that is too large for a frame goes into the executor's directory.
std::string Loop::write_file(const wire::Call& call, std::size_t index, const Content& content) {
  const base::DataObjectId id = call.outputs[index].spec.id;
  const std::string path = environment_.directory() + "/output-" + std::to_string(id.session) +
                           "-" + std::to_string(id.id);
  const base::UniqueFd file(base::checked("open", path, [&] {
    return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  }));
  std::size_t written = 0;
  while (written < content.size()) {
    written += static_cast<std::size_t>(base::checked("write", path, [&] {
      return ::write(file.get(), content.data() + written, content.size() - written);
    }));
  }
  return path;
}

}  // namespace tasklib::executor
