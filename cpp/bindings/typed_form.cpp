#include "typed_form.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <complex>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "executor/mismatch.h"
#include "task_data.h"
#include "tasklib/typed.h"
#include "value_shape.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using tasklib::DataInstance;
using tasklib::TypeMismatch;
using tasklib::ValueType;

PyObject* mismatch_class = nullptr;  // rain._core.TypeMismatch; made once

const DataInstance& instance_of(const py::object& data) {
  if (!is_task_data(data.ptr())) throw py::type_error("a DataInstance is needed");
  return live_instance(data.ptr());
}

ValueType::Kind kind_of(const std::string& name) {
  for (const auto& [each, kind] : {std::pair{"any", ValueType::Kind::any},
                                   {"bytes", ValueType::Kind::bytes},
                                   {"text", ValueType::Kind::text},
                                   {"ndarray", ValueType::Kind::ndarray},
                                   {"value", ValueType::Kind::value}})
    if (name == each) return kind;
  throw py::value_error("no kind of input: " + name);
}

ValueType value_type(const std::string& kind, const std::string& dtype,
                     std::optional<std::size_t> n_dimensions, const std::string& name) {
  ValueType type;
  type.kind = kind_of(kind);
  type.dtype = dtype;
  type.n_dimensions = n_dimensions.value_or(ValueType::any_dimensions);
  type.name = name;
  return type;
}

template <class T>
T item_at(const void* item) {
  T number;
  std::memcpy(&number, item, sizeof number);
  return number;
}

/// How a number of some dtype becomes one of Python.
struct ScalarType {
  const char* dtype;
  std::size_t item_bytes;
  py::object (*make)(const void* item);
};

constexpr ScalarType kScalarTypes[] = {
    {"<f8", 8, [](const void* item) -> py::object { return py::float_(item_at<double>(item)); }},
    {"<i8", 8,
     [](const void* item) -> py::object { return py::int_(item_at<std::int64_t>(item)); }},
    {"|b1", 1, [](const void* item) -> py::object { return py::bool_(item_at<bool>(item)); }},
    {"<f4", 4, [](const void* item) -> py::object { return py::float_(item_at<float>(item)); }},
    {"<i4", 4,
     [](const void* item) -> py::object { return py::int_(item_at<std::int32_t>(item)); }},
    {"<i2", 2,
     [](const void* item) -> py::object { return py::int_(item_at<std::int16_t>(item)); }},
    {"|i1", 1, [](const void* item) -> py::object { return py::int_(item_at<std::int8_t>(item)); }},
    {"<u8", 8,
     [](const void* item) -> py::object { return py::int_(item_at<std::uint64_t>(item)); }},
    {"<u4", 4,
     [](const void* item) -> py::object { return py::int_(item_at<std::uint32_t>(item)); }},
    {"<u2", 2,
     [](const void* item) -> py::object { return py::int_(item_at<std::uint16_t>(item)); }},
    {"|u1", 1,
     [](const void* item) -> py::object { return py::int_(item_at<std::uint8_t>(item)); }},
    {"<c8", 8,
     [](const void* item) -> py::object {
       const auto number = item_at<std::complex<float>>(item);
       return py::reinterpret_steal<py::object>(
           PyComplex_FromDoubles(number.real(), number.imag()));
     }},
    {"<c16", 16, [](const void* item) -> py::object {
       const auto number = item_at<std::complex<double>>(item);
       return py::reinterpret_steal<py::object>(
           PyComplex_FromDoubles(number.real(), number.imag()));
     }}};

py::object read_scalar(const py::object& data, const std::string& dtype) {
  for (const ScalarType& type : kScalarTypes)
    if (type.dtype == dtype)
      return type.make(tasklib::typed::read_scalar(instance_of(data), dtype, type.item_bytes));
  throw py::value_error("no dtype of a scalar: " + dtype);
}

py::object read_value(const py::object& data, const ValueShape& shape) {
  const tasklib::Value value = tasklib::typed::read_value(instance_of(data));
  try {
    return shape.from(value);
  } catch (const tasklib::ValueError& error) {
    throw TypeMismatch(error.what());
  }
}

