#include "client.h"

#include <pybind11/stl.h>

#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "base/cpu_limit.h"
#include "blob.h"
#include "builtin/tree.h"
#include "engine.h"
#include "engine_activity.h"
#include "errors.h"
#include "object_data.h"
#include "objects.h"
#include "session_core.h"
#include "values.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using graph::ObjectRef;
using graph::ObjectState;
using graph::TaskRef;
using graph::TaskState;
using tasklib::base::Clock;
using tasklib::base::TimePoint;

std::string text_of(py::handle object) { return py::repr(object); }

}  // namespace

std::vector<graph::Resource> to_resources(const std::vector<ResourceTuple>& tuples) {
  std::vector<graph::Resource> resources;
  for (const auto& [name, total, ids] : tuples) resources.push_back({name, total, ids});
  return resources;
}

std::shared_ptr<Governor> governor_of(const SessionCore* core) {
  if (!core->engine)
    raise("RainException",
          "session " + std::to_string(core->record->id) +
              " has no client: it can only build graphs; use Client().new_session()");
  core->engine->drain();
  return core->engine->governor();
}

TaskRef deciding_task(py::handle item) {
  if (is_task(item.ptr())) return TaskRef(initialised_task(item.ptr())->record);
  if (is_data_object(item.ptr())) return TaskRef(initialised_object(item.ptr())->producer);
  throw py::type_error("Neither Task or DataObject: " + text_of(item));
}

const SessionCore* session_of(py::handle item) {
  return is_task(item.ptr()) ? initialised_task(item.ptr())->session
                             : initialised_object(item.ptr())->session;
}

py::object to_python(std::optional<DataView>& data) {
  if (!data) return py::none();
  if (data->directory)
    return make_directory(std::move(data->keep_alive), data->path, data->size_bytes);
  return make_blob(std::move(data->keep_alive), data->bytes);
}

namespace {

/// Throws SessionClosed.
void check_open(const SessionCore* core) {
  if (core->closed) raise("SessionClosed", "Session is closed");
}

// ---- waiting ------------------------------------------------------------------------------------

std::optional<TimePoint> deadline_after(const std::optional<double>& seconds) {
  constexpr double kForever = 1e9;
  if (!seconds || *seconds >= kForever) return std::nullopt;
  if (std::isnan(*seconds)) throw py::value_error("timeout must not be NaN");
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(std::max(*seconds, 0.0)));
}

/// Releases the GIL, but looks at signals. What a handler throws (KeyboardInterrupt) ends the
/// wait, after `cancel`. False: the time is over.
template <class Call, class Cancel>
bool wait_with_signals(Call&& call, Cancel&& cancel) {
  for (;;) {
    Governor::Wait outcome;
    {
      const py::gil_scoped_release unlocked;
      outcome = call();
    }
    if (outcome == Governor::Wait::done) return true;
    if (outcome == Governor::Wait::timed_out) return false;
    if (PyErr_CheckSignals() == 0) continue;
    const py::error_already_set interruption;
    try {
      const py::gil_scoped_release unlocked;
      cancel();
    } catch (const UsageError&) {  // closed meanwhile: nothing is left to cancel
    }
    throw interruption;
  }
}

/// Tasks and data objects of one client.
struct Items {
  std::shared_ptr<Governor> governor;  // null when there are none
  std::vector<TaskRef> tasks;
  std::vector<ObjectRef> objects;
  std::vector<TaskRef> producers;  // of the objects, as far as known

  explicit Items(const py::sequence& items) {
    const SessionCore* any = nullptr;
    for (const py::handle item : items) {
      const SessionCore* core = add(item);
      check_open(core);
      if (any && core->engine != any->engine)
        raise("RainException", "the items belong to different clients: wait for each client's own");
      any = core;
    }
    if (any) governor = governor_of(any);
  }

  std::vector<TaskRef> all_tasks() const {
    std::vector<TaskRef> all = tasks;
    all.insert(all.end(), producers.begin(), producers.end());
    return all;
  }

