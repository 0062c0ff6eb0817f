#include "executor.h"

#include <pybind11/stl.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "executor/access.h"
#include "executor/call.h"
#include "task_context.h"
#include "task_data.h"
#include "tasklib/executor.h"
#include "tasklib/testing.h"
#include "typed_form.h"
#include "values.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

/// The GIL for one of the executor's threads, which live in C++ and come to Python call by call.
/// Keeps the thread's Python state in between: making one anew costs more than a call.
class PythonThread {
 public:
  /// Requires: this thread holds the GIL (the thread that calls start()). Releases it.
  void lend() { state_ = PyEval_SaveThread(); }
  void take_back() { PyEval_RestoreThread(std::exchange(state_, nullptr)); }
  /// What lend() replaces: something when a task tries a task.
  PyThreadState* lent() const { return state_; }
  void set_lent(PyThreadState* state) { state_ = state; }

  void enter() {
    if (state_) {
      PyEval_RestoreThread(state_);
    } else {
      gil_ = PyGILState_Ensure();
      state_ = PyThreadState_Get();
      made_ = true;
    }
  }
  void leave() { PyEval_SaveThread(); }

  ~PythonThread() {
    if (!made_) return;
    PyEval_RestoreThread(state_);
    PyGILState_Release(gil_);
  }

 private:
  PyThreadState* state_ = nullptr;
  PyGILState_STATE gil_{};
  bool made_ = false;
};

thread_local PythonThread this_thread;

struct HoldGil {
  HoldGil() { this_thread.enter(); }
  ~HoldGil() { this_thread.leave(); }
};

std::string shortened_repr(PyObject* value) {
  constexpr std::size_t kMaxBytes = 1000;
  const auto text = py::reinterpret_steal<py::object>(PyObject_Repr(value));
  if (!text) {
    PyErr_Clear();
    return std::string("<") + Py_TYPE(value)->tp_name + ", whose repr() fails>";
  }
  std::string repr = py::cast<std::string>(text);
  if (repr.size() > kMaxBytes) repr = repr.substr(0, kMaxBytes) + "...";
  return repr;
}

/// What the task printed is in the log before its result is sent.
void flush_output() {
  static PyObject* const flush = PyUnicode_InternFromString("flush");
  for (const char* name : {"stdout", "stderr"}) {
    PyObject* stream = PySys_GetObject(name);  // borrowed
    if (!stream || stream == Py_None) continue;
    Py_INCREF(stream);  // what it calls may replace it
    Py_XDECREF(PyObject_CallMethodNoArgs(stream, flush));
    Py_DECREF(stream);
    PyErr_Clear();  // closed, or whatever the task put there
  }
}

/// Where a trial in this thread wants the exception that a task left (a new reference).
thread_local PyObject** wanted_exception = nullptr;

/// Takes the Python error that is set and makes it the task's: its traceback, and itself.
void take_error(tasklib::Context& context) {
  if (const auto mismatch = take_mismatch()) return context.set_error(*mismatch);
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (value && trace) PyException_SetTraceback(value, trace);
  const auto error_type = py::reinterpret_steal<py::object>(type);
  const auto error = py::reinterpret_steal<py::object>(value);
  const auto traceback = py::reinterpret_steal<py::object>(trace);
  if (wanted_exception && !*wanted_exception) *wanted_exception = Py_XNewRef(value);
  if (tasklib::executor::Access::state(context).alone) {  // start() raises it
    context.set_error(reinterpret_cast<PyTypeObject*>(error_type.ptr())->tp_name);
    return;
  }
  try {
    const auto module = py::module_::import("rain.tasklib.failure");
    context.set_error(py::cast<std::string>(module.attr("describe")(error)));
    tasklib::executor::Access::state(context).exception =
        py::cast<std::string>(module.attr("pickled")(error));
  } catch (const std::exception&) {  // error_already_set and cast_error
    PyErr_Clear();
    if (!context.has_error())
      context.set_error(std::string(reinterpret_cast<PyTypeObject*>(error_type.ptr())->tp_name) +
                        " (its traceback could not be formatted)");
  }
}

bool is_array(PyObject* value) {
  return std::strcmp(Py_TYPE(value)->tp_name, "numpy.ndarray") == 0;
}

