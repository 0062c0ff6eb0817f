#include "mirror.h"

#include <algorithm>
#include <string>
#include <utility>

#include "annex.h"
#include "base/errors.h"

namespace rain {

using graph::DataObjectId;
using graph::ObjectRecord;
using graph::ObjectRef;
using graph::SessionRef;
using graph::TaskRecord;
using graph::TaskRef;
using graph::TaskState;
using graph::TimePoint;
using remote::ObjectUpdate;
using remote::TaskUpdate;
using tasklib::base::ProtocolError;

namespace {

std::uint64_t key_of(DataObjectId id) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(id.session)) << 32 |
         static_cast<std::uint32_t>(id.id);
}

RemoteData* remote_data(const ObjectRecord& object) {
  return dynamic_cast<RemoteData*>(object.data.get());
}

/// Ids in a failure count from the session that it happened in.
graph::FailurePtr translated(const graph::FailurePtr& failure, const TaskRecord& task) {
  if (!failure) {
    graph::Failure unknown;
    unknown.kind = graph::FailureKind::cancelled;
    unknown.message = "the task was cancelled where it was to run";
    return std::make_shared<const graph::Failure>(std::move(unknown));
  }
  if (failure->origin.session == -1 || failure->origin.session == task.id.session) return failure;
  graph::Failure named = *failure;
  named.origin.session = task.id.session;
  return std::make_shared<const graph::Failure>(std::move(named));
}

void check(const TaskRecord& task, const TaskUpdate& update) {
  const auto refuse = [&](const std::string& what) {
    throw ProtocolError("update of task " + task.id.to_string() + ": " + what);
  };
  if (!graph::is_terminal(update.state)) refuse("it has not ended");
  if (update.state == TaskState::failed && !update.failure) refuse("it failed and doesn't say why");
  if (update.state != TaskState::finished) return;
  if (update.outputs.size() != task.outputs.size())
    refuse(std::to_string(update.outputs.size()) + " outputs instead of " +
           std::to_string(task.outputs.size()));
  for (std::size_t i = 0; i < update.outputs.size(); ++i)
    if (update.outputs[i].id != task.outputs[i]->id.id)
      refuse("output " + std::to_string(i) + " is object " + std::to_string(update.outputs[i].id));
}

}  // namespace

// ---- LiveTasks ----------------------------------------------------------------------------------

LiveTasks::Page* LiveTasks::page_of(std::int32_t id) const {
  const std::uint32_t number = static_cast<std::uint32_t>(id) / kPage;
  if (last_page_ && number == last_) return last_page_;
  const auto found = pages_.find(number);
  if (found == pages_.end()) return nullptr;
  last_ = number;
  last_page_ = found->second.get();
  return last_page_;
}

void LiveTasks::add(TaskRecord& task) {
  const auto id = static_cast<std::uint32_t>(task.id.id);
  Page* page = page_of(task.id.id);
  if (!page) page = (pages_[id / kPage] = std::make_unique<Page>()).get();
  page->tasks[id % kPage] = &task;
  ++page->count;
}

TaskRecord* LiveTasks::find(std::int32_t id) const {
  Page* page = page_of(id);
  return page ? page->tasks[static_cast<std::uint32_t>(id) % kPage] : nullptr;
}

void LiveTasks::remove(std::int32_t id) {
  Page* page = page_of(id);
  if (!page) return;
  TaskRecord*& entry = page->tasks[static_cast<std::uint32_t>(id) % kPage];
  if (!entry) return;
  entry = nullptr;
  if (--page->count > 0) return;
  last_page_ = nullptr;
  pages_.erase(static_cast<std::uint32_t>(id) / kPage);
}

// ---- what happens here --------------------------------------------------------------------------

Mirror::Mirror(graph::Core& core, std::shared_ptr<const MethodTable> methods)
    : core_(core), methods_(std::move(methods)) {}

void Mirror::opened(const SessionRef& session) {
  sessions_.try_emplace(session->id);
  outgoing_->push(
      remote::Opened{session->id, session->name, session->on_error == graph::OnError::continue_});
}

