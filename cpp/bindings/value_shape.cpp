#include "value_shape.h"

#include <pybind11/stl.h>

#include <tuple>
#include <utility>

#include "tasklib/struct.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using tasklib::Value;

py::object any_from(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::null:
      return py::none();
    case Value::Kind::boolean:
      return py::bool_(value.as_bool());
    case Value::Kind::integer:
      return py::int_(value.as_int());
    case Value::Kind::unsigned_integer:
      return py::int_(value.as_uint());
    case Value::Kind::real:
      return py::float_(value.as_double());
    case Value::Kind::string:
      return py::str(value.as_string());
    case Value::Kind::array: {
      py::list list;
      for (const Value& item : value.as_array()) list.append(any_from(item));
      return list;
    }
    case Value::Kind::map: {
      py::dict dict;
      for (const auto& [key, item] : value.as_map()) dict[py::str(key)] = any_from(item);
      return dict;
    }
  }
  return py::none();
}

py::object from_at(const std::string& place, const ValueShape& shape, const Value& value) {
  try {
    return shape.from(value);
  } catch (const tasklib::ValueError& error) {
    tasklib::values::fail_at(place, error.what());
  }
}

}  // namespace

py::object ValueShape::from(const Value& value) const {
  switch (kind_) {
    case Kind::any:
      return any_from(value);
    case Kind::boolean:
      return py::bool_(value.as_bool());
    case Kind::integer:
      if (value.kind() == Value::Kind::unsigned_integer) return py::int_(value.as_uint());
      return py::int_(value.as_int());
    case Kind::real:
      return py::float_(value.as_double());
    case Kind::text:
      return py::str(value.as_string());
    case Kind::list: {
      py::list list;
      for (const Value& item : value.as_array())
        list.append(from_at("item " + std::to_string(list.size()), *item_, item));
      return list;
    }
    case Kind::dict: {
      py::dict dict;
      for (const auto& [key, item] : value.as_map())
        dict[py::str(key)] = from_at("key '" + key + "'", *item_, item);
      return dict;
    }
    case Kind::optional:
      return value.is_null() ? py::none() : item_->from(value);
    case Kind::structure:
      return from_map(value);
  }
  return py::none();
}

py::object ValueShape::from_map(const Value& value) const {
  value.as_map();  // throws if it is none
  py::dict fields;
  for (const Field& field : fields_) {
    if (!value.contains(field.name)) {
      if (!field.required) continue;
      value.at(field.name);  // throws: no key, there are ...
    }
    fields[py::str(field.name)] =
        from_at("field '" + field.name + "'", *field.shape, value[field.name]);
  }
  return make_(**fields);
}

void bind_value_shape(py::module_& module) {
  using Shared = std::shared_ptr<ValueShape>;
  using Kind = ValueShape::Kind;
  py::class_<ValueShape, Shared>(module, "ValueShape")
      .def(py::init([](const std::string& kind) {
             for (const auto& [name, each] : {std::pair{"any", Kind::any},
                                              {"bool", Kind::boolean},
                                              {"int", Kind::integer},
                                              {"float", Kind::real},
                                              {"str", Kind::text}})
               if (kind == name) return std::make_shared<ValueShape>(each);
             throw py::value_error("no kind of value: " + kind);
           }),
           py::arg("kind"))
      .def_static("list", [](const Shared& of) { return ValueShape(Kind::list, of); })
      .def_static("dict", [](const Shared& of) { return ValueShape(Kind::dict, of); })
      .def_static("optional", [](const Shared& of) { return ValueShape(Kind::optional, of); })
      .def_static("struct", [](py::object make,
                               const std::vector<std::tuple<std::string, Shared, bool>>& fields) {
        std::vector<ValueShape::Field> made;
        for (const auto& [name, shape, required] : fields) made.push_back({name, shape, required});
        return ValueShape(std::move(make), std::move(made));
      });
}

}  // namespace rain::bindings
