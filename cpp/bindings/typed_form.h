#pragma once

// Annotated Python functions as tasks: what rain.tasklib.typed found out about one when it was
// registered. Everything here runs under the GIL.

#include <pybind11/pybind11.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "tasklib/context.h"
#include "tasklib/signature.h"

namespace rain::bindings {

/// How a function takes its inputs and gives its outputs. Immutable after construction.
struct TypedForm {
  struct Parameter {
    tasklib::ValueType type;
    pybind11::object read;  // DataInstance -> argument; None: as it is
  };

  bool takes_context;
  std::vector<Parameter> parameters;
  std::size_t required;    // so many inputs at least: the other parameters have defaults
  bool variadic;           // the last parameter stands for any number of inputs
  pybind11::object write;  // (Context, result) -> list of outputs; None: as other tasks do
  std::optional<std::vector<tasklib::ValueType>> outputs;  // if known

  /// None when it can't be said: a number of inputs or outputs that may vary.
  std::optional<tasklib::Signature> signature() const;

  /// Turns inputs into arguments, which replace them (references are owned by the array). False:
  /// there is an error, in `context` (a mismatch, as in C++) or in Python (anything else).
  bool read(tasklib::Context& context, PyObject** inputs, std::size_t count) const;
};

/// Takes the Python error that is set if it is a TypeMismatch: its text, which as it is becomes
/// the task's error.
std::optional<std::string> take_mismatch();

/// Adds TypedForm, ValueType, ValueShape, TypeMismatch, and what reads inputs.
void bind_typed_form(pybind11::module_& module);

}  // namespace rain::bindings
