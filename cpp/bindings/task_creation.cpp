// TaskBase.__init__: from Python's arguments to a draft. The usual forms of inputs and outputs are
// read here; the others Python makes usual first.

#include "handles.h"

namespace rain::bindings {

using namespace handles;

namespace {

PyObject* name_task_type = nullptr;  // "TASK_TYPE"

struct TaskArguments {
  enum Index {
    inputs,
    outputs,
    config,
    session,
    task_type,
    cpus,
    name,
    user_spec,
    retries,
    timeout,
    memory,
    resources,
    count
  };
  PyObject* values[count] = {};  // borrowed; None is null

  void set(Index index, PyObject* value) { values[index] = value == Py_None ? nullptr : value; }
  PyObject* operator[](Index index) const { return values[index]; }
};

PyObject* argument_names[TaskArguments::count];  // interned

void parse(TaskArguments& arguments, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (count > 2)
    throw py::type_error(
        "Task takes inputs and outputs as positional arguments, the others by "
        "keyword (got " +
        std::to_string(count) + " positional ones)");
  for (Py_ssize_t i = 0; i < count; ++i)
    arguments.set(static_cast<TaskArguments::Index>(i), args[i]);
  const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    int index = 0;
    while (index < TaskArguments::count && name != argument_names[index]) ++index;
    if (index == TaskArguments::count)  // not interned, or unknown
      for (index = 0; index < TaskArguments::count; ++index)
        if (PyUnicode_Compare(name, argument_names[index]) == 0) break;
    if (index == TaskArguments::count)
      throw py::type_error("Task got an unexpected keyword argument " +
                           std::string(py::repr(name)));
    if (index < count)
      throw py::type_error("Task got two values for argument " + std::string(py::repr(name)));
    arguments.set(static_cast<TaskArguments::Index>(index), args[count + i]);
  }
}

Governor::Method method_of(PyObject* self, const TaskArguments& arguments, SessionCore* session) {
  PyObject* type = arguments[TaskArguments::task_type];
  py::object found;
  if (!type) {
    found = py::reinterpret_steal<py::object>(PyObject_GetAttr(self, name_task_type));
    if (!found) {
      if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
      PyErr_Clear();
    } else if (!found.is_none()) {
      type = found.ptr();
    }
  }
  if (!type)
    throw py::value_error(std::string("no task type: give ") + Py_TYPE(self)->tp_name +
                          " a class attribute TASK_TYPE = \"executor/task\", or pass task_type=");
  if (!PyUnicode_Check(type))
    throw py::type_error(std::string("a task type must be a str \"executor/task\", not ") +
                         Py_TYPE(type)->tp_name);
  return session->intern(type);
}

/// The session's own record of a constant of the client's; null when `record` is none.
ObjectRecord* shared_copy(ObjectRecord* record, SessionCore* owner, SessionCore* session) {
  if (!owner->engine || owner->engine != session->engine) return nullptr;
  const auto found = owner->engine->shared().find(record);
  if (found == owner->engine->shared().end()) return nullptr;
  auto& copies = found->second.copies;
  std::erase_if(copies, [&](const auto& copy) {
    return copy.first == session && copy.second->state.load() == ObjectState::removed;
  });
  for (const auto& [user, copy] : copies)
    if (user == session) return copy.get();
  const ObjectRef copy(new ObjectRecord);
  copy->data = found->second.data;
  copy->kept.store(true);
  if (const ObjectAnnex* annex = annex_of(*record))
    copy->annex = std::make_unique<ObjectAnnex>(*annex);
  copy->session = session->record.get();
  copy->id = {session->record->id, session->next_id++};
  session->note_origin(copy->id.id, SessionCore::kNoMethod);
  session->draft_objects.push_back(copy);
  copies.emplace_back(session, copy);
  return copy.get();
}

/// The record behind a DataObject or a Task with one output; null when `item` is neither.
ObjectRecord* input_record(PyObject* item, SessionCore* session) {
  ObjectRecord* record = nullptr;
  SessionCore* owner = nullptr;
  if (PyObject_TypeCheck(item, object_base)) {
    ObjectHandle* handle = initialised_object(item);
    record = handle->record;
    owner = handle->session;
  } else if (PyObject_TypeCheck(item, task_base)) {
    TaskHandle* handle = initialised_task(item);
    if (handle->record->outputs.size() != 1) return nullptr;  // Python has the words for it
    record = handle->record->outputs[0].get();
    owner = handle->session;
  } else {
    return nullptr;
  }
  if (owner != session) {
    if (ObjectRecord* copy = shared_copy(record, owner, session)) return copy;
    raise("RainException",
          "input " + std::string(py::repr(item)) + " belongs to session " +
              std::to_string(owner->record->id) +
              (owner->engine == session->engine ? "" : " of another client") +
              ", the new task to session " + std::to_string(session->record->id) +
              "; fetch the data and create a blob in the other session, or make what several "
              "sessions use with client.put()");
  }
  return record;
}

/// The usual: a tuple or list of data objects and tasks. False: look closer.
bool plain_inputs(PyObject* inputs, SessionCore* session, std::vector<ObjectRef>& records) {
  if (!inputs) return true;
  if (!PyTuple_CheckExact(inputs) && !PyList_CheckExact(inputs)) return false;
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(inputs);
  records.reserve(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    ObjectRecord* record = input_record(PySequence_Fast_GET_ITEM(inputs, i), session);
    if (!record) return false;
    records.emplace_back(record);
  }
  return true;
}

/// The usual: None or how many. -1: look closer.
Py_ssize_t plain_outputs(PyObject* outputs) {
  constexpr Py_ssize_t kMost = 1'000'000;
  if (!outputs) return 0;
  if (!PyLong_CheckExact(outputs)) return -1;
  const Py_ssize_t count = PyLong_AsSsize_t(outputs);
  if (count >= 0 && count <= kMost) return count;
  PyErr_Clear();
  throw py::value_error("outputs must be between 0 and " + std::to_string(kMost) + ", not " +
                        std::string(py::repr(outputs)));
}

void add_output(TaskRecord& task, SessionCore* session, std::string label = {},
                std::string content_type = {}, DataType data_type = DataType::blob) {
  auto* output = new ObjectRecord;
  task.outputs.emplace_back(output);
  output->session = task.session;
  output->producer = &task;
  output->id = {session->record->id, session->next_id++};
  describe(*output, std::move(label), std::move(content_type), data_type);
}

/// What the Python hook made of unusual inputs and outputs:
/// (list of DataObjects, list of labels or None, list of DataObjects and of outputs to make:
/// (label, content type, is it a directory)).
struct Normalised {
  py::object kept;
  PyObject *inputs, *labels, *outputs;  // borrowed from `kept`

