// The part of Loop that passes on what tasks say while they run: log and debug lines.

#include "executor/loop.h"
#include "wire/codec.h"

namespace tasklib::executor {
namespace {

/// Further lines are dropped while so much waits for the governor.
constexpr std::size_t kMaxWaitingBytes = 1u << 20;

/// A call that isn't expected to be short has so many lines sent at once; what follows may have to
/// wait for the watcher, which comes after a millisecond.
constexpr unsigned kMaxSentAtOnce = 64;
constexpr auto kSendInterval = std::chrono::microseconds(100);

std::string cut(const std::string& text) {
  if (text.size() <= wire::kMaxLogBytes) return text;
  return text.substr(0, wire::kMaxLogBytes) + "... (" +
         std::to_string(text.size() - wire::kMaxLogBytes) + " more bytes)";
}

}  // namespace

void Loop::log(CallState& state, unsigned level, const std::string& text) {
  std::lock_guard<std::mutex> lock(send_mutex_);
  if (connection_->out().size() > kMaxWaitingBytes) {
    ++lost_lines_;
  } else {
    wire::Log line{state.call->sequence, level, cut(text), lost_lines_};
    lost_lines_ = 0;
    wire::encode_frame(connection_->out(), wire::ToGovernor(std::move(line)), protocol_);
  }
  send_soon(state);
}

void Loop::debug(CallState& state) {
  std::lock_guard<std::mutex> lock(send_mutex_);
  if (connection_->out().size() <= kMaxWaitingBytes) {
    std::string news = state.info.debug.substr(state.debug_streamed);
    // The governor keeps the end of it.
    if (news.size() > wire::kMaxDebugBytes) news.erase(0, news.size() - wire::kMaxDebugBytes);
    state.debug_streamed = state.info.debug.size();
    wire::encode_frame(connection_->out(),
                       wire::ToGovernor(wire::Debug{state.call->sequence, std::move(news)}),
                       protocol_);
  }
  send_soon(state);
}

/// With send_mutex_ held.
void Loop::send_soon(CallState& state) {
  const bool at_once = !state.expected_short && (state.sent_at_once < kMaxSentAtOnce ||
                                                 base::Clock::now() - last_flush_ > kSendInterval);
  if (at_once && !peer_gone_) {
    ++state.sent_at_once;
    last_flush_ = base::Clock::now();
    if (connection_->send() == wire::Connection::Io::closed) peer_gone_ = true;
  }
  if (connection_->has_output() && !peer_gone_) watch_unsent();
}

/// With send_mutex_ held, before the result of a call: nobody else may log any more.
void Loop::tell_lost_lines(std::uint32_t sequence) {
  if (lost_lines_ == 0) return;
  wire::encode_frame(connection_->out(),
                     wire::ToGovernor(wire::Log{sequence, static_cast<unsigned>(LogLevel::warning),
                                                "", lost_lines_}),
                     protocol_);
  lost_lines_ = 0;
}

}  // namespace tasklib::executor