 private:
  const SessionCore* add(py::handle item) {
    if (is_task(item.ptr())) {
      const TaskHandle* handle = initialised_task(item.ptr());
      if (handle->record->state.load() == TaskState::draft)
        raise("RainException", "Task " + text_of(item) + " is not submitted");
      tasks.emplace_back(handle->record);
      return handle->session;
    }
    if (is_data_object(item.ptr())) {
      const ObjectHandle* handle = initialised_object(item.ptr());
      if (handle->record->state.load() == ObjectState::draft)
        raise("RainException", "Object " + text_of(item) + " is not submitted.");
      objects.emplace_back(handle->record);
      if (handle->producer) producers.emplace_back(handle->producer);
      return handle->session;
    }
    throw py::type_error("Neither Task or DataObject: " + text_of(item));
  }
};

bool ended_badly(const graph::TaskRecord& task) {
  const TaskState state = task.state.load(std::memory_order_acquire);
  return graph::is_terminal(state) && state != TaskState::finished;
}

bool session_failed(const SessionCore* core) {
  return core->record->failed.load(std::memory_order_acquire);
}

/// The first item that did not or will not finish, else None.
py::object first_problem(const py::sequence& items) {
  for (const py::handle item : items) {
    bool bad = false;
    if (is_task(item.ptr())) {
      const TaskHandle* handle = initialised_task(item.ptr());
      bad = session_failed(handle->session) || ended_badly(*handle->record);
    } else {
      const ObjectHandle* handle = initialised_object(item.ptr());
      bad = session_failed(handle->session) || (handle->producer && ended_badly(*handle->producer));
    }
    if (bad) return py::reinterpret_borrow<py::object>(item);
  }
  return py::none();
}

[[noreturn]] void raise_timeout(double seconds) {
  raise("WaitTimeout", "not finished after " + std::string(py::str(py::float_(seconds))) +
                           " s; it goes on: wait again, or cancel it");
}

py::object wait_all(const py::sequence& items, const std::optional<double>& timeout) {
  const Items waited(items);
  if (!waited.governor) return py::none();
  Governor& governor = *waited.governor;
  const auto deadline = deadline_after(timeout);
  if (!wait_with_signals([&] { return governor.wait(waited.tasks, waited.objects, deadline); },
                         [&] { governor.cancel(waited.all_tasks()); }))
    raise_timeout(*timeout);
  return first_problem(items);
}

py::object wait_some(const py::sequence& items, const std::optional<double>& timeout) {
  const Items waited(items);
  if (!waited.governor) return py::none();
  Governor& governor = *waited.governor;
  const auto deadline = deadline_after(timeout);
  if (!wait_with_signals([&] { return governor.wait_some(waited.tasks, waited.objects, deadline); },
                         [&] { governor.cancel(waited.all_tasks()); }))
    raise_timeout(*timeout);
  for (const py::handle item : items) {
    if (session_failed(session_of(item))) return py::reinterpret_borrow<py::object>(item);
  }
  return py::none();
}

void wait_session(const py::object& session, const std::optional<double>& timeout) {
  const SessionCore* core = core_of(session.ptr());
  check_open(core);
  const auto governor = governor_of(core);
  const graph::SessionRef record = core->record;
  const auto deadline = deadline_after(timeout);
  if (!wait_with_signals([&] { return governor->wait_session(record, deadline); },
                         [&] { governor->cancel_all(record); }))
    raise_timeout(*timeout);
}

bool is_done(const py::object& item) {
  if (is_task(item.ptr())) {
    const TaskHandle* handle = initialised_task(item.ptr());
    return graph::is_terminal(handle->record->state.load(std::memory_order_acquire));
  }
  if (!is_data_object(item.ptr()))
    throw py::type_error("Neither Task or DataObject: " + text_of(item));
  const ObjectState state = initialised_object(item.ptr())->record->state.load();
  return state == ObjectState::finished || state == ObjectState::removed;
}