/// A numpy array goes with shape and dtype, where the client didn't declare what it is.
tasklib::DataInstancePtr output_of(TaskContext& context, PyObject* value, bool may_shrink,
                                   std::size_t index) {
  if (!is_array(value) ||
      !tasklib::executor::Access::output_spec(*context.context, index).content_type.empty())
    return to_instance(context, value, may_shrink);
  const py::handle self(reinterpret_cast<PyObject*>(&context));
  const py::object made = self.attr("_array")(py::handle(value), may_shrink);
  return to_instance(context, made.ptr(), may_shrink);
}

void add_output(TaskContext& context, PyObject* value, bool may_shrink,
                tasklib::DataInstanceVec& outputs) {
  tasklib::DataInstancePtr instance = output_of(context, value, may_shrink, outputs.size());
  if (!instance)
    throw py::type_error("Invalid result object: " + shortened_repr(value) +
                         "\nA task returns bytes, str, anything with the buffer protocol (such as "
                         "a numpy array), or a DataInstance; ctx.blob(value, encode=\"pickle\") "
                         "makes one of any other value");
  outputs.push_back(std::move(instance));
}

bool is_mapping(PyObject* value) {
  return PyDict_Check(value) || (PyMapping_Check(value) && PyObject_HasAttrString(value, "keys"));
}

bool is_sequence(PyObject* value) {
  return PyTuple_Check(value) || PyList_Check(value) ||
         (PySequence_Check(value) && !PyUnicode_Check(value) && !PyBytes_Check(value) &&
          !PyByteArray_Check(value) && !PyMemoryView_Check(value) && !is_task_data(value) &&
          !is_task_buffer(value));
}

/// Reference 3.3, "Result conversion". Throws error_already_set and other exceptions for Python.
void convert_result(TaskContext& self, PyObject* result, tasklib::DataInstanceVec& outputs) {
  const tasklib::Context& context = *self.context;
  const std::size_t count = context.n_outputs();
  if (count == 1) return add_output(self, result, true, outputs);
  outputs.reserve(count);
  if (count == 0) {
    if (result != Py_None && !(PyTuple_Check(result) && PyTuple_GET_SIZE(result) == 0))
      throw py::value_error("No returned value allowed (0 outputs declared)");
  } else if (is_mapping(result)) {
    for (std::size_t i = 0; i < count; ++i) {
      const py::str label(tasklib::executor::Access::output_spec(context, i).label);
      const auto value = py::reinterpret_steal<py::object>(PyObject_GetItem(result, label.ptr()));
      if (!value) throw py::error_already_set();
      add_output(self, value.ptr(), false, outputs);
    }
  } else if (is_sequence(result)) {
    const auto items = py::reinterpret_steal<py::object>(PySequence_Fast(result, "a sequence"));
    if (!items) throw py::error_already_set();
    const auto given = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(items.ptr()));
    if (given != count)
      throw py::value_error("Python task should return " + std::to_string(count) +
                            " outputs, got " + std::to_string(given) + ".");
    for (std::size_t i = 0; i < count; ++i)
      add_output(self, PySequence_Fast_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i)), false,
                 outputs);
  } else {
    throw py::type_error("Invalid result of task (not a sequence type): " + shortened_repr(result));
  }
}

/// Of an annotated function: its form makes the outputs of the result. Throws as the above.
void write_result(TaskContext& self, PyObject* result, const TypedForm& form,
                  tasklib::DataInstanceVec& outputs) {
  const py::handle context(reinterpret_cast<PyObject*>(&self));
  const py::list made = form.write(context, py::handle(result));
  for (const py::handle each : made) add_output(self, each.ptr(), made.size() == 1, outputs);
}

/// os.environ is a copy: tells it what the loop did to CUDA_VISIBLE_DEVICES for a call with "gpu".
class VisibleDevices {
 public:
  explicit VisibleDevices(const tasklib::Context& context) {
    for (const auto& resource : tasklib::executor::Access::spec(context).resources)
      granted_ |= resource.first == "gpu";
    if (!granted_) return;
    take_over();
  }
  ~VisibleDevices() {
    if (!granted_) return;
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    put_back();
    PyErr_Restore(type, value, trace);
  }

 private:
  static constexpr const char* kName = "CUDA_VISIBLE_DEVICES";

