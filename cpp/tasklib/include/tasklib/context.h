#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "array.h"
#include "blob.h"
#include "datainstance.h"
#include "ids.h"
#include "value.h"

namespace tasklib {

namespace executor {
struct CallState;
}  // namespace executor

/// The levels of Python's logging, where the client gets the lines.
enum class LogLevel : unsigned { debug = 10, info = 20, warning = 30, error = 40, critical = 50 };

/// What a task may ask about its call and do besides writing outputs. Made by the executor for
/// one call and valid as long as the call. Used by one thread at a time, except cancelled(), which
/// any thread may ask.
class Context {
 public:
  /// For tests of a task function without a governor: a call with `n_args` inputs; alloc() gives
  /// ordinary memory.
  explicit Context(std::size_t n_args);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// True when the task has `n` inputs. Otherwise sets an error that says so; the task should
  /// return then.
  bool check_n_args(std::size_t n);
  /// The task has failed; outputs will be ignored. The last text wins.
  void set_error(const std::string& message);
  bool has_error() const;
  const std::string& get_error_message() const;

  TaskId task_id() const;
  /// "executor/function"
  const std::string& task_type() const;
  /// What the user called the task; often empty.
  const std::string& name() const;
  std::uint32_t cpus() const;
  /// Named resources that the call occupies. Of indexed ones, such as "gpu": the ids of those that
  /// it was given; of others: nothing. With "gpu", an executor of one thread has
  /// CUDA_VISIBLE_DEVICES set to them during the call; with several threads, which share their
  /// environment, the task has to look here.
  std::map<std::string, std::vector<std::string>> resources() const;
  std::size_t n_inputs() const;
  std::size_t n_outputs() const;

  /// An output as the client declared it.
  struct OutputSpec {
    DataObjectId id;
    std::string label, content_type;
    bool is_directory = false;
    Value::Map attributes;
  };
  /// Throws std::out_of_range.
  OutputSpec output_spec(std::size_t index) const;

  /// Null when the task has none.
  const Value& config() const;
  /// User attributes that the client gave the task.
  Value::Map get_attributes() const;
  /// One of them, or null.
  Value get_attribute(const std::string& key) const;
  /// An attribute of the finished (or failed) task that the client will see.
  void set_attribute(const std::string& key, const Value& value);
  /// A line for the one who looks at the task later; lines are joined by newlines. If the process
  /// dies, they are in the failure.
  void debug(const std::string& message);
  /// A line for the client's log, at once: Python's logger "rain.executor.<type>" has it while the
  /// task runs. At most 8 KiB, longer ones are cut. Never waits: what is written faster than it can
  /// be sent is dropped, and counted. Under a governor that knows no log (Rain 0.4), and in tests
  /// without one, it goes to stderr.
  void log(LogLevel level, const std::string& message);

  /// True when nobody wants the result any more: a long task should look now and then, and return
  /// (anything) if so. Costs a memory access.
  bool cancelled() const;

  /// Room for an output of `size_bytes`, in shared memory if it is large. Throws StoreFull, which
  /// may be left to become the task's error.
  MutableBlob alloc(std::size_t size_bytes);
  /// The same for `count` items of type T.
  template <class T>
  MutableBlob alloc(std::size_t count) {
    if (count > static_cast<std::size_t>(-1) / 2 / sizeof(T)) throw std::bad_alloc();
    return alloc(count * sizeof(T));
  }
  /// Room for an output that is an array of these extents, items undefined:
  /// `ctx.alloc_array<double>({rows, columns})`. It carries dtype and shape.
  template <class T, std::size_t N>
  MutableArray<T, N> alloc_array(const std::size_t (&shape)[N]) {
    std::array<std::size_t, N> extents;
    for (std::size_t i = 0; i < N; ++i) extents[i] = shape[i];
    return alloc_array<T>(extents);
  }
  /// The same, for what shape() of another array gives.
  template <class T, std::size_t N>
  MutableArray<T, N> alloc_array(const std::array<std::size_t, N>& shape) {
    std::size_t items = 1;
    for (std::size_t extent : shape) {
      if (extent != 0 && items > static_cast<std::size_t>(-1) / 2 / extent) throw std::bad_alloc();
      items *= extent;
    }
    return MutableArray<T, N>(alloc<T>(items), shape);
  }

 private:
  friend struct executor::Access;
  Context();

  std::unique_ptr<executor::CallState> state_;
};

}  // namespace tasklib