// ---- failures -----------------------------------------------------------------------------------

/// (kind, id of the task that did not finish, origin's id, message, debug, report, pickled,
/// [(kind, message, executor's id, pid, seconds) for each attempt]), or None.
/// A session has no task of its own: the origin.
py::object failure_tuple(const graph::FailurePtr& failure, const TaskRef& task = {}) {
  if (!failure) return py::none();
  const auto who = task ? task->id : failure->origin;
  py::list attempts;
  for (const auto& each : failure->attempts)
    attempts.append(py::make_tuple(static_cast<int>(each.kind), each.message, each.executor.value,
                                   each.pid, std::chrono::duration<double>(each.duration).count()));
  return py::make_tuple(static_cast<int>(failure->kind), py::make_tuple(who.session, who.id),
                        py::make_tuple(failure->origin.session, failure->origin.id),
                        failure->message, failure->debug, failure->report,
                        py::bytes(failure->pickled), attempts);
}

py::object failure_of(const py::object& item) {
  const TaskRef task = deciding_task(item);
  if (!task || !graph::is_terminal(task->state.load(std::memory_order_acquire))) return py::none();
  return failure_tuple(task->failure, task);
}

py::object failure_of_session(const py::object& session) {
  const SessionCore* core = core_of(session.ptr());
  const auto governor = governor_of(core);
  graph::FailurePtr failure;
  {
    const py::gil_scoped_release unlocked;
    failure = governor->failure(core->record);
  }
  return failure_tuple(failure);
}

/// The living Task object with this id, else None.
py::object find_task(const py::object& session, std::int32_t id) {
  for (TaskHandle* handle = core_of(session.ptr())->tasks; handle; handle = handle->next)
    if (handle->record->id.id == id)
      return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(handle));
  return py::none();
}

/// (task type, [(file, line, function), innermost first]) of a task, or None.
py::object creation_of(const py::object& session, std::int32_t id) {
  const SessionCore* core = core_of(session.ptr());
  const SessionCore::Creation* creation = core->creation_of(id);
  if (!creation) return py::none();
  py::list frames;
  for (const auto& frame : core->origins().frames(creation->origin))
    frames.append(py::make_tuple(py::handle(frame.code->co_filename),
                                 PyCode_Addr2Line(frame.code, frame.position),
                                 py::handle(frame.code->co_name)));
  return py::make_tuple(core->task_type(creation->method), frames);
}

// ---- sessions -----------------------------------------------------------------------------------

void open_session(SessionHandle* handle, SessionCore* core) {
  core->retain();
  core->facade = reinterpret_cast<PyObject*>(handle);
  handle->core = core;
}

SessionHandle* fresh_session(const py::object& session) {
  auto* handle = reinterpret_cast<SessionHandle*>(session.ptr());
  if (handle->core) raise("RainException", "Session.__init__ was called twice");
  return handle;
}

void open_engine_session(const std::shared_ptr<Engine>& engine, const py::object& session,
                         const py::object& client, std::string name, bool continue_on_error) {
  SessionHandle* handle = fresh_session(session);
  const auto governor = engine->governor();
  graph::SessionRef record;
  {
    const py::gil_scoped_release unlocked;
    record = governor->new_session(
        std::move(name), continue_on_error ? graph::OnError::continue_ : graph::OnError::fail);
  }
  open_session(handle, new SessionCore(engine, std::move(record), client.ptr()));
}

void open_offline_session(const py::object& session, std::int32_t id, std::string name) {
  SessionHandle* handle = fresh_session(session);
  auto record = std::make_shared<graph::SessionRecord>();
  record->id = id;
  record->name = std::move(name);
  open_session(handle, new SessionCore(nullptr, std::move(record), nullptr));
}

void close_session(const py::object& session) {
  SessionCore* core = core_of(session.ptr());
  if (core->closed) return;
  const auto engine = core->engine;
  const graph::SessionRef record = core->record;
  core->mark_closed();
  if (!engine) return;
  engine->drain();
  if (engine->closed()) return;
  const auto governor = engine->governor();
  const py::gil_scoped_release unlocked;
  governor->close_session(record);
}

