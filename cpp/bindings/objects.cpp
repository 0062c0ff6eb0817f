#include "objects.h"

#include <structmember.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "blob.h"
#include "errors.h"
#include "upload.h"
#include "values.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using graph::ObjectRecord;
using graph::ObjectRef;
using graph::ObjectState;
using graph::TaskRecord;
using graph::TaskRef;
using graph::TaskState;
using tasklib::wire::DataType;

// The types, and what Python registers with them; all live as long as the process.
PyTypeObject* task_base = nullptr;
PyTypeObject* object_base = nullptr;
PyTypeObject* session_base = nullptr;
PyTypeObject* object_class = nullptr;   // rain.client.data.DataObject
PyTypeObject* session_class = nullptr;  // rain.client.session.Session
PyObject* normalise_hook = nullptr;     // rain.client.task.normalise
PyObject* active_sessions = nullptr;    // context variable: tuple of Sessions
PyObject* default_session = nullptr;    // a Session, or null
PyObject* name_task_type = nullptr;     // "TASK_TYPE"

// Of the governor in this process, which has no address (reference 2.1: ip:port).
constexpr const char* kOwnGovernor = "127.0.0.1:0";

PyObject* incref(PyObject* object) {
  Py_INCREF(object);
  return object;
}

/// What a C-API function does around C++ that may throw.
template <class Body>
PyObject* guarded(Body&& body) noexcept {
  try {
    return body();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

void track(PyObject* self) {
  if (!PyObject_GC_IsTracked(self)) PyObject_GC_Track(self);
}

// ---- what the three types share -----------------------------------------------------------------

PyObject* new_untracked(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);  // all zero
  if (self && PyObject_GC_IsTracked(self)) PyObject_GC_UnTrack(self);
  return self;
}

int set_attribute(PyObject* self, PyObject* name, PyObject* value) {
  if (PyObject_GenericSetAttr(self, name, value) != 0) return -1;
  track(self);
  return 0;
}

PyObject* get_dict(PyObject* self, void* context) {
  track(self);
  return PyObject_GenericGetDict(self, context);
}

PyGetSetDef dict_getset() {
  return {"__dict__", get_dict, PyObject_GenericSetDict, nullptr, nullptr};
}

template <class Handle>
PyObject* get_cache(PyObject* self, void*) {
  auto* handle = reinterpret_cast<Handle*>(self);
  if (!handle->cache) {
    handle->cache = PyDict_New();
    if (!handle->cache) return nullptr;
    track(self);
  }
  return incref(handle->cache);
}

void free_handle(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* id_pair(std::int32_t session, std::int32_t id) {
  return Py_BuildValue("(ii)", static_cast<int>(session), static_cast<int>(id));
}

// ---- sessions -----------------------------------------------------------------------------------

int session_traverse(PyObject* self, visitproc visit, void* arg) {
  auto* handle = reinterpret_cast<SessionHandle*>(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(handle->dict);
  return 0;
}

int session_clear(PyObject* self) {
  Py_CLEAR(reinterpret_cast<SessionHandle*>(self)->dict);
  return 0;
}

void session_dealloc(PyObject* self) {
  auto* handle = reinterpret_cast<SessionHandle*>(self);
  PyObject_GC_UnTrack(self);
  if (handle->weak_references) PyObject_ClearWeakRefs(self);
  if (SessionCore* core = std::exchange(handle->core, nullptr)) {
    core->facade = nullptr;
    core->release();
  }
  session_clear(self);
  free_handle(self);
}

SessionCore* active_core() {
  PyObject* stack = nullptr;
  if (PyContextVar_Get(active_sessions, nullptr, &stack) != 0) throw py::error_already_set();
  const auto held = py::reinterpret_steal<py::object>(stack);
  if (stack && PyTuple_GET_SIZE(stack) > 0)
    return core_of(PyTuple_GET_ITEM(stack, PyTuple_GET_SIZE(stack) - 1));
  if (default_session) return core_of(default_session);
  // The variable is what governors tell their executors.
  if (std::getenv("RAIN_EXECUTOR_SOCKET"))
    raise("RainException",
          "No active session: a task cannot add tasks or data objects to the session that it "
          "belongs to. Return the data and make the tasks in the client's program; call the "
          "function of a @remote directly, as other.fn(ctx, ...); or make a Client() here");
  raise("RainException",
        "No active session: create tasks and data objects inside `with client.new_session():`, "
        "pass session=..., or call Session.set_as_default()");
}

/// `session` may be null or None: the active one. Throws when it cannot take anything.
SessionCore* usable_core(PyObject* session) {
  SessionCore* core = session && session != Py_None ? core_of(session) : active_core();
  if (!core->usable()) raise("SessionClosed", "Session is closed");
  return core;
}

// ---- data objects -------------------------------------------------------------------------------

int object_traverse(PyObject* self, visitproc visit, void* arg) {
  auto* handle = reinterpret_cast<ObjectHandle*>(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(handle->dict);
  Py_VISIT(handle->cache);
  return 0;
}

int object_clear(PyObject* self) {
  auto* handle = reinterpret_cast<ObjectHandle*>(self);
  Py_CLEAR(handle->dict);
  Py_CLEAR(handle->cache);
  return 0;
}

/// No handle covers this object any more.
void end_keeping(SessionCore* session, ObjectRecord* record) {
  if (!record->kept.load(std::memory_order_relaxed)) return;
  if (record->state.load(std::memory_order_relaxed) == ObjectState::draft)
    record->kept.store(false, std::memory_order_relaxed);
  else
    session->unkeep_later(record);
}

/// The handle of a client's constant ends: no session keeps its own record of it any longer.
void end_sharing(SessionCore* session, ObjectRecord* record) {
  if (!session->engine) return;
  const auto shared = session->engine->shared().extract(record);
  if (!shared) return;
  for (const auto& [user, copy] : shared.mapped().copies) end_keeping(user, copy.get());
}

void object_dealloc(PyObject* self) {
  auto* handle = reinterpret_cast<ObjectHandle*>(self);
  PyObject_GC_UnTrack(self);
  if (handle->weak_references) PyObject_ClearWeakRefs(self);
  object_clear(self);
  if (ObjectRecord* record = std::exchange(handle->record, nullptr)) {
    SessionCore* session = std::exchange(handle->session, nullptr);
    session->objects.erase(record);
    end_sharing(session, record);
    if (handle->owns_keep) end_keeping(session, record);
    if (handle->producer) handle->producer->release();
    record->release();
    session->release();
  }
  free_handle(self);
}

/// Binds a handle to its record. `handle` is fresh.
void bind(ObjectHandle* handle, SessionCore* session, ObjectRecord* record, TaskRecord* producer,
          bool owns_keep) {
  record->retain();
  session->retain();
  if (producer) producer->retain();
  handle->record = record;
  handle->session = session;
  handle->producer = producer;
  handle->owns_keep = owns_keep;
  session->objects[record] = handle;
}

/// The living handle of a record, else a new one. New reference; throws.
PyObject* object_handle(SessionCore* session, ObjectRecord* record, TaskRecord* producer,
                        bool owns_keep) {
  const auto found = session->objects.find(record);
  if (found != session->objects.end()) {
    ObjectHandle* handle = found->second;
    handle->owns_keep |= owns_keep;
    if (producer && !handle->producer) {
      producer->retain();
      handle->producer = producer;
    }
    return incref(reinterpret_cast<PyObject*>(handle));
  }
  PyObject* self = new_untracked(object_class, nullptr, nullptr);
  if (!self) throw py::error_already_set();
  bind(reinterpret_cast<ObjectHandle*>(self), session, record, producer, owns_keep);
  return self;
}

ObjectAnnex& annex_for(ObjectRecord* record) {
  if (!record->annex) record->annex = std::make_unique<ObjectAnnex>();
  return static_cast<ObjectAnnex&>(*record->annex);
}

TaskAnnex& annex_for(TaskRecord* record) {
  if (!record->annex) record->annex = std::make_unique<TaskAnnex>();
  return static_cast<TaskAnnex&>(*record->annex);
}

std::string text_or_empty(PyObject* text, const char* what) {
  if (!text || text == Py_None) return {};
  if (!PyUnicode_Check(text))
    throw py::type_error(std::string(what) + " must be a str, not " + Py_TYPE(text)->tp_name);
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text, &size);
  if (!data) throw py::error_already_set();
  return std::string(data, static_cast<std::size_t>(size));
}

/// Gives a new record an annex if there is anything to say.
void describe(ObjectRecord& record, std::string label, std::string content_type,
              DataType data_type) {
  if (label.empty() && content_type.empty() && data_type == DataType::blob) return;
  ObjectAnnex& annex = annex_for(&record);
  annex.label = std::move(label);
  annex.content_type = std::move(content_type);
  annex.data_type = data_type;
}

PyObject* text_or_none(const std::string& text) {
  if (text.empty()) Py_RETURN_NONE;
  return PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
}

/// "blob" or "dir", as Rain writes them.
DataType data_type_of(PyObject* name) {
  const std::string text = text_or_empty(name, "data_type");
  if (text == "blob") return DataType::blob;
  if (text == "dir") return DataType::directory;
  throw py::value_error("data_type must be \"blob\" or \"dir\", not " +
                        std::string(py::repr(name)));
}

/// DataObject._create(session, label, content_type, data, data_type): gives the handle its record.
/// `data` is a bytes-like object or the path of a directory, or None: a task will produce it.
PyObject* object_create(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    if (count != 5) throw py::type_error("_create needs 5 arguments");
    auto* handle = reinterpret_cast<ObjectHandle*>(self);
    if (handle->record) raise("RainException", "DataObject.__init__ was called twice");
    SessionCore* session = usable_core(args[0]);
    const ObjectRef record(new ObjectRecord);
    std::string label = text_or_empty(args[1], "label");
    std::string content_type = text_or_empty(args[2], "content_type");
    const DataType data_type = data_type_of(args[4]);
    if (args[3] != Py_None && data_type == DataType::directory)
      record->data = upload_directory(session->engine, path_text(args[3]));
    else if (args[3] != Py_None)
      record->data = upload(session->engine, args[3]);
    describe(*record, std::move(label), std::move(content_type), data_type);
    record->session = session->record.get();
    record->id = {session->record->id, session->next_id++};
    session->note_origin(record->id.id, SessionCore::kNoMethod);
    session->draft_objects.push_back(record);
    bind(handle, session, record.get(), nullptr, true);
    Py_RETURN_NONE;
  });
}

template <class Answer>
PyObject* with_object(PyObject* self, Answer&& answer) {
  return guarded([&]() -> PyObject* { return answer(initialised_object(self)); });
}

PyObject* object_id(PyObject* self, void*) {
  return with_object(self, [](ObjectHandle* handle) {
    return id_pair(handle->record->id.session, handle->record->id.id);
  });
}

PyObject* object_state(PyObject* self, void*) {
  return with_object(self, [](ObjectHandle* handle) {
    return PyLong_FromLong(static_cast<long>(handle->record->state.load()));
  });
}

PyObject* object_kept(PyObject* self, void*) {
  return with_object(
      self, [](ObjectHandle* handle) { return PyBool_FromLong(handle->record->kept.load()); });
}

PyObject* object_session(PyObject* self, void*) {
  return with_object(self, [](ObjectHandle* handle) { return session_facade(handle->session); });
}

PyObject* object_label(PyObject* self, void*) {
  return with_object(self, [](ObjectHandle* handle) -> PyObject* {
    const ObjectAnnex* annex = annex_of(*handle->record);
    if (!annex) Py_RETURN_NONE;
    return text_or_none(annex->label);
  });
}

PyObject* object_declared_type(PyObject* self, void*) {
  return with_object(self, [](ObjectHandle* handle) -> PyObject* {
    const ObjectAnnex* annex = annex_of(*handle->record);
    if (!annex) Py_RETURN_NONE;
    return text_or_none(annex->content_type);
  });
}

PyObject* object_is_directory(PyObject* self, void*) {
  return with_object(self, [](ObjectHandle* handle) {
    const ObjectAnnex* annex = annex_of(*handle->record);
    return PyBool_FromLong(annex && annex->data_type == DataType::directory);
  });
}

PyObject* object_has_producer(PyObject* self, void*) {
  return with_object(self, [](ObjectHandle* handle) {
    return PyBool_FromLong(!handle->record->data && handle->producer != nullptr);
  });
}

/// _set_kept(flag): of a draft.
PyObject* object_set_kept(PyObject* self, PyObject* flag) {
  return with_object(self, [&](ObjectHandle* handle) -> PyObject* {
    handle->record->kept.store(flag == Py_True);
    Py_RETURN_NONE;
  });
}

/// _share(): every session of the client may use this draft constant.
PyObject* object_share(PyObject* self, PyObject*) {
  return with_object(self, [](ObjectHandle* handle) -> PyObject* {
    handle->record->kept.store(true);
    handle->session->engine->shared()[handle->record].data = handle->record->data;
    Py_RETURN_NONE;
  });
}

/// _user(): dict of the user attributes given by the client.
PyObject* object_user(PyObject* self, PyObject*) {
  return with_object(self, [](ObjectHandle* handle) {
    const ObjectAnnex* annex = annex_of(*handle->record);
    return annex ? from_user_attributes(annex->user).release().ptr() : PyDict_New();
  });
}

/// _note_edited(): the handle lives until submit, which asks it to write its spec back.
PyObject* note_edited(SessionCore* session, PyObject* self) {
  session->edited.push_back(incref(self));
  Py_RETURN_NONE;
}

PyObject* object_note_edited(PyObject* self, PyObject*) {
  return with_object(self,
                     [&](ObjectHandle* handle) { return note_edited(handle->session, self); });
}

/// _write_spec(label, content_type, user): of a draft.
PyObject* object_write_spec(PyObject* self, PyObject* args) {
  return with_object(self, [&](ObjectHandle* handle) -> PyObject* {
    PyObject *label, *content_type, *user;
    if (!PyArg_ParseTuple(args, "OOO", &label, &content_type, &user)) return nullptr;
    auto attributes = to_user_attributes(user, "spec.user");
    std::string label_text = text_or_empty(label, "spec.label");
    std::string type_text = text_or_empty(content_type, "spec.content_type");
    if (attributes.empty() && label_text.empty() && type_text.empty() && !handle->record->annex)
      Py_RETURN_NONE;
    ObjectAnnex& annex = annex_for(handle->record);
    annex.label = std::move(label_text);
    annex.content_type = std::move(type_text);
    annex.user = std::move(attributes);
    Py_RETURN_NONE;
  });
}

/// _result(): (size, content_type, error, debug, user), or None before the object is finished.
PyObject* object_result(PyObject* self, PyObject*) {
  return with_object(self, [](ObjectHandle* handle) -> PyObject* {
    const ObjectState state = handle->record->state.load(std::memory_order_acquire);
    if (state != ObjectState::finished && state != ObjectState::removed) Py_RETURN_NONE;
    const auto* info = result_of(*handle->record);
    if (!info) return Py_BuildValue("(OsssN)", Py_None, "", "", "", PyDict_New());
    const py::object size = info->size ? py::object(py::int_(*info->size)) : py::none();
    return py::make_tuple(size, info->content_type, info->error, info->debug,
                          from_user_attributes(info->user))
        .release()
        .ptr();
  });
}

PyMethodDef object_methods[] = {
    {"_create", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(object_create)),
     METH_FASTCALL, nullptr},
    {"_set_kept", object_set_kept, METH_O, nullptr},
    {"_share", object_share, METH_NOARGS, nullptr},
    {"_user", object_user, METH_NOARGS, nullptr},
    {"_note_edited", object_note_edited, METH_NOARGS, nullptr},
    {"_write_spec", object_write_spec, METH_VARARGS, nullptr},
    {"_result", object_result, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef object_getset[] = {
    dict_getset(),
    {"_cache", get_cache<ObjectHandle>, nullptr, nullptr, nullptr},
    {"_id", object_id, nullptr, nullptr, nullptr},
    {"_state", object_state, nullptr, nullptr, nullptr},
    {"_kept", object_kept, nullptr, nullptr, nullptr},
    {"session", object_session, nullptr, "The Session that the object belongs to.", nullptr},
    {"label", object_label, nullptr, "The object's label, or None.", nullptr},
    {"_declared_type", object_declared_type, nullptr, nullptr, nullptr},
    {"_is_directory", object_is_directory, nullptr, nullptr, nullptr},
    {"_has_producer", object_has_producer, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

// ---- tasks --------------------------------------------------------------------------------------

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

PyObject* task_init(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
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

// ---- making the types -----------------------------------------------------------------------

template <class Handle>
PyMemberDef* handle_members() {
  static PyMemberDef members[] = {
      {"__dictoffset__", T_PYSSIZET, offsetof(Handle, dict), READONLY, nullptr},
      {"__weaklistoffset__", T_PYSSIZET, offsetof(Handle, weak_references), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  return members;
}

struct TypeParts {
  const char* name;
  const char* doc;
  destructor dealloc;
  traverseproc traverse;
  inquiry clear;
  PyMethodDef* methods;
  PyGetSetDef* getset;
};

template <class Handle>
PyTypeObject* make_type(py::module_& module, const TypeParts& parts) {
  PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>(parts.doc)},
                         {Py_tp_new, reinterpret_cast<void*>(new_untracked)},
                         {Py_tp_dealloc, reinterpret_cast<void*>(parts.dealloc)},
                         {Py_tp_traverse, reinterpret_cast<void*>(parts.traverse)},
                         {Py_tp_clear, reinterpret_cast<void*>(parts.clear)},
                         {Py_tp_setattro, reinterpret_cast<void*>(set_attribute)},
                         {Py_tp_members, handle_members<Handle>()},
                         {Py_tp_getset, parts.getset},
                         {Py_tp_methods, parts.methods},
                         {0, nullptr}};
  PyType_Spec spec{parts.name, static_cast<int>(sizeof(Handle)), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (!type) throw py::error_already_set();
  module.add_object(std::strrchr(parts.name, '.') + 1, py::reinterpret_borrow<py::object>(type));
  return reinterpret_cast<PyTypeObject*>(type);
}

PyMethodDef no_methods[] = {{nullptr, nullptr, 0, nullptr}};
PyGetSetDef session_getset[] = {dict_getset(), {nullptr, nullptr, nullptr, nullptr, nullptr}};

void set_active(const py::tuple& stack) {
  PyObject* token = PyContextVar_Set(active_sessions, stack.ptr());
  if (!token) throw py::error_already_set();
  Py_DECREF(token);
}

py::tuple active_stack() {
  PyObject* stack = nullptr;
  if (PyContextVar_Get(active_sessions, nullptr, &stack) != 0) throw py::error_already_set();
  if (!stack) return py::tuple();
  return py::reinterpret_steal<py::tuple>(stack);
}

void push_session(const py::object& session) {
  core_of(session.ptr());
  const py::tuple stack = active_stack();
  set_active(py::tuple(stack + py::make_tuple(session)));
}

py::object pop_session() {
  const py::tuple stack = active_stack();
  if (stack.empty()) raise("RainException", "No active session");
  const py::object last = stack[stack.size() - 1];
  set_active(py::tuple(stack[py::slice(0, static_cast<py::ssize_t>(stack.size()) - 1, 1)]));
  return last;
}

}  // namespace

bool is_task(PyObject* object) { return PyObject_TypeCheck(object, task_base); }
bool is_data_object(PyObject* object) { return PyObject_TypeCheck(object, object_base); }

TaskHandle* initialised_task(PyObject* object) {
  auto* handle = reinterpret_cast<TaskHandle*>(object);
  if (!handle->record)
    raise("RainException", std::string(Py_TYPE(object)->tp_name) +
                               " is not initialised: call super().__init__(inputs, outputs) in "
                               "its __init__");
  return handle;
}

ObjectHandle* initialised_object(PyObject* object) {
  auto* handle = reinterpret_cast<ObjectHandle*>(object);
  if (!handle->record)
    raise("RainException", std::string(Py_TYPE(object)->tp_name) +
                               " is not initialised: call super().__init__() in its __init__");
  return handle;
}

SessionCore* core_of(PyObject* session) {
  if (!PyObject_TypeCheck(session, session_base))
    throw py::type_error(std::string("session must be a Session, not ") +
                         Py_TYPE(session)->tp_name);
  SessionCore* core = reinterpret_cast<SessionHandle*>(session)->core;
  if (!core) raise("RainException", "the Session is not initialised; use Client.new_session()");
  return core;
}

PyObject* session_facade(SessionCore* core) {
  if (core->facade) return incref(core->facade);
  PyObject* self = new_untracked(session_class, nullptr, nullptr);
  if (!self) throw py::error_already_set();
  reinterpret_cast<SessionHandle*>(self)->core = core;
  core->retain();
  core->facade = self;
  return self;
}

void bind_objects(py::module_& module) {
  task_base = make_type<TaskHandle>(
      module, {"rain._core.TaskBase", "Handle of a task: what rain.client.Task is made of.",
               task_dealloc, task_traverse, task_clear, task_methods, task_getset});
  object_base = make_type<ObjectHandle>(
      module, {"rain._core.DataObjectBase",
               "Handle of a data object: what rain.client.DataObject is made of.", object_dealloc,
               object_traverse, object_clear, object_methods, object_getset});
  session_base = make_type<SessionHandle>(
      module,
      {"rain._core.SessionBase", "Handle of a session: what rain.client.Session is made of.",
       session_dealloc, session_traverse, session_clear, no_methods, session_getset});

  constexpr const char* kNames[] = {"inputs",    "outputs", "config", "session",
                                    "task_type", "cpus",    "name",   "user_spec",
                                    "retries",   "timeout", "memory", "resources"};
  for (int i = 0; i < TaskArguments::count; ++i)
    argument_names[i] = PyUnicode_InternFromString(kNames[i]);
  name_task_type = PyUnicode_InternFromString("TASK_TYPE");
  module.attr("own_governor") = kOwnGovernor;
  active_sessions = PyContextVar_New("rain_active_sessions", nullptr);
  if (!active_sessions) throw py::error_already_set();

  module.def("register_classes", [](const py::type& data_object, const py::type& session,
                                    py::object normalise) {
    object_class = reinterpret_cast<PyTypeObject*>(py::type(data_object).release().ptr());
    session_class = reinterpret_cast<PyTypeObject*>(py::type(session).release().ptr());
    normalise_hook = normalise.release().ptr();
  });
  module.def("set_own_directory", &Origins::set_own_directory);
  module.def("push_session", &push_session);
  module.def("pop_session", &pop_session);
  module.def("active_session",
             [] { return py::reinterpret_steal<py::object>(session_facade(active_core())); });
  module.def("make_room", [](const py::object& session, std::uint64_t size_bytes) {
    const auto& engine = usable_core(session.ptr())->engine;
    if (!engine) return make_ordinary_room(size_bytes);
    try {
      return make_room(engine, size_bytes);
    } catch (const tasklib::base::StoreFull&) {
      return make_ordinary_room(size_bytes);  // upload() will write it to disk, or say why not
    }
  });
  module.def("set_default_session", [](const py::object& session) {
    PyObject* next = session.is_none() ? nullptr : incref(session.ptr());
    Py_XSETREF(default_session, next);
  });
  module.def("default_session", []() -> py::object {
    if (!default_session) return py::none();
    return py::reinterpret_borrow<py::object>(default_session);
  });
}

}  // namespace rain::bindings
