// Who holds data: what Client.store() tells of each blob beyond its place.

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "runtime.h"

namespace rain {

using tasklib::base::DataObjectId;

std::vector<BlobLine> Runtime::blobs_with_holders() const {
  std::vector<BlobLine> lines = blobs();
  if (open_ == nullptr) return lines;
  std::unordered_map<DataObjectId, std::size_t> index;
  for (std::size_t i = 0; i < lines.size(); ++i) index.emplace(lines[i].id, i);

  std::unordered_set<const graph::ObjectData*> listed;  // of slices the whole
  std::unordered_map<DataObjectId, graph::TaskId> producers;
  for (const auto& session : *open_) {
    for (const auto& object : session->holding) {
      listed.insert(&whole_of(*object->data));
      if (object->producer) producers.emplace(object->id, object->producer->id);
    }
    for (const auto& task : session->live) {
      for (const auto& input : task->inputs) {
        const auto found = index.find(input->id);
        if (found == index.end()) continue;
        BlobLine& line = lines[found->second];
        if (line.tasks.size() < BlobLine::kNamedTasks)
          line.tasks.push_back({task->id, methods_.name(task->method)});
        ++line.n_tasks;
      }
    }
  }
  for (const FailedInputs::Kept& kept : failed_inputs_.all()) {
    for (std::size_t i = 0; i < kept.inputs.size(); ++i) {
      const graph::ObjectRecord& object = *kept.task->inputs[i];
      if (!kept.inputs[i]) continue;
      if (object.producer) producers.emplace(object.id, object.producer->id);
      const auto [found, is_new] = index.emplace(object.id, lines.size());
      if (is_new) {
        lines.push_back(line_of(object, *kept.inputs[i]));
        lines.back().shared = !listed.insert(&whole_of(*kept.inputs[i])).second;
      }
      auto& holders = lines[found->second].failed_tasks;
      if (holders.empty() || !(holders.back() == kept.task->id)) holders.push_back(kept.task->id);
    }
  }
  for (BlobLine& line : lines) {
    const auto made = producers.find(line.id);
    if (made != producers.end()) line.producer = made->second;
    for (const std::int32_t pid : line.viewers) {
      const auto viewer = std::find_if(sessions_.begin(), sessions_.end(),
                                       [&](const auto& each) { return each.second->pid == pid; });
      line.viewer_types.push_back(viewer == sessions_.end() ? "" : viewer->second->type_name);
    }
  }
  return lines;
}

}  // namespace rain
