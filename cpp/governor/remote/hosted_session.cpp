#include "remote/hosted_session.h"

#include <algorithm>

#include "annex.h"
#include "remote/update.h"
#include "wire/codec_parts.h"

namespace rain::remote {

using graph::InvalidGraph;
using graph::ObjectRecord;
using graph::ObjectRef;
using graph::ObjectState;
using graph::TaskRecord;
using graph::TaskRef;

namespace {

bool is_removed(const ObjectRecord& object) {
  return object.state.load(std::memory_order_acquire) == ObjectState::removed;
}

/// Not run because of a task that failed, not of one that was cancelled.
bool is_of_a_failure(const TaskUpdate& update) {
  return update.state != graph::TaskState::aborted || !update.failure->attempts.empty();
}

}  // namespace

HostedSession::HostedSession(const std::shared_ptr<Governor>& governor, std::string name)
    : governor_(governor),
      record_(governor->new_session(std::move(name), graph::OnError::continue_)) {
  governor->watch_starts(record_, queue_);
  queue_->fd();  // from now on it knows what happened before somebody asks
}

HostedSession::~HostedSession() { close(); }

std::shared_ptr<Governor> HostedSession::governor() const {
  auto governor = governor_.lock();
  if (!governor) throw UsageError("the governor of this session is closed");
  return governor;
}

std::uint64_t HostedSession::submit(tasklib::base::ByteView bytes,
                                    std::unordered_map<std::int32_t, Supplied> data) {
  const auto governor = this->governor();
  Home home;
  home.session = record_.get();
  home.method = [&](const std::string& type) { return governor->intern_method(type); };
  home.known = [&](std::int32_t id, bool with_data) {
    return known(*governor, id, with_data || data.contains(id));
  };
  Batch batch = decode_batch(bytes, home);
  leave_out_lost(batch, data);
  fill(batch, data);

  std::vector<ObjectRef> replaced;
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    leave_earlier(batch);
    governor->submit(record_, batch.tasks, batch.objects);
    number = ++last_batch_;
    if (batch.tasks.empty())
      ended_.push_back(number);
    else
      unfinished_[number] = batch.tasks.size();
    for (const TaskRef& task : batch.tasks) {
      live_[task->id.id] = {task, number};
      for (const ObjectRef& output : task->outputs) enter(output, replaced);
    }
    for (const ObjectRef& object : batch.objects) enter(object, replaced);
    lent_.insert(batch.lent.begin(), batch.lent.end());
  }
  if (!replaced.empty()) governor->unkeep(std::move(replaced));
  if (batch.tasks.empty())
    queue_->nudge();
  else
    governor->watch(batch.tasks, queue_);
  return number;
}

/// The record that an input is: one that is here, unless it may go before the batch is submitted.
ObjectRef HostedSession::known(Governor& governor, std::int32_t id, bool with_data) {
  ObjectRef object;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = objects_.find(id); found != objects_.end()) object = found->second;
  }
  if (!object) return {};
  const auto state = object->state.load(std::memory_order_acquire);
  if (state == ObjectState::removed) return {};
  if (state == ObjectState::unfinished || object->kept.load(std::memory_order_relaxed))
    return object;
  if (with_data) return {};
  // Its last consumer may end at any moment: a record of its own for the same data.
  auto view = governor.view(object);
  if (!view) return {};
  ObjectRef again(new ObjectRecord);
  again->id = object->id;
  again->session = object->session;
  again->data = std::const_pointer_cast<Data>(view->keep_alive);
  if (const auto* annex = annex_of(*object)) again->annex = std::make_unique<ObjectAnnex>(*annex);
  if (const auto* info = result_of(*object)) {
    auto result = std::make_unique<ObjectResult>();
    result->info = *info;
    again->result = std::move(result);
  }
  return again;
}

void HostedSession::leave_out_lost(Batch& batch,
                                   const std::unordered_map<std::int32_t, Supplied>& data) {
  std::unordered_set<const ObjectRecord*> lost;
  std::erase_if(batch.objects, [&](const ObjectRef& object) {
    if (object->data) return false;
    const auto found = data.find(object->id.id);
    if (found == data.end() || found->second.data) return false;
    lost.insert(object.get());
    return true;
  });
  const auto is_lost = [&](const TaskRef& task) {
    if (std::ranges::none_of(task->inputs,
                             [&](const ObjectRef& input) { return lost.contains(input.get()); }))
      return false;
    for (const ObjectRef& output : task->outputs) lost.insert(output.get());
    return true;
  };
  // More than once where consumers come before producers.
  if (!lost.empty())
    while (std::erase_if(batch.tasks, is_lost) > 0) {
    }
}

/// Gives new inputs what came with the batch.
void HostedSession::fill(Batch& batch, std::unordered_map<std::int32_t, Supplied>& data) {
  for (const ObjectRef& object : batch.objects) {
    if (object->data) continue;
    const auto found = data.find(object->id.id);
    if (found == data.end())
      throw InvalidGraph("Object " + object->id.to_string() +
                         " is not here: its data came neither with this batch nor with an earlier "
                         "one, or they are gone");
    object->data = found->second.data;
    if (is_empty(found->second.info)) continue;
    auto result = std::make_unique<ObjectResult>();
    result->info = std::move(found->second.info);
    object->result = std::move(result);
  }
}

/// Tasks of the batch may have been here before, if they have ended.
void HostedSession::leave_earlier(const Batch& batch) {
  if (live_.empty()) return;
  std::vector<TaskRef> earlier;
  for (const TaskRef& task : batch.tasks) {
    const auto found = live_.find(task->id.id);
    if (found == live_.end()) continue;
    if (!graph::is_terminal(found->second.task->state.load(std::memory_order_acquire)))
      throw InvalidGraph("Task " + task->id.to_string() + " is at work already");
    earlier.push_back(found->second.task);
  }
  for (const TaskRef& task : earlier) leave(*task);
}