/// Handles whose spec Python may have changed write it back.
void write_edited(const SessionCore* core) {
  const std::vector<PyObject*> edited = core->edited;
  for (PyObject* handle : edited) py::handle(handle).attr("_flush_spec")();
}

/// Puts what could not be submitted back in front of what was drafted meanwhile.
template <class Record>
void put_back(std::vector<Record>& drafts, std::vector<Record> taken) {
  taken.insert(taken.end(), std::make_move_iterator(drafts.begin()),
               std::make_move_iterator(drafts.end()));
  drafts = std::move(taken);
}

void submit(const py::object& session) {
  SessionCore* core = core_of(session.ptr());
  if (!core->usable()) raise("SessionClosed", "Session is closed");
  const auto governor = governor_of(core);
  if (!core->edited.empty()) write_edited(core);
  if (core->draft_tasks.empty() && core->draft_objects.empty()) return;
  core->engine->note_submit();
  const graph::SessionRef record = core->record;
  ++core->submitting;
  std::vector<TaskRef> tasks = std::exchange(core->draft_tasks, {});
  std::vector<ObjectRef> objects = std::exchange(core->draft_objects, {});
  const auto outputs = std::exchange(core->draft_outputs, 0);
  try {
    const auto give = [&] {
      const py::gil_scoped_release unlocked;
      governor->submit(record, tasks, objects);
    };
    try {
      give();
    } catch (const graph::InvalidGraph&) {
      if (!core->engine->learn_offers()) throw;
      give();
    }
  } catch (...) {
    --core->submitting;
    if (!core->closed) {
      put_back(core->draft_tasks, std::move(tasks));
      put_back(core->draft_objects, std::move(objects));
      core->draft_outputs += outputs;
    }
    throw;
  }
  --core->submitting;
  core->forget_edited();
  core->engine->drain();
}

void keep_all(const py::object& session) {
  const SessionCore* core = core_of(session.ptr());
  for (const auto& object : core->draft_objects) object->kept.store(true);
  for (const auto& task : core->draft_tasks)
    for (const auto& output : task->outputs) output->kept.store(true);
}

void cancel(const py::sequence& items) {
  const Items cancelled(items);
  if (!cancelled.governor) return;
  const py::gil_scoped_release unlocked;
  cancelled.governor->cancel(cancelled.all_tasks());
}

void cancel_unsent(const py::sequence& items) {
  const Items cancelled(items);
  if (!cancelled.governor) return;
  const py::gil_scoped_release unlocked;
  cancelled.governor->cancel_unsent(cancelled.tasks);
}

void cancel_session(const py::object& session) {
  const SessionCore* core = core_of(session.ptr());
  check_open(core);
  const auto governor = governor_of(core);
  const graph::SessionRef record = core->record;
  const py::gil_scoped_release unlocked;
  governor->cancel_all(record);
}

void unkeep(const py::sequence& items) {
  Items unkept(items);
  if (!unkept.governor) return;
  const py::gil_scoped_release unlocked;
  unkept.governor->unkeep(std::move(unkept.objects));
}

/// Nothing when the object is not finished, or has no data any more.
std::optional<DataView> data_of(const py::object& object) {
  const ObjectHandle* handle = initialised_object(object.ptr());
  const auto governor = governor_of(handle->session);
  const ObjectRef record(handle->record);
  const py::gil_scoped_release unlocked;
  return governor->view(record);
}

/// The data of a finished object as a Blob; None when there are none.
py::object view(const py::object& object) {
  auto data = data_of(object);
  return to_python(data);
}

/// Of a finished object, wherever its data are; None when there are none.
std::optional<std::uint64_t> data_size(const py::object& object) {
  const ObjectHandle* handle = initialised_object(object.ptr());
  const auto governor = governor_of(handle->session);
  const ObjectRef record(handle->record);
  const py::gil_scoped_release unlocked;
  return governor->data_size(record);
}

