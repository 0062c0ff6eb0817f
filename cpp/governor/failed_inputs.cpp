#include "failed_inputs.h"

#include <algorithm>
#include <utility>

namespace rain {

void FailedInputs::failed(const graph::TaskRef& task) {
  if (task->inputs.empty()) return;
  forget_abandoned();
  const auto of_session = std::count_if(kept_.begin(), kept_.end(), [&](const Kept& kept) {
    return kept.task->session == task->session;
  });
  if (of_session >= static_cast<std::ptrdiff_t>(kPerSession)) return;
  Kept kept{task, {}};
  for (const auto& input : task->inputs) {
    kept.inputs.push_back(input->data);
    if (!input->data) ++awaited_;
  }
  kept_.push_back(std::move(kept));
}

void FailedInputs::dropped(const graph::ObjectRecord& object,
                           const std::shared_ptr<graph::ObjectData>& data) {
  if (awaited_ == 0) return;
  for (Kept& kept : kept_) {
    for (std::size_t i = 0; i < kept.inputs.size(); ++i) {
      if (kept.inputs[i] || kept.task->inputs[i].get() != &object) continue;
      kept.inputs[i] = data;
      --awaited_;
    }
  }
}

const std::vector<std::shared_ptr<graph::ObjectData>>* FailedInputs::find(
    const graph::TaskRecord& task) const {
  for (const Kept& kept : kept_)
    if (kept.task.get() == &task) return &kept.inputs;
  return nullptr;
}

template <class Condition>
void FailedInputs::forget_if(Condition condition) {
  if (std::erase_if(kept_, condition) == 0) return;
  awaited_ = 0;
  for (const Kept& kept : kept_)
    awaited_ +=
        static_cast<std::size_t>(std::count(kept.inputs.begin(), kept.inputs.end(), nullptr));
}

void FailedInputs::forget(const graph::SessionRecord& session) {
  forget_if([&](const Kept& kept) { return kept.task->session == &session; });
}

void FailedInputs::forget_abandoned() {
  forget_if([](const Kept& kept) { return kept.task->use_count() == 1; });
}

bool FailedInputs::forget_all() {
  awaited_ = 0;
  return !std::exchange(kept_, {}).empty();
}

}  // namespace rain
