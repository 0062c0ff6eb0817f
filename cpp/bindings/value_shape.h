#pragma once

// What an annotation says of a value (content type "cbor"): dataclasses are structs of C++, with
// the same texts when something doesn't fit. Everything here runs under the GIL.

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "tasklib/value.h"

namespace rain::bindings {

/// Immutable after construction. Parts are shared.
class ValueShape {
 public:
  enum class Kind { any, boolean, integer, real, text, list, dict, optional, structure };
  struct Field {
    std::string name;
    std::shared_ptr<const ValueShape> shape;
    bool required;
  };

  explicit ValueShape(Kind kind) : kind_(kind) {}
  /// A list, dict (by str) or optional of `item`.
  ValueShape(Kind kind, std::shared_ptr<const ValueShape> item)
      : kind_(kind), item_(std::move(item)) {}
  /// `make` is called with the fields by name.
  ValueShape(pybind11::object make, std::vector<Field> fields)
      : kind_(Kind::structure), fields_(std::move(fields)), make_(std::move(make)) {}

  /// Throws ValueError, which says where in the value what is wrong, and what `make` raises.
  pybind11::object from(const tasklib::Value& value) const;

 private:
  pybind11::object from_map(const tasklib::Value& value) const;

  Kind kind_;
  std::shared_ptr<const ValueShape> item_;
  std::vector<Field> fields_;
  pybind11::object make_;
};

void bind_value_shape(pybind11::module_& module);

}  // namespace rain::bindings
