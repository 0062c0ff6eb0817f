#pragma once

// What the three handle types of objects.h share, for the files that define them: sessions are
// in objects.cpp, data objects in data_objects.cpp, tasks in tasks.cpp and task_creation.cpp.
// Millions of tasks are made through this: what is small is inline. Everything is under the GIL.

#include <pybind11/pybind11.h>
#include <structmember.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "errors.h"
#include "objects.h"
#include "values.h"

namespace rain::bindings::handles {

namespace py = pybind11;

using graph::ObjectRecord;
using graph::ObjectRef;
using graph::ObjectState;
using graph::TaskRecord;
using graph::TaskRef;
using tasklib::wire::DataType;

// The types, and what Python registers with them; all live as long as the process.
inline PyTypeObject* task_base = nullptr;
inline PyTypeObject* object_base = nullptr;
inline PyTypeObject* object_class = nullptr;  // rain.client.data.DataObject
inline PyObject* normalise_hook = nullptr;    // rain.client.task.normalise

// Of the governor in this process, which has no address (reference 2.1: ip:port).
constexpr const char* kOwnGovernor = "127.0.0.1:0";

inline PyObject* incref(PyObject* object) {
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

inline void track(PyObject* self) {
  if (!PyObject_GC_IsTracked(self)) PyObject_GC_Track(self);
}

inline PyObject* new_untracked(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);  // all zero
  if (self && PyObject_GC_IsTracked(self)) PyObject_GC_UnTrack(self);
  return self;
}

inline int set_attribute(PyObject* self, PyObject* name, PyObject* value) {
  if (PyObject_GenericSetAttr(self, name, value) != 0) return -1;
  track(self);
  return 0;
}

inline PyObject* get_dict(PyObject* self, void* context) {
  track(self);
  return PyObject_GenericGetDict(self, context);
}

inline PyGetSetDef dict_getset() {
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

inline void free_handle(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

inline PyObject* id_pair(std::int32_t session, std::int32_t id) {
  return Py_BuildValue("(ii)", static_cast<int>(session), static_cast<int>(id));
}

// ---- records ------------------------------------------------------------------------------------

/// No handle covers this object any more.
inline void end_keeping(SessionCore* session, ObjectRecord* record) {
  if (!record->kept.load(std::memory_order_relaxed)) return;
  if (record->state.load(std::memory_order_relaxed) == ObjectState::draft)
    record->kept.store(false, std::memory_order_relaxed);
  else
    session->unkeep_later(record);
}

inline ObjectAnnex& annex_for(ObjectRecord* record) {
  if (!record->annex) record->annex = std::make_unique<ObjectAnnex>();
  return static_cast<ObjectAnnex&>(*record->annex);
}

inline TaskAnnex& annex_for(TaskRecord* record) {
  if (!record->annex) record->annex = std::make_unique<TaskAnnex>();
  return static_cast<TaskAnnex&>(*record->annex);
}

inline std::string text_or_empty(PyObject* text, const char* what) {
  if (!text || text == Py_None) return {};
  if (!PyUnicode_Check(text))
    throw py::type_error(std::string(what) + " must be a str, not " + Py_TYPE(text)->tp_name);
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text, &size);
  if (!data) throw py::error_already_set();
  return std::string(data, static_cast<std::size_t>(size));
}

/// Gives a new record an annex if there is anything to say.
inline void describe(ObjectRecord& record, std::string label, std::string content_type,
                     DataType data_type) {
  if (label.empty() && content_type.empty() && data_type == DataType::blob) return;
  ObjectAnnex& annex = annex_for(&record);
  annex.label = std::move(label);
  annex.content_type = std::move(content_type);
  annex.data_type = data_type;
}

inline PyObject* text_or_none(const std::string& text) {
  if (text.empty()) Py_RETURN_NONE;
  return PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
}

/// _note_edited(): the handle lives until submit, which asks it to write its spec back.
inline PyObject* note_edited(SessionCore* session, PyObject* self) {
  session->edited.push_back(incref(self));
  Py_RETURN_NONE;
}

// ---- making the types ---------------------------------------------------------------------------

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

// ---- what one file has for the others -----------------------------------------------------------

/// Of objects.cpp. `session` may be null or None: the active one. Throws when it cannot take
/// anything.
SessionCore* usable_core(PyObject* session);

/// Of data_objects.cpp. The living handle of a record, else a new one. New reference; throws.
PyObject* object_handle(SessionCore* session, ObjectRecord* record, TaskRecord* producer,
                        bool owns_keep);
void bind_data_objects(py::module_& module);

/// Of tasks.cpp.
void bind_tasks(py::module_& module);

/// Of task_creation.cpp. TaskBase.__init__, and what it needs before the first task.
PyObject* task_init(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names);
void prepare_task_creation();

}  // namespace rain::bindings::handles