  Normalised(PyObject* task_inputs, PyObject* task_outputs) {
    kept = py::reinterpret_steal<py::object>(
        PyObject_CallFunctionObjArgs(normalise_hook, task_inputs ? task_inputs : Py_None,
                                     task_outputs ? task_outputs : Py_None, nullptr));
    if (!kept) throw py::error_already_set();
    if (!PyArg_ParseTuple(kept.ptr(), "O!OO!", &PyList_Type, &inputs, &labels, &PyList_Type,
                          &outputs))
      throw py::error_already_set();
  }
};

/// An output that the user made before the task.
ObjectHandle* free_output(PyObject* item, SessionCore* session) {
  ObjectHandle* handle = initialised_object(item);
  const ObjectRecord* record = handle->record;
  const std::string who = "DataObject " + record->id.to_string();
  if (handle->session != session)
    raise("RainException", who + " belongs to another session than the task");
  if (record->state.load() != ObjectState::draft)
    raise("RainException", who + " is submitted; it cannot become the output of a new task");
  if (record->data) raise("RainException", who + " has data; it cannot be the output of a task");
  if (record->producer) raise("RainException", who + " is the output of another task");
  return handle;
}

std::uint32_t cpus_of(PyObject* value) {
  if (!value) return 1;
  const long count = PyLong_Check(value) ? PyLong_AsLong(value) : -1;
  if (PyErr_Occurred()) PyErr_Clear();
  if (count < 0 || count > 1'000'000)
    throw py::value_error("cpus must be an int, 0 or more, not " + std::string(py::repr(value)));
  return static_cast<std::uint32_t>(count);
}

/// Options that few tasks have; rain.client.limits says what they mean.
void fill_extras(TaskRecord& task, const TaskArguments& arguments) {
  constexpr auto kFirst = TaskArguments::retries, kLast = TaskArguments::resources;
  bool any = false;
  for (int i = kFirst; i <= kLast; ++i) any |= arguments.values[i] != nullptr;
  if (!any) return;
  const auto option = [&](TaskArguments::Index index) -> py::object {
    return arguments[index] ? py::reinterpret_borrow<py::object>(arguments[index]) : py::none();
  };
  const py::tuple read =
      py::module_::import("rain.client.limits")
          .attr("read")(option(TaskArguments::retries), option(TaskArguments::timeout),
                        option(TaskArguments::memory), option(TaskArguments::resources));
  auto extras = std::make_unique<graph::TaskExtras>();
  extras->retries = read[0].cast<std::uint32_t>();
  extras->timeout = graph::Duration(read[1].cast<std::int64_t>());
  extras->memory_bytes = read[2].cast<std::uint64_t>();
  for (const py::handle pair : read[3])
    extras->resources.push_back(
        {pair[py::int_(0)].cast<std::string>(), pair[py::int_(1)].cast<std::uint64_t>()});
  if (extras->retries > 0 || extras->timeout.count() > 0 || extras->memory_bytes > 0 ||
      !extras->resources.empty())
    task.extras = std::move(extras);
}

void fill_annex(TaskRecord& task, const TaskArguments& arguments) {
  if (PyObject* name = arguments[TaskArguments::name])
    annex_for(&task).name = text_or_empty(name, "name");
  if (PyObject* config = arguments[TaskArguments::config])
    annex_for(&task).config = to_raw_value(config, "config");
  if (PyObject* user = arguments[TaskArguments::user_spec])
    annex_for(&task).user = to_user_attributes(user, "user_spec");
}

void fill_input_labels(TaskRecord& task, PyObject* labels) {
  if (labels == Py_None) return;
  auto& texts = annex_for(&task).input_labels;
  for (const py::handle label : py::reinterpret_borrow<py::list>(labels))
    texts.push_back(text_or_empty(label.ptr(), "the label of an input"));
}

/// The last step, which cannot fail halfway: the handle gets the record, the session the draft.
void adopt(TaskHandle* handle, SessionCore* session, const TaskRef& record) {
  session->draft_tasks.push_back(record);
  for (const auto& output : record->outputs)
    if (record->id < graph::TaskId{output->id.session, output->id.id}) ++session->draft_outputs;
  session->retain();
  record->retain();
  handle->record = record.get();
  handle->session = session;
  handle->next = session->tasks;
  if (session->tasks) session->tasks->previous = handle;
  session->tasks = handle;
}

/// Outputs as Python described them; those that exist already get a producer.
void add_described_outputs(TaskHandle* handle, const TaskRef& task, SessionCore* session,
                           PyObject* outputs) {
  std::vector<ObjectHandle*> existing;
  const auto items = py::reinterpret_borrow<py::list>(outputs);
  for (const py::handle item : items)
    if (is_data_object(item.ptr())) existing.push_back(free_output(item.ptr(), session));
  for (const py::handle item : items) {
    if (is_data_object(item.ptr())) {
      task->outputs.emplace_back(reinterpret_cast<ObjectHandle*>(item.ptr())->record);
    } else {
      const auto output = py::reinterpret_borrow<py::tuple>(item);
      add_output(*task, session, text_or_empty(output[0].ptr(), "the label of an output"),
                 text_or_empty(output[1].ptr(), "the content type of an output"),
                 output[2].ptr() == Py_True ? DataType::directory : DataType::blob);
    }
  }
  if (existing.empty()) return;
  for (ObjectHandle* output : existing) {
    output->record->producer = task.get();
    output->owns_keep = false;
    task->retain();
    output->producer = task.get();
  }
  // These handles have an identity already: the task holds on to them.
  auto handles =
      py::reinterpret_steal<py::tuple>(PyTuple_New(static_cast<Py_ssize_t>(task->outputs.size())));
  if (!handles) throw py::error_already_set();
  Py_ssize_t position = 0;
  for (const auto& output : task->outputs)
    PyTuple_SET_ITEM(handles.ptr(), position++,
                     object_handle(session, output.get(), task.get(), false));
  handle->outputs = handles.release().ptr();
  track(reinterpret_cast<PyObject*>(handle));
}

/// The form of remote functions, whose calls differ in little: a tuple of the inputs' labels (None:
/// no input has one) and a list of descriptions as the Python hook makes them.
bool is_described(PyObject* outputs) {
  return outputs && PyTuple_CheckExact(outputs) && PyTuple_GET_SIZE(outputs) == 2 &&
         PyList_CheckExact(PyTuple_GET_ITEM(outputs, 1));
}

}  // namespace

