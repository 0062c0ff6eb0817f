#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>

#include "blob/board.h"
#include "executor/access.h"
#include "tasklib/blob.h"
#include "tasklib/value.h"
#include "wire/messages.h"

namespace tasklib::executor {

/// What is known about a data instance besides its bytes.
struct Metadata {
  wire::ObjectSpec spec;   // of an input
  wire::ObjectInfo info;   // of an input as it came; of an output as it goes
  std::string task_label;  // the task's own name for an input
  bool input = false;
};

Value::Map decode_attributes(const wire::UserAttributes& attributes);

/// Makes room for outputs. Implemented by the loop.
class OutputSource {
 public:
  /// Throws StoreFull.
  virtual MutableBlob allocate(std::size_t size_bytes) = 0;

 protected:
  ~OutputSource() = default;
};

struct CallState;

/// Takes what a task says while it runs. Implemented by the loop. Doesn't wait for the governor to
/// read it.
class Streams {
 public:
  virtual void log(CallState& state, unsigned level, const std::string& text) = 0;
  /// `state.info.debug` grew.
  virtual void debug(CallState& state) = 0;

 protected:
  ~Streams() = default;
};

/// Room in ordinary memory.
MutableBlob allocate_on_heap(std::size_t size_bytes);

/// What is behind a Context: one call at a time. Owned by the Context; filled by the worker that
/// runs the call.
struct CallState {
  wire::Call own_call;  // of a Context without a loop
  const wire::Call* call = &own_call;
  std::size_t n_inputs = 0;
  OutputSource* outputs = nullptr;  // none: ordinary memory
  Streams* streams = nullptr;       // none: the governor has no ear for them
  const blob::CallBoard* board = nullptr;
  bool alone = false;  // without a governor (reproduce.h)

  bool failed = false;
  std::string error;
  std::string exception;  // what failed, pickled; empty: no exception of Python
  wire::TaskInfo info;
  std::optional<Value> config;     // once decoded
  std::size_t debug_streamed = 0;  // bytes of info.debug
  unsigned sent_at_once = 0;       // of what the task said
  bool expected_short = false;     // by the calls before

  // Any thread.
  std::atomic<bool> cancel{false};
  std::atomic<bool> cancel_seen{false};  // the task was told

  /// For the next call. `cancel` is the loop's to reset.
  void begin(const wire::Call& next, std::size_t inputs) {
    call = &next;
    n_inputs = inputs;
    failed = false;
    error.clear();
    exception.clear();
    info = wire::TaskInfo();
    config.reset();
    debug_streamed = 0;
    sent_at_once = 0;
    expected_short = false;
    cancel_seen.store(false, std::memory_order_relaxed);
  }
};

}  // namespace tasklib::executor