void Mirror::submitted(const SessionRef& session, std::vector<TaskRef> tasks) {
  if (tasks.empty()) return;
  LiveTasks& live = sessions_[session->id];
  const auto submission = std::make_shared<remote::Submission>();
  bool in_order = true;
  for (const TaskRef& task : tasks) {
    live.add(*task);
    for (const ObjectRef& input : task->inputs) {
      if (!input->data) {
        in_order &= input->producer == nullptr || input->producer->id.id < task->id.id;
        continue;
      }
      if (remote_data(*input)) continue;
      // Small ones are inside of each batch that needs them, but for those that are there still.
      if (!dynamic_cast<const InlineData*>(input->data.get()))
        input->lent = true;
      else if (input->lent)
        continue;
      submission->constants.try_emplace(input->id.id,
                                        std::static_pointer_cast<const Data>(input->data));
    }
  }
  if (!in_order)  // an input was given to a task after its creation
    std::stable_sort(tasks.begin(), tasks.end(),
                     [](const TaskRef& a, const TaskRef& b) { return a->depth < b->depth; });
  submission->session = session;
  submission->tasks = std::move(tasks);
  submission->methods = methods_;
  submission->run_means = run_means_;
  outgoing_->push(remote::Submitted{submission});
}

void Mirror::closed(const graph::SessionRecord& session) {
  if (sessions_.erase(session.id) == 0) return;
  flush();
  outgoing_->push(remote::Closed{session.id});
}

void Mirror::changed(const graph::TaskChanged& command) {
  TaskRecord& task = *command.task;
  if (command.to == TaskState::ready) {
    if (!early_.empty()) {
      if (auto update = early_.extract(&task)) {
        if (!graph::is_terminal(task.state)) apply(task, update.mapped(), command.when);
        return;
      }
    }
    if (!early_starts_.empty() && early_starts_.erase(&task) > 0) start(task, command.when);
    return;
  }
  if (!graph::is_terminal(command.to)) return;
  if (!early_.empty()) early_.erase(&task);
  if (!early_starts_.empty()) early_starts_.erase(&task);
  if (const auto own = sessions_.find(task.id.session); own != sessions_.end())
    own->second.remove(task.id.id);
  if (command.to == TaskState::finished || task.session->closed) {
    told_.erase(&task);
    return;
  }
  for (const ObjectRef& output : task.outputs)  // it may have finished there
    if (output->lent.exchange(false, std::memory_order_relaxed))
      unkept_[task.id.session].push_back(output->id.id);
  if (told_.erase(&task) == 0 && command.to != TaskState::failed)
    cancelled_[task.id.session].push_back(task.id.id);
}

void Mirror::dropped(const graph::DropData& command) {
  const ObjectRecord& object = *command.object;
  if (!wanted_.empty()) wanted_.erase(key_of(object.id));
  if (object.session->closed) return;
  if (command.object->lent.exchange(false, std::memory_order_relaxed))
    unkept_[object.id.session].push_back(object.id.id);
}

void Mirror::flush() {
  runs_.clear();
  if (cancelled_.empty() && unkept_.empty()) return;
  for (auto& [session, tasks] : std::exchange(cancelled_, {}))
    if (sessions_.count(session)) outgoing_->push(remote::Cancelled{session, std::move(tasks)});
  for (auto& [session, objects] : std::exchange(unkept_, {}))
    if (sessions_.count(session)) outgoing_->push(remote::Unkept{session, std::move(objects)});
}

// ---- what is said of it -------------------------------------------------------------------------

void Mirror::apply(std::int32_t session, remote::Updates updates, TimePoint now) {
  const auto own = sessions_.find(session);
  const auto find = [&](std::int32_t id) {
    return own == sessions_.end() ? nullptr : own->second.find(id);
  };
  for (TaskUpdate& update : updates.ends) {
    TaskRecord* task = find(update.id);
    if (!task || graph::is_terminal(task->state)) {
      ++late_;
      continue;
    }
    check(*task, update);
    apply(*task, update, now);
  }
  // Last: the inputs may have finished just now.
  for (const std::int32_t id : updates.started)
    if (TaskRecord* task = find(id)) start(*task, now);
}

/// What has ended stays so: it may run again there because what it had made was lost.
void Mirror::start(TaskRecord& task, TimePoint now) {
  if (task.state == TaskState::waiting) {
    if (!early_.contains(&task)) early_starts_.insert(&task);
  } else if (task.state == TaskState::ready) {
    core_.on_mirrored_start(task, now);
  }
}