PyObject* handles::task_init(PyObject* self, PyObject* const* args, Py_ssize_t count,
                             PyObject* names) {
  return guarded([&]() -> PyObject* {
    auto* handle = reinterpret_cast<TaskHandle*>(self);
    if (handle->record) raise("RainException", "Task.__init__ was called twice");
    TaskArguments arguments;
    parse(arguments, args, count, names);
    SessionCore* session = usable_core(arguments[TaskArguments::session]);
    const Governor::Method method = method_of(self, arguments, session);

    const TaskRef task(new TaskRecord);
    task->session = session->record.get();
    task->type = method.type;
    task->method = method.method;
    task->cpus = cpus_of(arguments[TaskArguments::cpus]);
    fill_extras(*task, arguments);
    fill_annex(*task, arguments);

    PyObject* inputs = arguments[TaskArguments::inputs];
    PyObject* outputs = arguments[TaskArguments::outputs];
    const Py_ssize_t output_count = plain_outputs(outputs);
    if (is_described(outputs) && plain_inputs(inputs, session, task->inputs)) {
      fill_input_labels(*task, PyTuple_GET_ITEM(outputs, 0));
      task->id = {session->record->id, session->next_id++};
      add_described_outputs(handle, task, session, PyTuple_GET_ITEM(outputs, 1));
    } else if (output_count >= 0 && plain_inputs(inputs, session, task->inputs)) {
      task->id = {session->record->id, session->next_id++};
      task->outputs.reserve(static_cast<std::size_t>(output_count));
      for (Py_ssize_t i = 0; i < output_count; ++i) add_output(*task, session);
    } else {
      const Normalised normalised(inputs, outputs);
      task->inputs.clear();
      if (!plain_inputs(normalised.inputs, session, task->inputs))
        throw py::type_error("the inputs of a task must be data objects");
      fill_input_labels(*task, normalised.labels);
      task->id = {session->record->id, session->next_id++};
      add_described_outputs(handle, task, session, normalised.outputs);
    }
    session->note_origin(task->id.id, method.method);
    adopt(handle, session, task);
    Py_RETURN_NONE;
  });
}

void handles::prepare_task_creation() {
  constexpr const char* kNames[] = {"inputs",    "outputs", "config", "session",
                                    "task_type", "cpus",    "name",   "user_spec",
                                    "retries",   "timeout", "memory", "resources"};
  for (int i = 0; i < TaskArguments::count; ++i)
    argument_names[i] = PyUnicode_InternFromString(kNames[i]);
  name_task_type = PyUnicode_InternFromString("TASK_TYPE");
}

}  // namespace rain::bindings