/// Those whose data are finished and not here: [(session's id, object's id)].
py::list remote_objects(const py::sequence& objects) {
  const Items items(objects);
  py::list list;
  if (!items.governor) return list;
  std::vector<graph::DataObjectId> ids;
  {
    const py::gil_scoped_release unlocked;
    ids = items.governor->remote_objects(items.objects);
  }
  for (const auto& id : ids) list.append(py::make_tuple(id.session, id.id));
  return list;
}

/// The data of many finished objects, with one look at the governor.
py::list views(const py::sequence& objects) {
  const Items items(objects);
  py::list list;
  if (!items.governor) return list;
  std::vector<std::optional<DataView>> all;
  {
    const py::gil_scoped_release unlocked;
    all = items.governor->views(items.objects);
  }
  for (auto& data : all) list.append(to_python(data));
  return list;
}

// ---- engine -------------------------------------------------------------------------------------

/// name, argv, env, start_seconds, prestart, max_processes, threads, idle_seconds, cwd, reload, gdb
using SpecTuple =
    std::tuple<std::string, std::vector<std::string>, std::vector<std::string>, double,
               std::uint32_t, std::uint32_t, std::uint32_t, double, std::string, bool, std::string>;

tasklib::base::Duration to_duration(double seconds) {
  return std::chrono::duration_cast<tasklib::base::Duration>(
      std::chrono::duration<double>(seconds));
}

ExecutorSpec to_spec(const SpecTuple& tuple) {
  const auto& [name, argv, env, start_seconds, prestart, max_processes, threads, idle_seconds, cwd,
               reload, gdb] = tuple;
  ExecutorSpec spec;
  spec.name = name;
  spec.argv = argv;
  spec.env = env;
  spec.start_deadline = to_duration(start_seconds);
  spec.prestart = prestart;
  spec.max_processes = max_processes;
  spec.threads = threads;
  // Zero means never there, and at once here.
  spec.idle_time = std::isinf(idle_seconds)
                       ? tasklib::base::Duration(0)
                       : std::max(to_duration(idle_seconds), tasklib::base::Duration(1));
  spec.cwd = cwd;
  spec.reload = reload;
  spec.gdb = gdb;
  return spec;
}

std::shared_ptr<Engine> make_engine(const std::vector<SpecTuple>& executors, std::uint32_t cpus,
                                    std::uint64_t memory_bytes, std::string launcher,
                                    std::string run_directory,
                                    const std::vector<ResourceTuple>& resources,
                                    std::uint64_t task_memory_bytes, std::string events_file,
                                    const std::optional<std::string>& spill,
                                    std::uint64_t inline_limit_bytes, bool mirror) {
  GovernorOptions options;
  for (const SpecTuple& executor : executors) options.executors.push_back(to_spec(executor));
  options.cpus = cpus;
  options.memory_bytes = memory_bytes;
  options.resources = to_resources(resources);
  options.task_memory_bytes = task_memory_bytes;
  options.launcher_program = std::move(launcher);
  options.run_directory_parent = std::move(run_directory);
  options.events_file = std::move(events_file);
  options.spill = spill.has_value();
  options.spill_directory = spill.value_or("");
  options.inline_limit_bytes = inline_limit_bytes;
  options.mirror = mirror;
  return std::make_shared<Engine>(std::move(options));
}

py::list take_reports(Engine& engine) {
  py::list list;
  for (const auto& report : engine.take_reports())
    list.append(py::make_tuple(
        py::make_tuple(report.id.session, report.id.id), report.task_type, report.executor_type,
        report.name, static_cast<int>(report.state), report.executor, report.pid,
        report.start_seconds, report.run_seconds, report.input_bytes, report.output_bytes,
        report.copied_bytes, report.attempts,
        py::reinterpret_steal<py::str>(PyUnicode_DecodeUTF8(
            report.error.data(), static_cast<Py_ssize_t>(report.error.size()), "replace"))));
  return list;
}

