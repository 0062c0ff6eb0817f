#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "base/unique_fd.h"
#include "remote/submission.h"

namespace rain::remote {

/// What happened in a mirror that those who run its tasks must hear, by session and ids in it.
struct Opened {
  std::int32_t session;
  std::string name;
  bool continue_on_error;
};
struct Submitted {
  std::shared_ptr<const Submission> submission;
};
/// Tasks that ended here and may be at work there.
struct Cancelled {
  std::int32_t session;
  std::vector<std::int32_t> tasks;
};
/// Lent objects (ObjectRecord::lent) whose data nobody needs any more.
struct Unkept {
  std::int32_t session;
  std::vector<std::int32_t> objects;
};
struct Closed {
  std::int32_t session;
};
using Note = std::variant<Opened, Submitted, Cancelled, Unkept, Closed>;

/// Notes in the order of what happened, from a Governor in mirror mode to who carries them. Shared
/// by both. Thread-safe. In a forked child it is empty and stays so.
class Outgoing {
 public:
  /// Throws SystemError.
  Outgoing();
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;

  /// Readable while there is something to take. An eventfd, as long as this lives.
  int fd() const { return event_.get(); }
  std::vector<Note> take();

  void push(Note note);

 private:
  bool forked() const;

  const ::pid_t owner_;
  const tasklib::base::UniqueFd event_;
  std::mutex mutex_;
  std::vector<Note> notes_;  // guarded by mutex_
};

}  // namespace rain::remote