void Mirror::apply(TaskRecord& task, TaskUpdate& update, TimePoint now) {
  if (update.state != TaskState::cancelled && task.state == TaskState::waiting) {
    const auto [early, is_first] = early_.try_emplace(&task, std::move(update));
    if (is_first) return;
    if (early->second.state != TaskState::aborted)
      ++late_;
    else
      early->second = std::move(update);
    return;
  }
  // With OnError::fail nothing but a failure may keep a task from running.
  if (update.state == TaskState::aborted && task.session->on_error == graph::OnError::fail)
    update.state = TaskState::failed;
  if (update.state == TaskState::cancelled || update.state == TaskState::aborted)
    told_.insert(&task);
  ending_.state = update.state;
  ending_.run_time = update.run_time;
  ending_.failure =
      update.state == TaskState::finished ? nullptr : translated(update.failure, task);
  ending_.outputs.clear();
  take_results(task, update);
  if (update.state == TaskState::finished) run_means_->measured(task.method, update.run_time);
  core_.on_mirrored(task, ending_, now);
}

void Mirror::take_results(TaskRecord& task, TaskUpdate& update) {
  task.executor = graph::ExecutorId{update.executor};
  task.copied_bytes = update.copied_bytes;
  if (notes_runs_) runs_[&task] = {update.pid, update.attempts};
  const auto& said = update.info;
  if (!said.debug.empty() || !said.user.empty() || !said.governor.empty() ||
      !update.printed.empty()) {
    auto result = std::make_unique<TaskResult>();
    result->info = std::move(update.info);
    result->printed = update.printed;
    result->stdout_path = std::move(update.stdout_path);
    result->stderr_path = std::move(update.stderr_path);
    task.result = std::move(result);
  }
  if (update.state != TaskState::finished) return;
  for (std::size_t i = 0; i < task.outputs.size(); ++i) {
    ObjectUpdate& output = update.outputs[i];
    if (output.content) {
      ending_.outputs.push_back(
          std::make_shared<InlineData>(tasklib::base::ByteView(std::string_view(*output.content))));
      let_go_there(*task.outputs[i]);
    } else {
      ending_.outputs.push_back(
          std::make_shared<RemoteData>(output.size_bytes, output.is_directory));
    }
    auto& info = output.info;
    if (info.content_type.empty() && info.user.empty() && info.debug.empty()) continue;
    auto result = std::make_unique<ObjectResult>();
    result->info = std::move(info);
    result->info.size = output.size_bytes;
    task.outputs[i]->result = std::move(result);
  }
}

/// Its bytes are here: a later submit takes them along, and they can't be lost with a governor.
void Mirror::let_go_there(ObjectRecord& object) {
  if (object.unfinished_consumers > 0) return;  // they were told that it is there
  if (object.lent.exchange(false, std::memory_order_relaxed))
    unkept_[object.id.session].push_back(object.id.id);
}

Mirror::Run Mirror::run_of(const TaskRecord& task) const {
  const auto found = runs_.find(&task);
  return found == runs_.end() ? Run() : found->second;
}

// ---- data ---------------------------------------------------------------------------------------

std::vector<DataObjectId> Mirror::ask_for(const std::vector<ObjectRef>& objects) {
  std::vector<DataObjectId> ids;
  for (const ObjectRef& object : objects) {
    const RemoteData* data = remote_data(*object);
    if (!data || data->local) continue;
    wanted_.try_emplace(key_of(object->id), object);
    ids.push_back(object->id);
  }
  return ids;
}

bool Mirror::supply(DataObjectId object, std::shared_ptr<Data> data) {
  const auto wanted = wanted_.extract(key_of(object));
  if (!wanted) return false;
  RemoteData* remote = remote_data(*wanted.mapped());
  if (!remote) return false;
  if (data->is_directory() != remote->is_directory())
    throw ProtocolError(
        "object " + object.to_string() + " is a " +
        (remote->is_directory() ? "directory, but bytes" : "blob, but a directory") + " came");
  remote->size_bytes = data->size_bytes;  // its task may have run again meanwhile
  remote->local = std::move(data);
  remote->was_viewed = false;
  return true;
}

bool Mirror::let_go(const std::vector<SessionRef>& sessions) {
  bool any = false;
  for (const SessionRef& session : sessions) {
    for (const ObjectRef& object : session->holding) {
      RemoteData* data = remote_data(*object);
      if (!data || !data->was_viewed || data->local.use_count() != 1) continue;
      if (dynamic_cast<const InlineData*>(data->local.get())) continue;
      data->local.reset();
      any = true;
    }
  }
  return any;
}

}  // namespace rain
