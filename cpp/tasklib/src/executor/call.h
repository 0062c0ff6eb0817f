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

/// Room in ordinary memory.
MutableBlob allocate_on_heap(std::size_t size_bytes);

/// What is behind a Context: one call at a time. Owned by the Context; filled by the worker that
/// runs the call.
struct CallState {
  wire::Call own_call;  // of a Context without a loop
  const wire::Call* call = &own_call;
  std::size_t n_inputs = 0;
  OutputSource* outputs = nullptr;  // none: ordinary memory
  const blob::CallBoard* board = nullptr;
  bool alone = false;  // without a governor (reproduce.h)

  bool failed = false;
  std::string error;
  std::string exception;  // what failed, pickled; empty: no exception of Python
  wire::TaskInfo info;
  std::optional<Value> config;  // once decoded

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
    cancel_seen.store(false, std::memory_order_relaxed);
  }
};

}  // namespace tasklib::executor
