#include "errors.h"

#include <exception>

#include "base/errors.h"
#include "governor.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

py::object error_class(const char* name) {
  return py::module_::import("rain.common.errors").attr(name);
}

void set_error(const char* name, const char* text) {
  try {
    PyErr_SetString(error_class(name).ptr(), text);
  } catch (py::error_already_set& error) {
    error.restore();
  }
}

void set_system_error(const tasklib::base::SystemError& error) {
  try {
    const py::object args = py::make_tuple(error.error_number(), error.what());
    PyErr_SetObject(error_class("SystemCallError").ptr(), args.ptr());
  } catch (py::error_already_set& nested) {
    nested.restore();
  }
}

/// True when `current` was one of ours, which is now set in Python.
bool translate(std::exception_ptr current) {
  try {
    std::rethrow_exception(std::move(current));
  } catch (const UsageError& error) {
    set_error("UsageError", error.what());
  } catch (const graph::InvalidGraph& error) {
    set_error("InvalidGraph", error.what());
  } catch (const tasklib::base::StoreFull& error) {
    set_error("StoreFull", error.what());
  } catch (const tasklib::base::SystemError& error) {
    set_system_error(error);
  } catch (const tasklib::base::ProtocolError& error) {
    set_error("ProtocolError", error.what());
  } catch (const tasklib::base::Error& error) {
    set_error("RainException", error.what());
  } catch (...) {
    return false;
  }
  return true;
}

}  // namespace

void set_python_error() noexcept {
  try {
    throw;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    if (!translate(std::current_exception())) PyErr_SetString(PyExc_RuntimeError, error.what());
  } catch (...) {
    PyErr_SetString(PyExc_SystemError, "an exception of unknown type in rain._core");
  }
}

void raise(const char* name, const std::string& text) {
  set_error(name, text.c_str());
  throw py::error_already_set();
}

void register_errors() {
  py::register_local_exception_translator([](std::exception_ptr current) {
    if (!translate(current)) std::rethrow_exception(current);
  });
}

}  // namespace rain::bindings
