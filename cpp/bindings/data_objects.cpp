// DataObjectBase: the handle of a data object.

#include "handles.h"
#include "upload.h"

namespace rain::bindings {

using namespace handles;

namespace {

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

}  // namespace

PyObject* handles::object_handle(SessionCore* session, ObjectRecord* record, TaskRecord* producer,
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

void handles::bind_data_objects(py::module_& module) {
  object_base = make_type<ObjectHandle>(
      module, {"rain._core.DataObjectBase",
               "Handle of a data object: what rain.client.DataObject is made of.", object_dealloc,
               object_traverse, object_clear, object_methods, object_getset});
}

bool is_data_object(PyObject* object) { return PyObject_TypeCheck(object, object_base); }

ObjectHandle* initialised_object(PyObject* object) {
  auto* handle = reinterpret_cast<ObjectHandle*>(object);
  if (!handle->record)
    raise("RainException", std::string(Py_TYPE(object)->tp_name) +
                               " is not initialised: call super().__init__() in its __init__");
  return handle;
}

}  // namespace rain::bindings