  void take_over() {
    try {
      environ_ = py::module_::import("os").attr("environ");
      before_ = environ_.attr("get")(kName);
      if (const char* now = std::getenv(kName)) environ_[kName] = now;
    } catch (py::error_already_set&) {
      granted_ = false;
    }
  }
  void put_back() {
    try {
      if (before_.is_none())
        environ_.attr("pop")(kName, py::none());
      else
        environ_[kName] = before_;
    } catch (py::error_already_set&) {
    }
  }

  bool granted_ = false;
  py::object environ_, before_;
};

/// One function of the executor; called by its threads without the GIL.
class Handler {
 public:
  Handler(PyObject* function, const TypedForm* form, PyTypeObject* context_type,
          PyTypeObject* data_type)
      : function_(function), form_(form), context_type_(context_type), data_type_(data_type) {}

  void operator()(tasklib::Context& context, tasklib::DataInstanceVec& inputs,
                  tasklib::DataInstanceVec& outputs) const {
    const HoldGil gil;
    const VisibleDevices devices(context);
    if (PyErr_CheckSignals() != 0) return take_error(context);
    PyObject* self = make_task_context(context_type_, data_type_, context);
    if (!self) return take_error(context);
    auto& task_context = *reinterpret_cast<TaskContext*>(self);
    if (PyObject* result = call(self, context, inputs)) {
      try {
        if (form_ && !form_->write.is_none())
          write_result(task_context, result, *form_, outputs);
        else
          convert_result(task_context, result, outputs);
      } catch (...) {
        set_python_error();
      }
      Py_DECREF(result);
    }
    if (PyErr_Occurred()) take_error(context);
    flush_output();
    end_call(task_context);
    Py_DECREF(self);
  }

 private:
  /// New reference, or null with an error, in Python or in `context`.
  PyObject* call(PyObject* self, tasklib::Context& context,
                 tasklib::DataInstanceVec& inputs) const {
    constexpr std::size_t kOnStack = 8;
    std::array<PyObject*, kOnStack + 2> on_stack;
    std::vector<PyObject*> on_heap;
    PyObject** args = on_stack.data();
    if (inputs.size() > kOnStack) {
      on_heap.resize(inputs.size() + 2);
      args = on_heap.data();
    }
    args[0] = nullptr;  // for vectorcall
    args[1] = self;
    std::size_t count = 0;
    PyObject* result = nullptr;
    for (; count < inputs.size(); ++count) {
      args[count + 2] = make_task_data(data_type_, std::move(inputs[count]));
      if (!args[count + 2]) break;
    }
    if (count == inputs.size() && (!form_ || form_->read(context, args + 2, count))) {
      const std::size_t left_out = form_ && !form_->takes_context ? 1 : 0;
      result =
          PyObject_Vectorcall(function_, args + 1 + left_out,
                              (count + 1 - left_out) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
    }
    for (std::size_t i = 0; i < count; ++i) Py_DECREF(args[i + 2]);
    return result;
  }

  PyObject* function_;     // borrowed from the TaskExecutor
  const TypedForm* form_;  // as well; null: not annotated
  PyTypeObject* context_type_;
  PyTypeObject* data_type_;
};

class TaskExecutor {
 public:
  TaskExecutor(const std::string& type_name, py::type context_type, py::type data_type)
      : executor_(type_name),
        context_type_(std::move(context_type)),
        data_type_(std::move(data_type)) {}

  /// `form`: a TypedForm, or None.
  void add_task(const std::string& name, py::object function, py::object form) {
    const TypedForm* typed = form.is_none() ? nullptr : py::cast<const TypedForm*>(form);
    executor_.add_task(
        name, Handler(function.ptr(), typed, type_object(context_type_), type_object(data_type_)));
    if (typed) {
      if (auto signature = typed->signature())
        Access::methods(executor_).at(Access::type(executor_) + "/" + name).typed =
            std::make_unique<const tasklib::Signature>(*std::move(signature));
    }
    kept_.push_back(std::move(function));
    kept_.push_back(std::move(form));
  }

  /// Releases the GIL but for the handlers. No `threads`: as many as were registered.
  void start(std::optional<unsigned> threads) {
    PyObject* error = nullptr;  // of the one task that runs without a governor
    if (std::getenv("RAIN_REPRODUCE")) wanted_exception = &error;
    this_thread.lend();
    try {
      if (threads)
        executor_.start(*threads);
      else
        executor_.start();
    } catch (...) {
      this_thread.take_back();
      wanted_exception = nullptr;
      if (error) {
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
        Py_DECREF(error);
        throw py::error_already_set();
      }
      throw;
    }
    this_thread.take_back();
    wanted_exception = nullptr;
  }

