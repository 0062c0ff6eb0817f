#pragma once

// C++ errors to Python exceptions, one to one: the classes are in rain.common.errors.

#include <pybind11/pybind11.h>

#include <string>

namespace rain::bindings {

/// Turns the C++ exception being handled into a Python one. Call it in a catch (...) block of
/// code that Python calls directly; code under pybind11 just throws.
void set_python_error() noexcept;

/// Throws rain.common.errors.<name> with this text.
[[noreturn]] void raise(const char* name, const std::string& text);

/// For what pybind11 wraps.
void register_errors();

}  // namespace rain::bindings