void HostedSession::enter(const ObjectRef& object, std::vector<ObjectRef>& replaced) {
  ObjectRef& entry = objects_[object->id.id];
  if (entry && entry->kept.load(std::memory_order_relaxed)) replaced.push_back(entry);
  entry = object;
}

void HostedSession::leave(const TaskRecord& task) {
  const auto found = live_.find(task.id.id);
  if (found == live_.end() || found->second.task.get() != &task) return;
  end_one_of(found->second.batch);
  keep_log(task);
  for (const ObjectRef& output : task.outputs) forget_if_gone(*output);
  for (const ObjectRef& input : task.inputs) forget_if_gone(*input);
  live_.erase(found);
}

void HostedSession::forget_if_gone(const ObjectRecord& object) {
  if (!is_removed(object)) return;
  const auto found = objects_.find(object.id.id);
  if (found == objects_.end() || found->second.get() != &object) return;
  if (!lent_.empty()) lent_.erase(found->first);
  objects_.erase(found);
}

void HostedSession::end_one_of(std::uint64_t batch) {
  const auto unfinished = unfinished_.find(batch);
  if (--unfinished->second > 0) return;
  unfinished_.erase(unfinished);
  ended_.push_back(batch);
}

void HostedSession::keep_log(const TaskRecord& task) {
  printed_.erase(task.id.id);
  if (!task.result) return;
  const auto& result = static_cast<const TaskResult&>(*task.result);
  if (result.printed.empty()) return;
  const std::pair<std::string, std::string> files{result.stdout_path, result.stderr_path};
  auto found = std::ranges::find(log_files_, files);
  if (found == log_files_.end()) found = log_files_.insert(found, files);
  printed_[task.id.id] = {result.printed, static_cast<std::uint32_t>(found - log_files_.begin())};
}

void HostedSession::cancel(const std::vector<std::int32_t>& ids) {
  std::vector<TaskRef> tasks;
  {
    const std::lock_guard lock(mutex_);
    for (const std::int32_t id : ids)
      if (const auto found = live_.find(id); found != live_.end())
        tasks.push_back(found->second.task);
  }
  if (!tasks.empty()) governor()->cancel(std::move(tasks));
}

void HostedSession::cancel_all() { governor()->cancel_all(record_); }

void HostedSession::unkeep(const std::vector<std::int32_t>& ids) {
  std::vector<ObjectRef> objects;
  {
    const std::lock_guard lock(mutex_);
    for (const std::int32_t id : ids)
      if (const auto found = objects_.find(id); found != objects_.end())
        objects.push_back(found->second);
  }
  if (objects.empty()) return;
  governor()->unkeep(objects);
  const std::lock_guard lock(mutex_);
  for (const ObjectRef& object : objects) forget_if_gone(*object);
}

void HostedSession::close() {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
  }
  if (const auto governor = governor_.lock()) governor->close_session(record_);
  queue_->nudge();
  std::unordered_map<std::int32_t, Live> live;
  std::unordered_map<std::int32_t, ObjectRef> objects;
  const std::lock_guard lock(mutex_);
  live.swap(live_);
  objects.swap(objects_);
  lent_.clear();
  unfinished_.clear();
  ended_.clear();
}

bool HostedSession::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

std::optional<DataView> HostedSession::view(std::int32_t id) {
  ObjectRef object;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = objects_.find(id); found != objects_.end()) object = found->second;
  }
  if (!object) return std::nullopt;
  return governor()->view(object);
}

tasklib::wire::ObjectInfo HostedSession::info(std::int32_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(id);
  if (found == objects_.end() ||
      found->second->state.load(std::memory_order_acquire) != ObjectState::finished)
    return {};
  const auto* info = result_of(*found->second);
  return info ? *info : tasklib::wire::ObjectInfo();
}

HostedSession::Updates HostedSession::take_updates() {
  Updates updates;
  const std::vector<TaskRef> tasks = queue_->take();
  const std::vector<TaskRef> running = queue_->take_started();
  const std::lock_guard lock(mutex_);
  if (closed_) return updates;
  std::vector<TaskRef> told;
  told.reserve(tasks.size());
  for (const TaskRef& task : tasks) {
    const auto state = task->state.load(std::memory_order_acquire);
    if (state != graph::TaskState::cancelled) told.push_back(task);
  }
  std::vector<TaskUpdate> ends;
  if (!told.empty()) ends = governor()->updates(told, lent_);
  std::erase_if(ends, [](const TaskUpdate& end) { return !is_of_a_failure(end); });
  std::vector<std::int32_t> started;
  for (const TaskRef& task : running)
    if (!graph::is_terminal(task->state.load(std::memory_order_acquire)))
      started.push_back(task->id.id);
  if (!ends.empty() || !started.empty()) updates.bytes = encode_updates(ends, std::move(started));
  for (const TaskRef& task : tasks) leave(*task);
  updates.ended = std::exchange(ended_, {});
  return updates;
}

std::optional<HostedSession::Log> HostedSession::log(std::int32_t task) {
  const std::lock_guard lock(mutex_);
  const auto found = printed_.find(task);
  if (found == printed_.end()) return std::nullopt;
  const auto& [out, err] = log_files_[found->second.files];
  return Log{found->second.where, out, err};
}

std::array<std::uint64_t, graph::kTaskStates> HostedSession::states() const {
  return governor()->progress(record_, 0).total;
}

}  // namespace rain::remote
