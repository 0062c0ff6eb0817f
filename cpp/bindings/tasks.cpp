// TaskBase: the handle of a task, what it tells and what may be changed of a draft.

#include <chrono>
#include <cstdio>
#include <ctime>

#include "handles.h"

namespace rain::bindings {

using namespace handles;

namespace {

int task_traverse(PyObject* self, visitproc visit, void* arg) {
  auto* handle = reinterpret_cast<TaskHandle*>(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(handle->dict);
  Py_VISIT(handle->outputs);
  Py_VISIT(handle->cache);
  return 0;
}

int task_clear(PyObject* self) {
  auto* handle = reinterpret_cast<TaskHandle*>(self);
  Py_CLEAR(handle->dict);
  Py_CLEAR(handle->cache);
  return 0;  // the outputs never refer back; they go with the handle
}

/// From now on the handles of the outputs, or nobody, cover them.
void leave_outputs(TaskHandle* handle) {
  SessionCore* session = handle->session;
  for (const auto& output : handle->record->outputs) {
    const auto living =
        session->objects.empty() ? session->objects.end() : session->objects.find(output.get());
    if (living != session->objects.end())
      living->second->owns_keep = true;
    else
      end_keeping(session, output.get());
  }
}

void task_dealloc(PyObject* self) {
  auto* handle = reinterpret_cast<TaskHandle*>(self);
  PyObject_GC_UnTrack(self);
  if (handle->weak_references) PyObject_ClearWeakRefs(self);
  task_clear(self);
  if (TaskRecord* record = handle->record) {
    SessionCore* session = handle->session;
    leave_outputs(handle);
    (handle->previous ? handle->previous->next : session->tasks) = handle->next;
    if (handle->next) handle->next->previous = handle->previous;
    Py_CLEAR(handle->outputs);
    record->release();
    session->release();
  }
  free_handle(self);
}

template <class Answer>
PyObject* with_task(PyObject* self, Answer&& answer) {
  return guarded([&]() -> PyObject* { return answer(initialised_task(self)); });
}

PyObject* task_id(PyObject* self, void*) {
  return with_task(self, [](TaskHandle* handle) {
    return id_pair(handle->record->id.session, handle->record->id.id);
  });
}

PyObject* task_state(PyObject* self, void*) {
  return with_task(self, [](TaskHandle* handle) {
    return PyLong_FromLong(static_cast<long>(handle->record->state.load()));
  });
}

PyObject* task_session(PyObject* self, void*) {
  return with_task(self, [](TaskHandle* handle) { return session_facade(handle->session); });
}

PyObject* task_type_text(PyObject* self, void*) {
  return with_task(self, [](TaskHandle* handle) {
    const std::string& text = handle->session->task_type(handle->record->method);
    return PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
  });
}

PyObject* task_name(PyObject* self, void*) {
  return with_task(self, [](TaskHandle* handle) -> PyObject* {
    const TaskAnnex* annex = annex_of(*handle->record);
    if (!annex) Py_RETURN_NONE;
    return text_or_none(annex->name);
  });
}

PyObject* task_cpus(PyObject* self, void*) {
  return with_task(
      self, [](TaskHandle* handle) { return PyLong_FromUnsignedLong(handle->record->cpus); });
}

/// _limits: (retries, timeout in seconds or None, memory in bytes or None, {resource: amount}).
PyObject* task_limits(PyObject* self, void*) {
  return with_task(self, [](TaskHandle* handle) {
    py::object timeout = py::none(), memory = py::none();
    py::dict resources;
    std::uint32_t retries = 0;
    if (const auto* extras = handle->record->extras.get()) {
      retries = extras->retries;
      if (extras->timeout.count() > 0)
        timeout = py::float_(std::chrono::duration<double>(extras->timeout).count());
      if (extras->memory_bytes > 0) memory = py::int_(extras->memory_bytes);
      for (const auto& each : extras->resources) {
        const auto whole = each.amount / graph::kResourceUnit;
        resources[py::str(each.name)] =
            each.amount % graph::kResourceUnit == 0
                ? py::object(py::int_(whole))
                : py::object(py::float_(static_cast<double>(each.amount) /
                                        static_cast<double>(graph::kResourceUnit)));
      }
    }
    return py::make_tuple(retries, timeout, memory, resources).release().ptr();
  });
}

/// _outputs: tuple of the output DataObjects, which the task holds from now on.
PyObject* task_outputs(PyObject* self, void*) {
  return with_task(self, [&](TaskHandle* handle) -> PyObject* {
    if (!handle->outputs) {
      const auto& records = handle->record->outputs;
      auto tuple =
          py::reinterpret_steal<py::object>(PyTuple_New(static_cast<Py_ssize_t>(records.size())));
      if (!tuple) throw py::error_already_set();
      Py_ssize_t position = 0;
      for (const auto& record : records)
        PyTuple_SET_ITEM(tuple.ptr(), position++,
                         object_handle(handle->session, record.get(), handle->record, false));
      handle->outputs = tuple.release().ptr();
      track(self);
    }
    return incref(handle->outputs);
  });
}

/// output: the only one.
PyObject* task_output(PyObject* self, void*) {
  return with_task(self, [&](TaskHandle* handle) -> PyObject* {
    const std::size_t count = handle->record->outputs.size();
    if (count != 1)
      raise("RainException", "Task " + std::string(py::repr(self)) +
                                 " has no unique output (outputs=" + std::to_string(count) + ")");
    const auto outputs = py::reinterpret_steal<py::object>(task_outputs(self, nullptr));
    if (!outputs) throw py::error_already_set();
    return incref(PyTuple_GET_ITEM(outputs.ptr(), 0));
  });
}

/// _inputs(): list of the input DataObjects. Holding a task doesn't hold its inputs.
PyObject* task_inputs(PyObject* self, PyObject*) {
  return with_task(self, [](TaskHandle* handle) {
    py::list list;
    for (const auto& input : handle->record->inputs)
      list.append(py::reinterpret_steal<py::object>(
          object_handle(handle->session, input.get(), nullptr, false)));
    return list.release().ptr();
  });
}

PyObject* task_input_labels(PyObject* self, PyObject*) {
  return with_task(self, [](TaskHandle* handle) -> PyObject* {
    const TaskAnnex* annex = annex_of(*handle->record);
    if (!annex || annex->input_labels.empty()) Py_RETURN_NONE;
    py::list list;
    for (const auto& label : annex->input_labels)
      list.append(py::reinterpret_steal<py::object>(text_or_none(label)));
    return list.release().ptr();
  });
}

/// _ids(): ([input ids], [output ids]), without making handles.
PyObject* task_ids(PyObject* self, PyObject*) {
  return with_task(self, [](TaskHandle* handle) {
    py::list inputs, outputs;
    for (const auto& input : handle->record->inputs)
      inputs.append(py::make_tuple(input->id.session, input->id.id));
    for (const auto& output : handle->record->outputs)
      outputs.append(py::make_tuple(output->id.session, output->id.id));
    return py::make_tuple(inputs, outputs).release().ptr();
  });
}

/// _config_and_user(): what the client gave it.
PyObject* task_config_and_user(PyObject* self, PyObject*) {
  return with_task(self, [](TaskHandle* handle) {
    const TaskAnnex* annex = annex_of(*handle->record);
    if (!annex) return py::make_tuple(py::none(), py::dict()).release().ptr();
    return py::make_tuple(from_cbor(tasklib::base::ByteView(std::string_view(annex->config))),
                          from_user_attributes(annex->user))
        .release()
        .ptr();
  });
}

/// _keep_outputs(flag): of a draft.
PyObject* task_keep_outputs(PyObject* self, PyObject* flag) {
  return with_task(self, [&](TaskHandle* handle) -> PyObject* {
    for (const auto& output : handle->record->outputs) output->kept.store(flag == Py_True);
    Py_RETURN_NONE;
  });
}

PyObject* task_note_edited(PyObject* self, PyObject*) {
  return with_task(self, [&](TaskHandle* handle) { return note_edited(handle->session, self); });
}

/// _write_spec(name, config, user): of a draft.
PyObject* task_write_spec(PyObject* self, PyObject* args) {
  return with_task(self, [&](TaskHandle* handle) -> PyObject* {
    PyObject *name, *config, *user;
    if (!PyArg_ParseTuple(args, "OOO", &name, &config, &user)) return nullptr;
    std::string name_text = text_or_empty(name, "spec.name");
    auto raw = config == Py_None ? std::string() : to_raw_value(config, "spec.config");
    auto attributes = to_user_attributes(user, "spec.user");
    if (name_text.empty() && raw.empty() && attributes.empty() && !handle->record->annex)
      Py_RETURN_NONE;
    TaskAnnex& annex = annex_for(handle->record);
    annex.name = std::move(name_text);
    annex.config = std::move(raw);
    annex.user = std::move(attributes);
    Py_RETURN_NONE;
  });
}

/// When a task that ran began, as RFC 3339 in UTC.
std::string start_time(const TaskRecord& record) {
  using std::chrono::system_clock;
  const auto ago = tasklib::base::Clock::now() - record.ended + record.run_time;
  const auto since_1970 = system_clock::now().time_since_epoch() - ago;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_1970);
  const std::time_t whole = seconds.count();
  std::tm utc{};
  ::gmtime_r(&whole, &utc);
  char text[64];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(since_1970 - seconds);
  std::snprintf(text + size, sizeof text - size, ".%09ld+00:00", static_cast<long>(rest.count()));
  return text;
}

/// _result(): (error, debug, governor, start_time, duration, user), None before the task ended.
PyObject* task_result(PyObject* self, PyObject*) {
  return with_task(self, [](TaskHandle* handle) -> PyObject* {
    const TaskRecord& record = *handle->record;
    if (!graph::is_terminal(record.state.load(std::memory_order_acquire))) Py_RETURN_NONE;
    const auto* info = result_of(record);
    const double seconds = std::chrono::duration<double>(record.run_time).count();
    const std::string error = record.failure ? record.failure->message : std::string();
    const bool ran = record.run_time.count() > 0;
    const bool elsewhere = info && !info->governor.empty();
    const char* governor = elsewhere ? info->governor.c_str() : ran ? kOwnGovernor : "";
    const std::string start = ran ? start_time(record) : std::string();
    if (!info)
      return py::make_tuple(error, record.failure ? record.failure->debug : std::string(), governor,
                            start, seconds, py::dict())
          .release()
          .ptr();
    return py::make_tuple(info->error.empty() ? error : info->error, info->debug, governor, start,
                          seconds, from_user_attributes(info->user))
        .release()
        .ptr();
  });
}

/// _printed(): (stdout's path, begin, end, stderr's path, begin, end) of what the task printed, or
/// None.
PyObject* task_printed(PyObject* self, PyObject*) {
  return with_task(self, [](TaskHandle* handle) -> PyObject* {
    const TaskRecord& record = *handle->record;
    if (!graph::is_terminal(record.state.load(std::memory_order_acquire)) || !record.result)
      Py_RETURN_NONE;
    const auto& result = static_cast<const TaskResult&>(*record.result);
    if (result.printed.empty()) Py_RETURN_NONE;
    return py::make_tuple(result.stdout_path, result.printed.out_begin, result.printed.out_end,
                          result.stderr_path, result.printed.err_begin, result.printed.err_end)
        .release()
        .ptr();
  });
}

PyMethodDef task_methods[] = {
    {"__init__", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(task_init)),
     METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"_inputs", task_inputs, METH_NOARGS, nullptr},
    {"_input_labels", task_input_labels, METH_NOARGS, nullptr},
    {"_ids", task_ids, METH_NOARGS, nullptr},
    {"_config_and_user", task_config_and_user, METH_NOARGS, nullptr},
    {"_keep_outputs", task_keep_outputs, METH_O, nullptr},
    {"_note_edited", task_note_edited, METH_NOARGS, nullptr},
    {"_write_spec", task_write_spec, METH_VARARGS, nullptr},
    {"_result", task_result, METH_NOARGS, nullptr},
    {"_printed", task_printed, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef task_getset[] = {
    dict_getset(),
    {"_cache", get_cache<TaskHandle>, nullptr, nullptr, nullptr},
    {"_id", task_id, nullptr, nullptr, nullptr},
    {"_state", task_state, nullptr, nullptr, nullptr},
    {"session", task_session, nullptr, "The Session that the task belongs to.", nullptr},
    {"task_type", task_type_text, nullptr, "\"executor/task\".", nullptr},
    {"name", task_name, nullptr, "The task's name, or None.", nullptr},
    {"cpus", task_cpus, nullptr, "How many CPUs the task occupies.", nullptr},
    {"_limits", task_limits, nullptr, nullptr, nullptr},
    {"_outputs", task_outputs, nullptr, nullptr, nullptr},
    {"output", task_output, nullptr, "The only output; RainException if there are others or none.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

}  // namespace

void handles::bind_tasks(py::module_& module) {
  task_base = make_type<TaskHandle>(
      module, {"rain._core.TaskBase", "Handle of a task: what rain.client.Task is made of.",
               task_dealloc, task_traverse, task_clear, task_methods, task_getset});
}

bool is_task(PyObject* object) { return PyObject_TypeCheck(object, task_base); }

TaskHandle* initialised_task(PyObject* object) {
  auto* handle = reinterpret_cast<TaskHandle*>(object);
  if (!handle->record)
    raise("RainException", std::string(Py_TYPE(object)->tp_name) +
                               " is not initialised: call super().__init__(inputs, outputs) in "
                               "its __init__");
  return handle;
}

}  // namespace rain::bindings
