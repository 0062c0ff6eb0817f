#include "executor/method.h"

#include <algorithm>
#include <vector>

#include "executor/access.h"
#include "executor/call.h"
#include "executor/failure.h"

namespace tasklib::executor {

std::string unknown_method(const std::string& type, const Methods& methods,
                           const std::string& task_type) {
  const auto slash = task_type.find('/');
  if (slash == std::string::npos)
    return "Task type '" + task_type + "' has no '/': it must be '" + type + "/<method>'";
  if (task_type.compare(0, slash, type) != 0 || slash != type.size())
    return "Task type '" + task_type + "' is for executor '" + task_type.substr(0, slash) +
           "', but this is executor '" + type + "'";
  std::vector<std::string> names;
  for (const auto& each : methods) names.push_back(each.first.substr(type.size() + 1));
  std::sort(names.begin(), names.end());
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  return "Method '" + task_type + "' not found in executor '" + type +
         "'; it has: " + (known.empty() ? "none" : known);
}

void run_function(const TaskFunction& function, Context& context, DataInstanceVec& inputs,
                  DataInstanceVec& outputs) {
  CallState& state = Access::state(context);
  try {
    function(context, inputs, outputs);
  } catch (...) {
    state.failed = true;
    state.error = describe_current_exception(context.task_type());
  }
  if (state.failed || state.cancel_seen.load(std::memory_order_relaxed)) return;
  if (outputs.size() != context.n_outputs()) {
    context.set_error("Task produced " + std::to_string(outputs.size()) +
                      " outputs, but expected " + std::to_string(context.n_outputs()));
    return;
  }
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i]) continue;
    context.set_error("output " + std::to_string(i) +
                      " is null: an instance can be moved into the outputs only once; use share() "
                      "for another one");
    return;
  }
}

}  // namespace tasklib::executor
