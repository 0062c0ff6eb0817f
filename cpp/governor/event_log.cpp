#include "event_log.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/syscall.h"

namespace rain {

using tasklib::base::checked;
using tasklib::base::Clock;
using tasklib::base::retry_interrupted;
using tasklib::base::TimePoint;
using tasklib::base::UniqueFd;

namespace {

constexpr auto kInterval = std::chrono::milliseconds(500);
constexpr std::size_t kWriteAt = 1 << 20;         // bytes that wake the thread earlier
constexpr std::size_t kUsualBytes = 320;          // of a line
constexpr std::size_t kPendingLimit = 256 << 20;  // of a disk that is stuck: then lines are lost

double wall_clock() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Length of the UTF-8 character at the begin of `text`; 0 when it is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t length = first < 0x80                    ? 1
                             : first >= 0xc2 && first < 0xe0 ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
      (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) {
    return 0;
  }
  return length;
}

bool is_plain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

void append_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const auto plain = static_cast<std::size_t>(
        std::find_if_not(text.begin(), text.end(), is_plain) - text.begin());
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    const std::size_t length = utf8_length(text);
    const char c = text[0];
    if (length == 0) {
      out += "\\ufffd";
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (length == 1 && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      out += code;
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  out += '"';
}

void append_number(std::string& out, std::int64_t number) {
  char text[24];
  out.append(text, std::to_chars(text, text + sizeof text, number).ptr);
}

/// To the microsecond.
void append_time(std::string& out, double time) {
  constexpr double kLimit = 1e12;  // beyond it there are no microseconds, nor times
  if (!(std::abs(time) < kLimit)) time = 0;
  const std::int64_t microseconds = std::llround(std::abs(time) * 1e6);
  if (std::signbit(time) && microseconds > 0) out += '-';
  append_number(out, microseconds / 1'000'000);
  char digits[] = ".000000";
  for (auto [i, left] = std::pair(6, microseconds % 1'000'000); left > 0; --i, left /= 10)
    digits[i] = static_cast<char>('0' + left % 10);
  out += digits;
}

}  // namespace

EventLine::EventLine(std::string_view event, double time) {
  text_.reserve(kUsualBytes);
  text_ += '{';
  add("event", event);
  add_time("time", time);
}

void EventLine::separate() {
  if (const char last = text_.back(); last != '{' && last != '[') text_ += ", ";
}

void EventLine::key(std::string_view name) {
  separate();
  append_string(text_, name);
  text_ += ": ";
}

void EventLine::begin(char opening, char closing) {
  text_ += opening;
  closings_ += closing;
}

EventLine& EventLine::add(std::string_view name, std::string_view text) {
  key(name);
  append_string(text_, text);
  return *this;
}

EventLine& EventLine::add(std::string_view name, std::int64_t number) {
  key(name);
  append_number(text_, number);
  return *this;
}

EventLine& EventLine::add(std::string_view name, double number) {
  key(name);
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, std::isfinite(number) ? number : 0);
  text_.append(text, end.ptr);
  return *this;
}

EventLine& EventLine::add_time(std::string_view name, double time) {
  key(name);
  append_time(text_, time);
  return *this;
}

EventLine& EventLine::add_id(std::string_view name, std::int32_t session, std::int32_t id) {
  return begin_list(name).add_number(session).add_number(id).end();
}

EventLine& EventLine::begin_list(std::string_view name) {
  key(name);
  begin('[', ']');
  return *this;
}

EventLine& EventLine::begin_object(std::string_view name) {
  key(name);
  begin('{', '}');
  return *this;
}

EventLine& EventLine::begin_object() {
  separate();
  begin('{', '}');
  return *this;
}

EventLine& EventLine::add_pair(std::int64_t first, std::int64_t second) {
  separate();
  begin('[', ']');
  return add_number(first).add_number(second).end();
}

EventLine& EventLine::add_number(std::int64_t number) {
  separate();
  append_number(text_, number);
  return *this;
}

EventLine& EventLine::end() {
  text_ += closings_.back();
  closings_.pop_back();
  return *this;
}

std::string EventLine::take() {
  text_ += "}\n";
  return std::move(text_);
}

EventLog::EventLog(const std::string& path)
    : path_(path), began_(Clock::now()), began_at_(wall_clock()), file_(checked("open", path, [&] {
        return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
      })) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

EventLog::~EventLog() { finish(); }

void EventLog::finish() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

double EventLog::time_of(TimePoint when) const {
  return began_at_ + std::chrono::duration<double>(when - began_).count();
}

void EventLog::add(EventLine line) {
  const std::string text = line.take();
  std::size_t size = 0;
  {
    std::lock_guard lock(mutex_);
    if (pending_.size() > kPendingLimit) {
      ++lost_;
      return;
    }
    pending_ += text;
    size = pending_.size();
  }
  if (size >= kWriteAt && size - text.size() < kWriteAt) wake_.notify_one();
}

std::string EventLog::take_trouble() {
  std::lock_guard lock(mutex_);
  return std::exchange(trouble_, {});
}

void EventLog::run() {
  std::string lines;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait_for(lock, kInterval, [&] { return stopping_ || pending_.size() >= kWriteAt; });
    const bool last = stopping_;
    lines.clear();
    lines.swap(pending_);
    if (const auto lost = std::exchange(lost_, 0)) {
      lines += EventLine("lost", time_of(Clock::now()))
                   .add("lines", static_cast<std::int64_t>(lost))
                   .take();
    }
    lock.unlock();
    write(lines);
    lock.lock();
    if (last) return;
  }
}

void EventLog::write(const std::string& lines) {
  std::string_view left = lines;
  const std::string separated = torn_ ? '\n' + lines : "";
  if (torn_ && !lines.empty()) left = separated;
  while (!left.empty()) {
    const ssize_t count =
        retry_interrupted([&] { return ::write(file_.get(), left.data(), left.size()); });
    if (count <= 0) {
      const int error = errno;
      std::lock_guard lock(mutex_);
      torn_ = true;
      lost_ += static_cast<std::uint64_t>(std::count(left.begin(), left.end(), '\n'));
      if (trouble_.empty())
        trouble_ = "the event log " + path_ + " misses events: write: " + std::strerror(error);
      return;
    }
    left.remove_prefix(static_cast<std::size_t>(count));
  }
  if (!lines.empty()) torn_ = false;
}

void EventLog::abandon_after_fork() noexcept { file_.reset(); }

}  // namespace rain
