// What the Runtime tells of tasks of hosted sessions (remote/hosted_session.h).

#include "runtime.h"

namespace rain {

remote::TaskUpdate Runtime::update_of(const graph::TaskRecord& task,
                                      const std::unordered_set<std::int32_t>& lent) const {
  remote::TaskUpdate update;
  update.id = task.id.id;
  update.state = task.state.load(std::memory_order_acquire);
  update.run_time = task.run_time;
  update.failure = task.failure;
  update.copied_bytes = task.copied_bytes;
  update.executor = task.executor.value;
  if (const auto pid = pids_.find(task.executor); pid != pids_.end()) update.pid = pid->second;
  const bool finished = update.state == graph::TaskState::finished;
  if (update.state == graph::TaskState::failed && task.failure)
    update.attempts = static_cast<std::uint32_t>(task.failure->attempts.size());
  else
    update.attempts =
        (task.extras ? static_cast<std::uint32_t>(task.extras->attempts.size()) : 0) + finished;
  if (task.result) {
    const auto& result = static_cast<const TaskResult&>(*task.result);
    update.info = result.info;
    update.printed = result.printed;
    update.stdout_path = result.stdout_path;
    update.stderr_path = result.stderr_path;
  }
  if (!finished) return update;
  update.outputs.reserve(task.outputs.size());
  for (const auto& output : task.outputs) {
    auto& object = update.outputs.emplace_back();
    object.id = output->id.id;
    if (const auto* info = result_of(*output)) object.info = *info;
    const auto* data = static_cast<const Data*>(output->data.get());
    if (!data) {  // dropped: nobody needs it but for the sum
      if (task.outputs.size() == 1) object.size_bytes = task.output_bytes;
      continue;
    }
    object.size_bytes = data->size_bytes;
    object.is_directory = data->is_directory();
    if (output->kept.load(std::memory_order_relaxed) && !object.is_directory &&
        data->size_bytes < kInlineLimitBytes && (lent.empty() || !lent.contains(object.id)))
      object.content = data->bytes().text();
  }
  return update;
}

}  // namespace rain
