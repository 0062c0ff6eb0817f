#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "tasklib/executor.h"
#include "tasklib/signature.h"

namespace tasklib::executor {

/// A function and how long its calls took lately.
struct Method {
  TaskFunction function;
  std::unique_ptr<const Signature> typed;  // none: it takes and gives what it likes
  /// Decaying maximum; decides whether finished results may wait for one more call.
  std::atomic<std::int64_t> recent_max_ns{std::int64_t{1} << 60};
};

/// By task type ("executor/function").
using Methods = std::unordered_map<std::string, Method>;

/// The error of a call of `task_type` when executor `type` has no such method.
std::string unknown_method(const std::string& type, const Methods& methods,
                           const std::string& task_type);

/// Runs the function. What it does wrong (an exception, a number of outputs that is not declared,
/// an output that is null) is the context's error afterwards; a cancelled call may give what it
/// likes.
void run_function(const TaskFunction& function, Context& context, DataInstanceVec& inputs,
                  DataInstanceVec& outputs);

}  // namespace tasklib::executor
