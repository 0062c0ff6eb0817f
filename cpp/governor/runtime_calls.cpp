// The Runtime's calls: what is sent, and what becomes of the results.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/errors.h"
#include "base/syscall.h"
#include "runtime.h"

namespace rain {

using graph::Failure;
using graph::FailureKind;
using graph::FailurePtr;
using graph::TaskRecord;
using graph::TaskState;
using process::InFlight;
using tasklib::base::ByteView;
using tasklib::base::checked;
using tasklib::base::Clock;
using tasklib::base::DataObjectId;
using tasklib::base::Duration;
using tasklib::base::ProtocolError;
using tasklib::base::StoreFull;
using tasklib::base::SystemError;
using tasklib::base::TimePoint;
using tasklib::base::UniqueFd;
using tasklib::wire::BlobRef;
using tasklib::wire::DataType;
using tasklib::wire::Protocol;

namespace {

/// Requests for room that an executor may have open beyond one for each of its threads.
constexpr std::uint32_t kSpareLeaseRequests = 64;

/// A year: what an executor says its task took is added to times.
constexpr std::uint64_t kLongestRunNanoseconds = 365ull * 24 * 3600 * 1'000'000'000;

std::string text_of(const BlobRef& ref) {
  return "blob of " + std::to_string(ref.size_bytes) + " bytes at offset " +
         std::to_string(ref.offset_bytes) + " of region " + std::to_string(ref.region.value);
}

FailurePtr make_failure(FailureKind kind, const TaskRecord& task, std::string message) {
  auto failure = std::make_shared<Failure>();
  failure->kind = kind;
  failure->origin = task.id;
  failure->message = std::move(message);
  return failure;
}

/// When the call began to run, as its executor tells; 0: it doesn't, or can't be believed.
TimePoint began_of(const tasklib::wire::Result& result, Duration run_time, TimePoint now) {
  const auto now_ns = static_cast<std::uint64_t>(Duration(now.time_since_epoch()).count());
  if (result.began_ns > now_ns) return {};
  const TimePoint began{Duration(result.began_ns)};
  return run_time <= now - began ? began : TimePoint{};
}

std::string not_an_input(DataObjectId id) {
  return "Object DataObjectId { session_id: " + std::to_string(id.session) +
         ", id: " + std::to_string(id.id) +
         " } not found: only the task's own inputs can be passed through";
}

/// A task's output could not be taken: the task's own error, the executor stays.
class OutputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace

void Runtime::send_call(const graph::SendCall& command) {
  if (is_builtin(command.task->type)) return builtin_.send_call(command);
  auto found = sessions_.find(command.executor);
  if (found == sessions_.end()) return;  // its end is on the way to the Core
  Session& session = *found->second;
  TaskRecord& task = *command.task;
  if (task.executor != command.executor || task.state != graph::TaskState::assigned) {
    return;  // it ended after the Core said this; what follows takes the call back
  }
  auto& call = scratch_call_;
  InFlight flight;
  flight.task = command.task;
  if (session.protocol() == Protocol::cbor1) flight.sent = Clock::now();
  try {
    fill_call(call, task);
    for (std::size_t i = 0; i < task.inputs.size(); ++i)
      fill_location(session, call.inputs[i], *task.inputs[i], flight.views);
    session.send_call(call, std::move(flight));
    if (task.extras && task.extras->memory_bytes > 0) {
      memory_calls_[session.id].push_back({command.task, task.sequence});
      if (!sample_at_) sample_at_ = Clock::now() + kSampleInterval;
    }
    dirty_.push_back(&session);
  } catch (const std::exception& error) {
    end_views(session, flight, {});
    core_.on_task_failed(command.executor, task,
                         make_failure(FailureKind::task, task,
                                      std::string("The call could not be sent: ") + error.what()),
                         Duration{0}, Clock::now());
  }
}

/// What a call says but for where its inputs are. `call` may be one of before, whose memory is used
/// again.
void Runtime::fill_call(tasklib::wire::Call& call, const TaskRecord& task) const {
  const TaskAnnex* annex = annex_of(task);
  call.spec.id = task.id;
  call.spec.task_type = methods_.name(task.method);
  call.spec.cpus = task.cpus;
  call.spec.resources.clear();
  if (task.extras) fill_resources(call.spec, *task.extras);
  call.spec.inputs.resize(task.inputs.size());
  call.spec.outputs.resize(task.outputs.size());
  call.inputs.resize(task.inputs.size());
  call.outputs.resize(task.outputs.size());
  call.spec.name = annex ? annex->name : std::string();
  call.spec.config = annex ? annex->config : std::string();
  if (annex) {
    call.spec.user = annex->user;
  } else {
    call.spec.user.clear();
  }
  const auto describe = [](tasklib::wire::ObjectIn& entry, const graph::ObjectRecord& object) {
    const ObjectAnnex* own = annex_of(object);
    entry.spec.id = object.id;
    entry.spec.label = own ? own->label : std::string();
    entry.spec.content_type = own ? own->content_type : std::string();
    entry.spec.data_type = own ? own->data_type : DataType::blob;
    if (own) {
      entry.spec.user = own->user;
    } else {
      entry.spec.user.clear();
    }
    entry.cache_hint = true;
  };
  for (std::size_t i = 0; i < task.inputs.size(); ++i) {
    const auto& object = *task.inputs[i];
    auto& input = call.inputs[i];
    call.spec.inputs[i].id = object.id;
    call.spec.inputs[i].label =
        annex && !annex->input_labels.empty() ? annex->input_labels[i] : std::string();
    describe(input, object);
    if (!input.info) input.info.emplace();
    if (const auto* info = result_of(object)) {
      *input.info = *info;
    } else {
      *input.info = {};
    }
  }
  for (std::size_t i = 0; i < task.outputs.size(); ++i) {
    call.spec.outputs[i] = task.outputs[i]->id;
    describe(call.outputs[i], *task.outputs[i]);
  }
}

void Runtime::fill_resources(tasklib::wire::TaskSpec& spec, const graph::TaskExtras& extras) const {
  for (const graph::ResourceAmount& asked : extras.resources) {
    auto& [name, ids] = spec.resources.emplace_back();
    name = asked.name;
    for (const graph::Grant& grant : extras.grants) {
      const graph::Resource& resource = resources_[grant.resource];
      if (resource.name != name) continue;
      for (const std::uint32_t index : grant.indices) ids.push_back(resource.ids[index]);
    }
  }
}

std::optional<std::string> Runtime::visible_devices(const TaskRecord& task) const {
  if (!task.extras) return {};
  tasklib::wire::TaskSpec spec;
  fill_resources(spec, *task.extras);
  for (const auto& [name, ids] : spec.resources) {
    if (name != "gpu") continue;
    std::string variable = "CUDA_VISIBLE_DEVICES=";
    for (std::size_t i = 0; i < ids.size(); ++i) variable += (i == 0 ? "" : ",") + ids[i];
    return variable;
  }
  return {};
}

void Runtime::fill_location(Session& session, tasklib::wire::ObjectIn& input,
                            const graph::ObjectRecord& object, std::vector<BlobRef>& views) {
  auto& data = static_cast<Data&>(*object.data);
  input.info->size = data.size_bytes;
  touch(data);

  if (session.protocol() == Protocol::cbor1) {
    if (session.cached.count(object.id)) {
      input.location = tasklib::wire::Cached{};
    } else if (data.size_bytes >= kPathLimitBytes || data.is_on_disk()) {
      input.location = tasklib::wire::Path{data.path(data_directory_)};
    } else {
      input.location = tasklib::wire::Memory{data.bytes()};
    }
    return;
  }
  const auto* slice = dynamic_cast<const SliceData*>(&data);
  if (auto* blob = dynamic_cast<BlobData*>(&whole_of(data))) {
    const bool new_region = store_.add_view(session.id, blob->ref);
    views.push_back(blob->ref);
    if (new_region) {
      tasklib::wire::Region region;
      region.id = blob->region->id();
      region.size_bytes = blob->region->size_bytes();
      session.send(region, blob->region->open_read_only());
    }
    input.location = slice ? slice->ref_in(*blob) : blob->ref;
    return;
  }
  views.push_back(BlobRef{});
  if (slice && session.takes_slices()) {
    input.location =
        tasklib::wire::FileSlice{slice->whole->path(), slice->offset_bytes, slice->size_bytes};
    return;
  }
  if (slice) {
    input.location = tasklib::wire::Path{data.path(data_directory_)};
    return;
  }
  if (data.is_on_disk()) {
    input.location = tasklib::wire::Path{data.path()};
  } else {
    input.location = tasklib::wire::Memory{data.bytes()};
  }
}

void Runtime::end_views(Session& session, const InFlight& call,
                        const std::vector<std::uint32_t>& held) {
  for (std::size_t i = 0; i < call.views.size(); ++i) {
    if (!call.views[i].region || std::find(held.begin(), held.end(), i) != held.end()) continue;
    end_view(session, call.views[i]);
  }
}

void Runtime::end_view(Session& session, const BlobRef& ref) {
  try {
    store_.drop_view(session.id, ref, Clock::now());
    store_changed_ = true;
  } catch (const ProtocolError& error) {
    put_down(session, "released a blob that it doesn't hold (region " +
                          std::to_string(ref.region.value) + ", offset " +
                          std::to_string(ref.offset_bytes) + "): " + error.what());
  }
}

void Runtime::retract(const graph::Retract& command) {
  if (is_builtin(command.task->type)) return builtin_.retract(command);
  auto found = sessions_.find(command.executor);
  if (found == sessions_.end()) return;
  const auto now = Clock::now();
  Session& session = *found->second;
  const std::uint32_t sequence = command.task->sequence;
  auto call = session.retract(sequence);
  if (call) end_views(session, *call, {});
  if (call || !session.has_call(sequence)) {
    core_.on_retracted(command.executor, *command.task, now);
  } else {
    core_.on_retract_refused(command.executor, *command.task, now);
  }
}

void Runtime::on_result(Session& session, const InFlight& call, tasklib::wire::Result& result) {
  TaskRecord& task = *call.task;
  session.may_have_idle_leases = true;
  const auto now = Clock::now();
  const Duration run_time = session.protocol() == Protocol::cbor2
                                ? Duration(std::min(result.duration_ns, kLongestRunNanoseconds))
                                : Duration(now - call.sent);
  end_views(session, call, result.held);
  for (const auto index : result.held) {
    if (index >= call.views.size() || !call.views[index].region) {
      throw ProtocolError("holds input " + std::to_string(index) + ", which is no shared blob");
    }
  }
  for (const auto& id : result.cached_objects) {
    const bool known = session.cached.count(id) ||
                       std::any_of(task.inputs.begin(), task.inputs.end(),
                                   [&](const auto& input) { return input->id == id; }) ||
                       std::any_of(task.outputs.begin(), task.outputs.end(),
                                   [&](const auto& output) { return output->id == id; });
    if (!known)
      throw ProtocolError("says that it cached object " + id.to_string() +
                          ", which it was never sent");
    if (session.cached.insert(id).second) cached_[id].push_back(session.id);
  }
  // A task that was cancelled meanwhile is terminal already: its result is dropped by the Core.
  const bool wanted = task.state.load(std::memory_order_relaxed) == TaskState::assigned;
  if (result.cancelled) {
    core_.on_task_cancelled(session.id, task, now);
    return;
  }
  std::string error;
  bool store_full = result.info.error.rfind("StoreFull: ", 0) == 0;
  if (!result.success) {
    // Reference 1.7.
    error = result.info.error.empty() ? "Task failed in executor"
                                      : result.info.error + "\nTask failed in executor";
  }
  std::vector<std::shared_ptr<graph::ObjectData>> outputs;
  if (result.success && wanted) {
    try {
      if (result.outputs.size() < task.outputs.size()) {
        throw OutputError("Some of outputs were not produced");
      }
      std::uint64_t copied = result.copied_bytes;
      outputs.reserve(task.outputs.size());
      for (std::size_t i = 0; i < task.outputs.size(); ++i) {
        const auto& object = *task.outputs[i];
        outputs.push_back(take_output(session, task, object, result.outputs[i], copied));
        const bool is_directory = static_cast<const Data&>(*outputs.back()).is_directory();
        const std::string mismatch = builtin::mismatch_text(object, is_directory);
        if (!mismatch.empty()) throw OutputError(mismatch);
      }
      task.copied_bytes = copied;
    } catch (const OutputError& failed) {
      error = failed.what();
    } catch (const StoreFull& full) {
      store_full = true;
      error = full.what();
    } catch (const SystemError& failed) {
      error = failed.what();
    }
  }
  if (wanted) {
    task.began = began_of(result, run_time, now);
    auto& info = result.info;
    task.result.reset();  // of an attempt before
    if (!info.debug.empty() || !info.user.empty() || !result.printed.empty()) {
      auto annex = std::make_unique<TaskResult>();
      annex->info = info;
      annex->printed = result.printed;
      if (!result.printed.empty()) {
        annex->stdout_path = session.stdout_path;
        annex->stderr_path = session.stderr_path;
      }
      task.result = std::move(annex);
    }
  }
  if (error.empty()) {
    if (wanted) {
      for (std::size_t i = 0; i < task.outputs.size(); ++i) {
        auto& info = result.outputs[i].info;
        if (info.content_type.empty() && info.user.empty() && info.debug.empty()) continue;
        auto annex = std::make_unique<ObjectResult>();
        annex->info = std::move(info);
        annex->info.size = outputs[i]->size_bytes;
        task.outputs[i]->result = std::move(annex);
      }
    } else {
      outputs.resize(task.outputs.size());
    }
    core_.on_task_done(session.id, task, std::move(outputs), run_time, now);
  } else {
    auto failure = std::make_shared<Failure>();
    failure->kind = store_full ? FailureKind::store_full : FailureKind::task;
    failure->origin = task.id;
    failure->message = std::move(error);
    failure->debug = result.info.debug;
    failure->pickled = std::move(result.exception);
    core_.on_task_failed(session.id, task, std::move(failure), run_time, now);
  }
}

std::shared_ptr<graph::ObjectData> Runtime::take_output(Session& session, const TaskRecord& task,
                                                        const graph::ObjectRecord& object,
                                                        tasklib::wire::ObjectOut& output,
                                                        std::uint64_t& copied_bytes) {
  if (auto* memory = std::get_if<tasklib::wire::Memory>(&output.location)) {
    const ObjectAnnex* annex = annex_of(object);
    if (annex && annex->data_type == DataType::directory) {
      throw OutputError("Output '" + annex->label +
                        "' is a directory and came in memory (as a tar archive, or as a blob); "
                        "return it as a path inside the executor's directory");
    }
    if (memory->bytes.size < inline_limit_bytes_)
      return std::make_shared<InlineData>(memory->bytes);
    // An executor that knows no regions: into shared memory once, for all who read it later.
    std::shared_ptr<BlobData> blob;
    try {
      blob = allocate(memory->bytes.size);
    } catch (const StoreFull&) {
      const std::string path = spill_path();
      if (path.empty()) throw;
      copied_bytes += memory->bytes.size;
      count_spilled(memory->bytes.size);
      return write_spilled(memory->bytes, path);
    }
    std::memcpy(blob->region->at(blob->ref), memory->bytes.data, memory->bytes.size);
    copied_bytes += memory->bytes.size;
    return blob;
  }
  if (auto* ref = std::get_if<BlobRef>(&output.location)) {
    try {
      store_.seal(session.id, *ref);
    } catch (const ProtocolError& error) {
      throw ProtocolError("sent a " + text_of(*ref) + " as output: " + error.what());
    }
    auto data = std::make_shared<BlobData>(releases_, store_.region(ref->region), *ref);
    data->region->stop_populating();  // it is written: pages to come would be for nobody
    touch(*data);
    return data;
  }
  if (auto* other = std::get_if<tasklib::wire::OtherObject>(&output.location)) {
    for (const auto& input : task.inputs) {
      if (input->id == other->id) {
        const ObjectAnnex* annex = annex_of(*input);
        if (output.info.content_type.empty()) {
          const auto* info = result_of(*input);
          if (info && !info->content_type.empty()) {
            output.info.content_type = info->content_type;
          } else if (annex) {
            output.info.content_type = annex->content_type;
          }
        }
        return input->data;
      }
    }
    throw OutputError(not_an_input(other->id));
  }
  if (auto* slice = std::get_if<tasklib::wire::ObjectSlice>(&output.location)) {
    return take_slice(task, *slice);
  }
  if (auto* path = std::get_if<tasklib::wire::Path>(&output.location)) {
    return take_file(session, object, path->path);
  }
  if (std::get_if<tasklib::wire::Cached>(&output.location)) {
    throw OutputError("Cached result occured in result");
  }
  if (std::get_if<tasklib::wire::FileSlice>(&output.location)) {
    throw ProtocolError("sent part of a file as output");
  }
  throw OutputError("Output " + object.id.to_string() + " came without a location");
}

std::shared_ptr<graph::ObjectData> Runtime::take_slice(const TaskRecord& task,
                                                       const tasklib::wire::ObjectSlice& slice) {
  for (const auto& input : task.inputs) {
    if (input->id != slice.id) continue;
    const auto data = std::static_pointer_cast<Data>(input->data);
    const std::uint64_t size = data->size_bytes;
    if (data->is_directory() || slice.size_bytes > size ||
        slice.offset_bytes > size - slice.size_bytes) {
      throw ProtocolError(
          "sent as output " + std::to_string(slice.size_bytes) + " bytes at offset " +
          std::to_string(slice.offset_bytes) + " of input " + slice.id.to_string() +
          ", which has " +
          (data->is_directory() ? "none, being a directory" : std::to_string(size) + " bytes"));
    }
    return slice_of(data, slice.offset_bytes, slice.size_bytes);
  }
  throw OutputError(not_an_input(slice.id));
}

std::shared_ptr<graph::ObjectData> Runtime::take_file(Session& session,
                                                      const graph::ObjectRecord& object,
                                                      const std::string& path) {
  if (path.empty() || path[0] != '/')
    throw OutputError("Path of dataobject is not absolute: " + path);
  const auto inside = [](const std::string& inner, const std::string& outer) {
    return inner.size() > outer.size() && inner.compare(0, outer.size(), outer) == 0 &&
           inner[outer.size()] == '/';
  };
  if (!inside(path, session.directory)) {
    throw OutputError("Path of dataobject is not in executor dir: " + path + " is outside " +
                      session.directory);
  }
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (!resolved) throw OutputError("Output file " + path + ": " + std::strerror(errno));
  const std::string canonical(resolved);
  ::free(resolved);
  struct stat status;
  if (::stat(canonical.c_str(), &status) != 0) {
    throw OutputError("Output file " + path + ": " + std::strerror(errno));
  }
  const std::string mismatch = builtin::mismatch_text(object, S_ISDIR(status.st_mode));
  if (!mismatch.empty()) throw OutputError(mismatch);  // before it is moved
  char* directory = ::realpath(session.directory.c_str(), nullptr);
  const std::string own = directory ? directory : session.directory;
  ::free(directory);
  // The run directory's path is canonical.
  if (!inside(canonical, own) && !inside(canonical, data_directory_.path())) {
    throw OutputError("Path of dataobject is not in executor dir: " + path + " leads to " +
                      canonical);
  }
  try {
    return take_path(canonical, data_directory_, releases_);
  } catch (const tasklib::base::Error& error) {
    throw OutputError(error.what());
  }
}

void Runtime::on_released(Session& session, const tasklib::wire::Released& message) {
  for (const auto& ref : message.blobs) end_view(session, ref);
}

void Runtime::on_lease_request(Session& session, const tasklib::wire::LeaseRequest& message) {
  const auto waiting =
      std::count_if(waiting_leases_.begin(), waiting_leases_.end(),
                    [&](const WaitingLease& lease) { return lease.executor == session.id; });
  const std::uint32_t at_once = session.traits().threads + kSpareLeaseRequests;
  if (waiting >= static_cast<std::int64_t>(at_once)) {
    throw ProtocolError("asked for room more than " + std::to_string(at_once) +
                        " times without waiting for an answer");
  }
  waiting_leases_.push_back({session.id, message});  // pump() serves it
}

void Runtime::on_lease_returned(Session& session, const tasklib::wire::LeaseReturned& message) {
  for (const auto region : message.regions) store_.return_lease(session.id, region, Clock::now());
  session.leases_asked = false;
  store_changed_ = true;
}

}  // namespace rain