std::vector<std::int32_t> executor_pids(Engine& engine) {
  if (engine.closed()) return {};
  const auto governor = engine.governor();
  const py::gil_scoped_release unlocked;
  return governor->executor_pids();
}

bool launcher_lost(Engine& engine) {
  if (engine.closed()) return false;
  const auto governor = engine.governor();
  const py::gil_scoped_release unlocked;
  return governor->launcher_lost();
}

template <class Id>
py::list id_pairs(const std::vector<Id>& ids) {
  py::list pairs;
  for (const auto& id : ids) pairs.append(py::make_tuple(id.session, id.id));
  return pairs;
}

/// (ids of tasks that have not ended, ids of objects that have data)
py::tuple holdings(Engine& engine) {
  engine.drain();
  const auto governor = engine.governor();
  Governor::Holdings all;
  {
    const py::gil_scoped_release unlocked;
    all = governor->holdings();
  }
  return py::make_tuple(id_pairs(all.tasks), id_pairs(all.objects));
}

py::list announced_values(const std::vector<tasklib::wire::AnnouncedValue>& values) {
  py::list list;
  for (const auto& value : values) list.append(py::make_tuple(value.type, value.name));
  return list;
}

/// An executor's tasks, [(name, None or ([(type, name of the parameter)], [(type, "")]))]; None
/// while they are not known.
py::object announced_tasks(Engine& engine, const std::string& executor) {
  if (engine.closed()) return py::none();
  const auto governor = engine.governor();
  std::optional<std::vector<tasklib::wire::AnnouncedTask>> tasks;
  {
    const py::gil_scoped_release unlocked;
    tasks = governor->announced_tasks(executor);
  }
  if (!tasks) return py::none();
  py::list list;
  for (const auto& task : *tasks) {
    py::object signature = py::none();
    if (task.signature)
      signature = py::make_tuple(announced_values(task.signature->inputs),
                                 announced_values(task.signature->outputs));
    list.append(py::make_tuple(task.name, std::move(signature)));
  }
  return list;
}

/// As in announced_tasks(), of one task; None also after close().
py::object announced_signature(Engine& engine, const std::string& executor, const std::string& task,
                               bool current) {
  if (engine.closed()) return py::none();
  const auto governor = engine.governor();
  std::optional<tasklib::wire::AnnouncedSignature> signature;
  {
    const py::gil_scoped_release unlocked;
    signature = governor->announced_signature(executor, task, current);
  }
  if (!signature) return py::none();
  return py::make_tuple(announced_values(signature->inputs), announced_values(signature->outputs));
}

py::object learn_tasks(Engine& engine, const std::string& executor) {
  const auto governor = engine.governor();
  wait_with_signals([&] { return governor->learn_tasks(executor, std::nullopt); }, [] {});
  return announced_tasks(engine, executor);
}

/// [(executor type, executor's id, pid, can it answer, seconds or None)]
py::list ping(Engine& engine, std::optional<double> timeout) {
  const auto governor = engine.governor();
  const auto deadline = deadline_after(timeout);
  std::vector<Pinged> lines;
  {
    const py::gil_scoped_release unlocked;
    lines = governor->ping(deadline, [] {
      const py::gil_scoped_acquire locked;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    });
  }
  py::list list;
  for (const Pinged& line : lines)
    list.append(py::make_tuple(line.executor_type, line.executor.value, line.pid, line.can_answer,
                               py::cast(line.seconds)));
  return list;
}

/// Waits for lines of the log: ([(task's id, task type, executor type, pid, level, text, time,
/// lines lost before it)], lines dropped after them, is the log at its end).
py::tuple wait_for_logs(LogQueue& queue) {
  LogQueue::Taken taken;
  {
    const py::gil_scoped_release unlocked;
    taken = queue.wait();
  }
  py::list lines;
  for (const LogLine& line : taken.lines)
    lines.append(py::make_tuple(py::make_tuple(line.task.session, line.task.id), line.task_type,
                                line.executor_type, line.pid, line.level, line.text, line.time,
                                line.lost));
  return py::make_tuple(std::move(lines), taken.dropped, taken.closed);
}

