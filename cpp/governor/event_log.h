#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "base/unique_fd.h"

namespace rain {

/// One line of the event log (docs/events.md has the grammar): a JSON object. A value.
class EventLine {
 public:
  EventLine(std::string_view event, double time);
  EventLine& add(std::string_view key, std::string_view text);
  EventLine& add(std::string_view key, const char* text) {
    return add(key, std::string_view(text));
  }
  EventLine& add(std::string_view key, std::int64_t number);
  /// So that whoever reads it gets the same double.
  EventLine& add(std::string_view key, double number);
  /// To the microsecond.
  EventLine& add_time(std::string_view key, double time);
  /// [session, id]
  EventLine& add_id(std::int32_t session, std::int32_t id) { return add_id("id", session, id); }
  EventLine& add_id(std::string_view key, std::int32_t session, std::int32_t id);

  /// What follows, up to the end() that belongs to it, is in a list or object under `key`.
  EventLine& begin_list(std::string_view key);
  EventLine& begin_object(std::string_view key);
  /// The same as an element of the list at hand.
  EventLine& begin_object();
  /// An element of the list at hand.
  EventLine& add_number(std::int64_t number);
  /// [first, second], an element of the list at hand.
  EventLine& add_pair(std::int64_t first, std::int64_t second);
  EventLine& end();

  /// Requires: what was begun has ended.
  std::string take();

 private:
  void separate();
  void key(std::string_view name);
  void begin(char opening, char closing);

  std::string text_;
  std::string closings_;  // of what is begun, the innermost last
};

/// The file that events go to, written by a thread of its own twice a second: whoever adds a line
/// never waits for the disk. Owned by the Runtime. Thread: token holder.
class EventLog {
 public:
  static constexpr int kVersion = 1;

  /// Replaces the file. Throws SystemError.
  explicit EventLog(const std::string& path);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  /// Seconds since the epoch.
  double time_of(tasklib::base::TimePoint when) const;
  void add(EventLine line);
  /// Writes what is left, and ends the thread. Idempotent.
  void finish();
  /// What went wrong with the file, once; else empty.
  std::string take_trouble();
  /// In a forked child: leaves file, thread and locks alone, for good.
  void abandon_after_fork() noexcept;

 private:
  void run();
  void write(const std::string& lines);

  const std::string path_;
  const tasklib::base::TimePoint began_;
  const double began_at_;
  tasklib::base::UniqueFd file_;
  std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::string pending_;
  std::uint64_t lost_ = 0;  // lines
  std::string trouble_;
  bool stopping_ = false;

  bool torn_ = false;  // the thread's: the file may end within a line
  std::thread thread_;
};

}  // namespace rain
