// SessionBase: the handle of a session; which session is active; and what makes the three types.

#include "objects.h"

#include <cstdlib>

#include "handles.h"
#include "upload.h"

namespace rain::bindings {

using namespace handles;

namespace {

PyTypeObject* session_base = nullptr;
PyTypeObject* session_class = nullptr;  // rain.client.session.Session
PyObject* active_sessions = nullptr;    // context variable: tuple of Sessions
PyObject* default_session = nullptr;    // a Session, or null

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

SessionCore* handles::usable_core(PyObject* session) {
  SessionCore* core = session && session != Py_None ? core_of(session) : active_core();
  if (!core->usable()) raise("SessionClosed", "Session is closed");
  return core;
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
  bind_tasks(module);
  bind_data_objects(module);
  session_base = make_type<SessionHandle>(
      module,
      {"rain._core.SessionBase", "Handle of a session: what rain.client.Session is made of.",
       session_dealloc, session_traverse, session_clear, no_methods, session_getset});

  prepare_task_creation();
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