py::dict store_usage(Engine& engine) {
  const auto governor = engine.governor();
  tasklib::blob::Store::Usage usage;
  MemoryState state;
  {
    const py::gil_scoped_release unlocked;
    usage = governor->store_usage();
    state = governor->memory_state();
  }
  py::dict dict;
  dict["budget_bytes"] = usage.budget_bytes;
  dict["regions_bytes"] = usage.regions_bytes;
  dict["blobs_bytes"] = usage.blobs_bytes;
  dict["warm_bytes"] = usage.warm_bytes;
  dict["regions"] = usage.regions;
  dict["blobs"] = usage.blobs;
  dict["views"] = usage.views;
  dict["punched_bytes"] = usage.punched_bytes;
  dict["spilled_bytes"] = state.spilled_bytes;
  dict["spilled_blobs"] = state.spilled_blobs;
  dict["spill_written_bytes"] = state.written_bytes;
  dict["spill_directory"] = state.spills ? py::object(py::str(state.spill_directory)) : py::none();
  dict["waiting"] = state.waiting;
  dict["huge_pages"] = state.huge_pages;
  dict["headroom_bytes"] = py::cast(state.headroom_bytes);
  return dict;
}

/// (file, line) of the user's program that made the object or its task, or None.
py::object place_of_creation(Engine& engine, const BlobLine& line) {
  const auto found = engine.cores().find(line.id.session);
  if (found == engine.cores().end()) return py::none();
  const SessionCore& core = *found->second;
  const auto* creation = core.creation_of(line.producer ? line.producer->id : line.id.id);
  if (!creation || core.origins().frames(creation->origin).empty()) return py::none();
  const auto& frame = core.origins().frames(creation->origin).front();
  return py::make_tuple(py::handle(frame.code->co_filename),
                        PyCode_Addr2Line(frame.code, frame.position));
}

py::list store_blobs(Engine& engine) {
  engine.drain();
  const auto governor = engine.governor();
  std::vector<BlobLine> lines;
  {
    const py::gil_scoped_release unlocked;
    lines = governor->blobs();
  }
  py::list list;
  for (const BlobLine& line : lines) {
    py::list tasks;
    for (const TaskName& task : line.tasks)
      tasks.append(py::make_tuple(py::make_tuple(task.id.session, task.id.id), task.task_type));
    list.append(py::make_tuple(py::make_tuple(line.id.session, line.id.id), line.label,
                               line.task_type, line.size_bytes, line.place, line.where, line.kept,
                               py::cast(line.viewers), line.views, line.shared,
                               py::cast(line.viewer_types), tasks, line.n_tasks,
                               id_pairs(line.failed_tasks), place_of_creation(engine, line)));
  }
  return list;
}

