#include "reproduce.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>

#include "base/syscall.h"
#include "base/unique_fd.h"
#include "builtin/file_data.h"
#include "builtin/tree.h"
#include "governor.h"
#include "runtime.h"
#include "wire/codec.h"

namespace rain {

using tasklib::base::ByteView;
using tasklib::base::checked;
using tasklib::base::UniqueFd;

namespace {

constexpr std::size_t kFrameHeaderBytes = 4;

UniqueFd create(const std::string& path) {
  return UniqueFd(checked("open", path, [&] {
    return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  }));
}

}  // namespace

Runtime::CallToReproduce Runtime::call_to_reproduce(const graph::TaskRecord& task) const {
  if (task.type < offers_.size() && offers_[task.type].is_foreign)
    throw UsageError("executor '" + specs_[task.type].name +
                     "' is built with a library of Rain 0.4 (protocol cbor-1), which can't run a "
                     "task alone; build it with this one");
  CallToReproduce reproduced;
  const auto* kept = failed_inputs_.find(task);
  for (std::size_t i = 0; i < task.inputs.size(); ++i) {
    auto data = kept ? (*kept)[i] : task.inputs[i]->data;
    if (const auto* remote = dynamic_cast<const RemoteData*>(data.get())) data = remote->local;
    if (!data) {
      const bool unfinished = task.inputs[i]->state == graph::ObjectState::unfinished;
      const std::string which = "input " + std::to_string(i) + " of task " + task.id.to_string();
      if (mirror_ && !unfinished && task.inputs[i]->producer)
        throw UsageError(which + ", " + describe(*task.inputs[i]) +
                         ", is gone where it was made: governors elsewhere keep nothing for "
                         "reproduce(). keep() it before it is submitted, and run the task again");
      throw UsageError(
          unfinished
              ? which + " is not finished yet"
              : which + " is gone: inputs stay for the first " +
                    std::to_string(FailedInputs::kPerSession) +
                    " failed tasks of a session, while it is open and memory is not short. For "
                    "any other task keep() the inputs before they are submitted");
    }
    reproduced.inputs.push_back(std::static_pointer_cast<Data>(std::move(data)));
  }
  fill_call(reproduced.call, task);
  for (std::size_t i = 0; i < task.inputs.size(); ++i)
    reproduced.call.inputs[i].info->size = reproduced.inputs[i]->size_bytes;
  // Which ones a call has is forgotten with its end: any will do.
  if (!task.extras) return reproduced;
  for (std::size_t i = 0; i < task.extras->resources.size(); ++i) {
    auto& [name, ids] = reproduced.call.spec.resources[i];
    if (!ids.empty()) continue;
    const auto count = task.extras->resources[i].amount / graph::kResourceUnit;
    for (const graph::Resource& resource : resources_)
      if (resource.name == name)
        for (std::size_t j = 0; j < count && j < resource.ids.size(); ++j)
          ids.push_back(resource.ids[j]);
  }
  return reproduced;
}

void write_reproduced(tasklib::wire::Call call, const std::vector<std::shared_ptr<Data>>& inputs,
                      const std::string& directory) {
  const std::string folder = directory + "/inputs";
  checked("mkdir", folder, [&] { return ::mkdir(folder.c_str(), 0777); });
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Data& data = *inputs[i];
    const std::string name = "inputs/" + std::to_string(i);
    const std::string path = directory + "/" + name;
    if (data.is_directory()) {
      builtin::copy_tree(data.path(), path, builtin::Copy::writable);
    } else {
      builtin::write_data(data, create(path).get(), path, nullptr);
    }
    // As the task saw it: a path, or bytes, which lie in the file of that name.
    if (data.is_on_disk()) {
      call.inputs[i].location = tasklib::wire::Path{name};
    } else {
      call.inputs[i].location = tasklib::wire::Memory{};
    }
  }
  std::string frame;
  tasklib::wire::encode_frame(frame, call, tasklib::wire::Protocol::cbor2);
  const std::string path = directory + "/call";
  const InlineData payload(ByteView(std::string_view(frame).substr(kFrameHeaderBytes)));
  builtin::write_data(payload, create(path).get(), path, nullptr);
}

}  // namespace rain