  /// An input for call(): of bytes, str, what has a buffer, or a DataInstance. None: of nothing
  /// else.
  py::object make_input(const py::object& value) const {
    auto instance = is_task_data(value.ptr()) ? live_instance(value.ptr()).share()
                                              : instance_of_object(value.ptr());
    return instance ? instance_object(std::move(instance)) : py::none();
  }
  py::object make_file(const py::object& path) const {
    return instance_object(std::make_unique<tasklib::FileDataInstance>(path_text(path.ptr())));
  }

  /// Runs a task in this thread, for tests: (error or None, exception or None, outputs, debug
  /// text, attributes). `labels` of outputs; None: as many as the signature says, else one.
  py::tuple call(const std::string& name, const std::vector<py::object>& inputs,
                 const py::object& config, const py::dict& attributes,
                 std::optional<std::vector<std::string>> labels) {
    tasklib::testing::Call call(executor_, name);
    for (const py::object& input : inputs) call.input(live_instance(input.ptr()).share());
    call.config(value_of(config, "config"));
    for (const auto& [key, item] : attributes)
      call.attribute(py::cast<std::string>(key), value_of(item, "attributes"));
    if (labels) call.outputs(*std::move(labels));

    PyObject* exception = nullptr;
    const tasklib::testing::Result result = run(call, &exception);
    const auto caught = py::reinterpret_steal<py::object>(exception);

    py::list outputs;
    for (std::size_t i = 0; i < result.n_outputs(); ++i)
      outputs.append(instance_object(result.output(i).share()));
    const auto set = tasklib::executor::encode_value(tasklib::Value(result.attributes()));
    return py::make_tuple(
        result.failed() ? py::cast<py::object>(py::str(result.error())) : py::none(),
        caught ? caught : py::none(), outputs, result.debug(),
        from_cbor(tasklib::base::ByteView(std::string_view(set))));
  }

 private:
  using Access = tasklib::executor::Access;

  static tasklib::Value value_of(py::handle value, const char* what) {
    const auto raw = to_raw_value(value, what);
    return tasklib::executor::decode_value(tasklib::base::ByteView(std::string_view(raw)));
  }

  py::object instance_object(tasklib::DataInstancePtr instance) const {
    PyObject* made = make_task_data(type_object(data_type_), std::move(instance));
    if (!made) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(made);
  }

  static tasklib::testing::Result run(tasklib::testing::Call& call, PyObject** exception) {
    PyObject** const outer = std::exchange(wanted_exception, exception);
    PyThreadState* const lent = this_thread.lent();
    this_thread.lend();
    const auto end = [&] {
      this_thread.take_back();
      this_thread.set_lent(lent);
      wanted_exception = outer;
    };
    try {
      auto result = call.run();
      end();
      return result;
    } catch (...) {
      end();
      throw;
    }
  }

  static PyTypeObject* type_object(const py::type& type) {
    return reinterpret_cast<PyTypeObject*>(type.ptr());
  }

  tasklib::Executor executor_;
  py::type context_type_;
  py::type data_type_;
  std::vector<py::object> kept_;  // functions and forms
};

}  // namespace

void bind_executor(py::module_& module) {
  module.add_object("TaskContext", py::handle(reinterpret_cast<PyObject*>(task_context_type())));
  module.add_object("TaskData", py::handle(reinterpret_cast<PyObject*>(task_data_type())));
  module.add_object("TaskBuffer", py::handle(reinterpret_cast<PyObject*>(task_buffer_type())));
  py::class_<TaskExecutor>(module, "TaskExecutor")
      .def(py::init<const std::string&, py::type, py::type>(), py::arg("type_name"),
           py::arg("context_type"), py::arg("data_type"))
      .def("add_task", &TaskExecutor::add_task, py::arg("name"), py::arg("function"),
           py::arg("form") = py::none())
      .def("start", &TaskExecutor::start, py::arg("threads"))
      .def("make_input", &TaskExecutor::make_input, py::arg("value"))
      .def("make_file", &TaskExecutor::make_file, py::arg("path"))
      .def("call", &TaskExecutor::call, py::arg("name"), py::arg("inputs"), py::arg("config"),
           py::arg("attributes"), py::arg("labels"));
  bind_typed_form(module);
}

}  // namespace rain::bindings