void bind_engine(py::module_& module) {
  module.attr("INLINE_LIMIT_BYTES") = kInlineLimitBytes;
  py::class_<LogQueue, std::shared_ptr<LogQueue>>(module, "LogQueue")
      .def("wait", &wait_for_logs)
      .def("idle", &LogQueue::idle);
  py::class_<Engine, std::shared_ptr<Engine>> engine(module, "Engine");
  def_activity(engine);
  engine
      .def(py::init(&make_engine), py::arg("executors"), py::arg("cpus"), py::arg("memory_bytes"),
           py::arg("launcher"), py::arg("run_directory"), py::arg("resources"),
           py::arg("task_memory_bytes"), py::arg("events_file"), py::arg("spill"),
           py::arg("inline_limit_bytes"), py::arg("mirror") = false)
      .def_property_readonly("closed", &Engine::closed)
      .def_property_readonly("cpus", &Engine::cpus)
      .def_property_readonly("run_directory", &Engine::run_directory)
      .def("close", &Engine::close)
      .def("drain", &Engine::drain)
      .def("executor_pids", &executor_pids)
      .def("launcher_lost", &launcher_lost)
      .def("announced_tasks", &announced_tasks)
      .def("announced_signature", &announced_signature)
      .def("learn_tasks", &learn_tasks)
      .def("ping", &ping, py::arg("timeout"))
      .def("logs", [](Engine& engine) { return engine.governor()->logs(); })
      .def("on_first_submit",
           [](Engine& engine, const py::object& hook) { engine.on_first_submit(hook.ptr()); })
      .def("take_warnings", &Engine::take_warnings)
      .def("record_reports",
           [](Engine& engine, bool on) {
             const auto governor = engine.governor();
             const py::gil_scoped_release unlocked;
             governor->record_reports(on);
           })
      .def("take_reports", &take_reports)
      .def("store_usage", &store_usage)
      .def("store_blobs", &store_blobs)
      .def("holdings", &holdings)
      .def("open_session", &open_engine_session);
  module.def("usable_cpus", [] { return tasklib::base::usable_cpus(); });
  module.def("close_all", &Engine::close_all);
  module.def("after_fork_in_child", &Engine::after_fork_in_child);
}

}  // namespace

void bind_client(py::module_& module) {
  bind_engine(module);

  const py::arg_v no_timeout = py::arg("timeout") = py::none();
  module.def("wait", &wait_all, py::arg("items"), no_timeout);
  module.def("wait_some", &wait_some, py::arg("items"), no_timeout);
  module.def("wait_session", &wait_session, py::arg("session"), no_timeout);
  module.def("first_problem", &first_problem);
  module.def("is_done", &is_done);
  module.def("is_finished", [](const py::object& task) {
    return initialised_task(task.ptr())->record->state.load(std::memory_order_acquire) ==
           TaskState::finished;
  });
  module.def("failure", &failure_of);
  module.def("session_failure", &failure_of_session);
  module.def("find_task", &find_task);
  module.def("creation", &creation_of);

  module.def("open_offline_session", &open_offline_session);
  module.def("close_session", &close_session);
  module.def("submit", &submit);
  module.def("keep_all", &keep_all);
  module.def("cancel", &cancel);
  module.def("cancel_unsent", &cancel_unsent);
  module.def("cancel_session", &cancel_session);
  module.def("unkeep", &unkeep);
  module.def("view", &view);
  module.def("views", &views);
  module.def("data_size", &data_size);
  module.def("remote_objects", &remote_objects);
  module.def(
      "write_call",
      [](const py::object& task, const py::object& directory) {
        const TaskHandle* handle = initialised_task(task.ptr());
        const auto governor = governor_of(handle->session);
        const TaskRef record(handle->record);
        const std::string path = path_text(directory.ptr());
        const py::gil_scoped_release unlocked;
        governor->write_call(record, path);
      },
      py::arg("task"), py::arg("directory"));
  module.def("copy_tree", [](const py::object& source, const py::object& target) {
    const std::string from = path_text(source.ptr()), to = path_text(target.ptr());
    const py::gil_scoped_release unlocked;
    builtin::copy_tree(from, to, builtin::Copy::writable);
  });
  module.def("session_id",
             [](const py::object& session) { return core_of(session.ptr())->record->id; });
  module.def("session_name",
             [](const py::object& session) { return core_of(session.ptr())->record->name; });
  module.def("session_usable",
             [](const py::object& session) { return core_of(session.ptr())->usable(); });
  module.def("session_failed",
             [](const py::object& session) { return session_failed(core_of(session.ptr())); });
  module.def("session_client", [](const py::object& session) -> py::object {
    PyObject* client = core_of(session.ptr())->client;
    if (!client) return py::none();
    return py::reinterpret_borrow<py::object>(client);
  });
  module.def("session_drafts", [](const py::object& session) {
    const SessionCore* core = core_of(session.ptr());
    return py::make_tuple(core->draft_tasks.size(),
                          core->draft_objects.size() + core->draft_outputs);
  });
}

}  // namespace rain::bindings