py::str read_text(const py::object& data) {
  const tasklib::string_view text = tasklib::typed::read_text(instance_of(data));
  PyObject* made = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr);
  if (made) return py::reinterpret_steal<py::str>(made);
  const py::error_already_set error;
  if (!error.matches(PyExc_UnicodeDecodeError)) throw error;
  throw TypeMismatch("expected text, found bytes that are not UTF-8 from byte " +
                     py::cast<std::string>(py::str(error.value().attr("start"))) + " on");
}

void set_mismatch(const char* text) { PyErr_SetString(mismatch_class, text); }

}  // namespace

std::optional<tasklib::Signature> TypedForm::signature() const {
  if (!outputs || variadic || required < parameters.size()) return std::nullopt;
  tasklib::Signature made;
  for (const Parameter& each : parameters) made.inputs.push_back(each.type);
  made.outputs = *outputs;
  return made;
}

bool TypedForm::read(tasklib::Context& context, PyObject** inputs, std::size_t count) const {
  if (count < required || (count > parameters.size() && !variadic)) {
    if (required == parameters.size() && !variadic) return context.check_n_args(required);
    context.set_error("Invalid number of arguments, expected = " + std::to_string(required) +
                      (variadic ? " or more" : " to " + std::to_string(parameters.size())) +
                      ", but got = " + std::to_string(count));
    return false;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Parameter& parameter = parameters[std::min(i, parameters.size() - 1)];
    if (parameter.read.is_none()) continue;
    PyObject* argument = PyObject_CallOneArg(parameter.read.ptr(), inputs[i]);
    if (!argument) {
      const auto text = take_mismatch();
      if (!text) return false;
      try {
        tasklib::typed::fail_parameter(i, parameter.type.name, TypeMismatch(*text));
      } catch (const TypeMismatch& error) {
        context.set_error(error.what());
      }
      return false;
    }
    Py_SETREF(inputs[i], argument);
  }
  return true;
}

std::optional<std::string> take_mismatch() {
  if (!PyErr_ExceptionMatches(mismatch_class)) return std::nullopt;
  const py::error_already_set error;
  return py::cast<std::string>(py::str(error.value()));
}

void bind_typed_form(py::module_& module) {
  mismatch_class =
      py::exception<TypeMismatch>(module, "TypeMismatch", PyExc_TypeError).release().ptr();
  py::register_local_exception_translator([](std::exception_ptr current) {
    try {
      std::rethrow_exception(std::move(current));
    } catch (const TypeMismatch& error) {
      set_mismatch(error.what());
    }
  });

  bind_value_shape(module);
  py::class_<ValueType>(module, "ValueType")
      .def(py::init(&value_type), py::arg("kind"), py::arg("dtype") = "",
           py::arg("n_dimensions") = 0, py::arg("name") = "")
      .def_readonly("name", &ValueType::name)
      .def("__str__", &ValueType::to_string);
  py::class_<TypedForm>(module, "TypedForm")
      .def(py::init([](bool takes_context,
                       const std::vector<std::pair<ValueType, py::object>>& parameters,
                       std::size_t required, bool variadic, py::object write,
                       std::optional<std::vector<ValueType>> outputs) {
             TypedForm form{takes_context,     {}, required, variadic, std::move(write),
                            std::move(outputs)};
             for (const auto& [type, read] : parameters) form.parameters.push_back({type, read});
             return form;
           }),
           py::kw_only(), py::arg("takes_context"), py::arg("parameters"), py::arg("required"),
           py::arg("variadic"), py::arg("write"), py::arg("outputs"));

  module.def("read_scalar", &read_scalar, py::arg("data"), py::arg("dtype"));
  module.def("read_value", &read_value, py::arg("data"), py::arg("shape"));
  module.def("read_text", &read_text, py::arg("data"));
  module.def("describe_input", [](const py::object& data) {
    return tasklib::executor::describe_input(instance_of(data));
  });
}

}  // namespace rain::bindings
