#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "context.h"
#include "datainstance.h"
#include "executor.h"
#include "types.h"
#include "value.h"

/// Trying tasks without a governor, in this process; for GoogleTest and any other framework:
///
///   tasklib::Executor executor("example1");
///   add_tasks(executor);
///   auto result = tasklib::testing::call(executor, "scale", std::vector<double>{1, 2}, 3.0);
///   EXPECT_EQ(result.get<std::vector<double>>(), (std::vector<double>{3, 6}));
///
/// Inputs are values of the types that typed tasks return, views of them, bytes from a file
/// (FileDataInstance) and what else is a Blob. The task gets them as it would from a governor, and
/// what fails it there fails it here: its own error, an exception, the wrong number of inputs or
/// outputs, inputs of wrong types.
namespace tasklib {
namespace testing {

/// The task has failed; the text is what a client would see.
class TaskError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What a call left. Owns the outputs. Move-only.
class Result {
 public:
  bool failed() const { return failed_; }
  /// Empty unless it failed.
  const std::string& error() const { return error_; }
  /// What the task said with Context::debug.
  const std::string& debug() const { return debug_; }
  /// What it said with Context::set_attribute.
  const Value::Map& attributes() const { return attributes_; }

  std::size_t n_outputs() const { return outputs_.size(); }
  /// Throws TaskError if the task has failed, std::out_of_range if there is no such output.
  const DataInstance& output(std::size_t index = 0) const;
  /// The output as a parameter of type T would have it. Views are valid as long as this. Throws as
  /// output(), and TypeMismatch.
  template <class T>
  T get(std::size_t index = 0) const {
    static_assert(typed::Type<T>::readable, "tasks don't take this type");
    Blob blob = output(index).share();
    return typed::Type<T>::read(blob);
  }

 private:
  friend class Call;
  bool failed_ = false;
  std::string error_, debug_;
  Value::Map attributes_;
  DataInstanceVec outputs_;
};

/// A call of a task that wants more than inputs:
///
///   auto result = Call(executor, "split").config(2).outputs(3).input("some text").run();
class Call {
 public:
  /// `name`: without the executor's type. Keeps a reference to `executor`.
  Call(Executor& executor, const std::string& name) : executor_(executor), name_(name) {}

  template <class T>
  Call& input(T&& value) {
    return add(make(std::forward<T>(value), std::is_convertible<T&&, Blob>()));
  }
  Call& config(const Value& config) {
    config_ = config;
    return *this;
  }
  /// A user attribute of the task.
  Call& attribute(const std::string& key, const Value& value) {
    attributes_[key] = value;
    return *this;
  }
  /// How many outputs the task is asked for. Default: what a typed task returns, 1 for others.
  Call& outputs(std::size_t count) { return outputs(std::vector<std::string>(count)); }
  /// As many outputs as labels.
  Call& outputs(std::vector<std::string> labels) {
    labels_ = std::move(labels);
    asked_ = true;
    return *this;
  }

  /// Runs the task in this thread. Inputs are used up. Throws std::invalid_argument if the executor
  /// has no such task; whatever the task does wrong is in the result.
  Result run();

 private:
  template <class T>
  static Blob make(T&& value, std::true_type) {
    return std::forward<T>(value);
  }
  template <class T>
  static Blob make(T&& value, std::false_type) {
    using Plain = typename std::decay<T>::type;
    static_assert(typed::Type<Plain>::writable, "this type can't be an input");
    return typed::Type<Plain>::write(Plain(std::forward<T>(value)));
  }
  Call& add(Blob input);

  Executor& executor_;
  const std::string name_;
  Value config_;
  Value::Map attributes_;
  std::vector<std::string> labels_;  // of outputs, if asked_
  bool asked_ = false;
  DataInstanceVec inputs_;
};

/// Runs a task and gives what it left, be it an error.
template <class... Inputs>
Result try_call(Executor& executor, const std::string& name, Inputs&&... inputs) {
  Call call(executor, name);
  const int each[] = {0, (call.input(std::forward<Inputs>(inputs)), 0)...};
  static_cast<void>(each);
  return call.run();
}

/// Runs a task and gives its outputs. Throws TaskError if it fails.
template <class... Inputs>
Result call(Executor& executor, const std::string& name, Inputs&&... inputs) {
  Result result = try_call(executor, name, std::forward<Inputs>(inputs)...);
  if (result.failed()) throw TaskError(result.error());
  return result;
}

}  // namespace testing
}  // namespace tasklib
