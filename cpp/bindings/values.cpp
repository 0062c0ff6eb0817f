#include "values.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "wire/cbor.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using tasklib::base::ByteView;
using tasklib::wire::Kind;
using tasklib::wire::Reader;
using tasklib::wire::Writer;

std::string_view utf8(PyObject* text) {
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text, &size);
  if (!data) throw py::error_already_set();
  return {data, static_cast<std::size_t>(size)};
}

/// A place within the value, as a list on the stack that is only read for an error.
struct Place {
  const Place* outer;
  const char* name;  // of the outermost
  PyObject* key;     // borrowed; of a dict
  Py_ssize_t index;  // of a list
};

std::string to_string(const Place& place) {
  if (!place.outer) return place.name;
  const std::string outer = to_string(*place.outer);
  if (!place.key) return outer + "[" + std::to_string(place.index) + "]";
  return outer + "[" + std::string(py::repr(place.key)) + "]";
}

class Encoder {
 public:
  Encoder(std::string& out, bool json_like) : writer_(out), json_like_(json_like) {}

  void write(PyObject* value, const Place& place) {
    if (value == Py_None) return writer_.null();
    if (PyUnicode_Check(value)) return writer_.text(utf8(value));
    if (PyBool_Check(value)) return writer_.boolean(value == Py_True);
    if (PyLong_Check(value)) return write_int(value, place);
    if (PyFloat_Check(value)) return writer_.number(PyFloat_AS_DOUBLE(value));
    if (PyDict_Check(value)) return write_dict(value, place);
    if (PyList_Check(value) || PyTuple_Check(value)) return write_sequence(value, place);
    if (!json_like_ && PyObject_CheckBuffer(value)) return write_buffer(value);
    write_number_like(value, place);
  }

 private:
  [[noreturn]] void refuse(const Place& place, PyObject* value) const {
    const std::string kinds = json_like_
                                  ? "None, bool, int, float, str, list, tuple and dict with str "
                                    "keys; send other data as a blob"
                                  : "None, bool, int, float, str, bytes, list, tuple and dict";
    throw py::type_error(to_string(place) + " is of type " + Py_TYPE(value)->tp_name +
                         "; allowed are " + kinds);
  }

  void enter(const Place& place) {
    if (++depth_ > tasklib::wire::kMaxNesting)
      throw py::value_error(std::string(root(place).name) + " is nested more than " +
                            std::to_string(tasklib::wire::kMaxNesting) +
                            " levels deep; does it contain itself?");
  }

  static const Place& root(const Place& place) { return place.outer ? root(*place.outer) : place; }

  void write_int(PyObject* value, const Place& place) {
    int overflow = 0;
    const long long small = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (!overflow) return writer_.integer(small);
    if (overflow > 0) {
      const unsigned long long large = PyLong_AsUnsignedLongLong(value);
      if (!PyErr_Occurred()) return writer_.uinteger(large);
      PyErr_Clear();
    }
    throw py::value_error(to_string(place) +
                          " does not fit into 64 bits; send it as a str or a pickled blob");
  }

  void write_number_like(PyObject* value, const Place& place) {
    if (PyIndex_Check(value)) {
      const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(value));
      if (!number) throw py::error_already_set();
      return write_int(number.ptr(), place);
    }
    const auto* methods = Py_TYPE(value)->tp_as_number;
    if (!methods || !methods->nb_float) refuse(place, value);
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Float(value));
    if (!number) {
      PyErr_Clear();
      refuse(place, value);
    }
    writer_.number(PyFloat_AS_DOUBLE(number.ptr()));
  }

  void write_buffer(PyObject* value) {
    Py_buffer view;
    if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) != 0) throw py::error_already_set();
    writer_.bytes(ByteView(view.buf, static_cast<std::size_t>(view.len)));
    PyBuffer_Release(&view);
  }

  void write_sequence(PyObject* value, const Place& place) {
    enter(place);
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(value);
    writer_.array(static_cast<std::uint64_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
      if (PySequence_Fast_GET_SIZE(value) != count)
        throw py::value_error(to_string(place) + " changed its size while it was encoded");
      const auto item = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(value, i));
      write(item.ptr(), Place{&place, nullptr, nullptr, i});
    }
    --depth_;
  }

  void write_dict(PyObject* value, const Place& place) {
    enter(place);
    std::vector<std::pair<py::object, py::object>> items;
    items.reserve(static_cast<std::size_t>(PyDict_GET_SIZE(value)));
    PyObject *key = nullptr, *item = nullptr;
    for (Py_ssize_t position = 0; PyDict_Next(value, &position, &key, &item);) {
      if (json_like_ && !PyUnicode_Check(key))
        throw py::type_error("a key of " + to_string(place) + " is of type " +
                             Py_TYPE(key)->tp_name + "; only str keys are allowed");
      items.emplace_back(py::reinterpret_borrow<py::object>(key),
                         py::reinterpret_borrow<py::object>(item));
    }
    if (json_like_)
      std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
        return utf8(a.first.ptr()) < utf8(b.first.ptr());
      });
    writer_.map(items.size());
    for (const auto& [name, content] : items) {
      write(name.ptr(), Place{&place, nullptr, name.ptr(), 0});
      write(content.ptr(), Place{&place, nullptr, name.ptr(), 0});
    }
    --depth_;
  }

  Writer writer_;
  bool json_like_;
  std::size_t depth_ = 0;
};

py::object read_value(Reader& reader) {
  switch (reader.peek()) {
    case Kind::null:
      reader.try_null();
      return py::none();
    case Kind::boolean:
      return py::bool_(reader.read_bool());
    case Kind::unsigned_int:
      return py::int_(reader.read_uint());
    case Kind::negative_int:
      return py::int_(reader.read_int());
    case Kind::floating:
      return py::float_(reader.read_float());
    case Kind::text: {
      std::string scratch;
      const std::string_view text = reader.read_text(scratch);
      return py::str(text.data(), text.size());
    }
    case Kind::bytes: {
      std::string scratch;
      const ByteView bytes = reader.read_bytes(scratch);
      return py::bytes(reinterpret_cast<const char*>(bytes.data), bytes.size);
    }
    case Kind::array: {
      py::list list;
      auto span = reader.enter_array();
      while (reader.more(span)) list.append(read_value(reader));
      return list;
    }
    case Kind::map: {
      py::dict dict;
      auto span = reader.enter_map();
      while (reader.more(span)) {
        const std::size_t offset = reader.offset_bytes();
        const py::object key = read_value(reader);
        if (PyObject_Hash(key.ptr()) == -1) {
          PyErr_Clear();
          reader.fail_at(offset, "a key that Python cannot hash");
        }
        dict[key] = read_value(reader);
      }
      return dict;
    }
    case Kind::end:
    case Kind::stop:
      break;
  }
  reader.fail_expected("a value");
}

}  // namespace

tasklib::wire::RawValue to_raw_value(py::handle value, const char* what) {
  std::string raw;
  Encoder(raw, true).write(value.ptr(), Place{nullptr, what, nullptr, 0});
  return raw;
}

tasklib::wire::UserAttributes to_user_attributes(py::handle value, const char* what) {
  tasklib::wire::UserAttributes attributes;
  if (value.is_none()) return attributes;
  if (!PyDict_Check(value.ptr()))
    throw py::type_error(std::string(what) + " must be a dict with str keys, not " +
                         Py_TYPE(value.ptr())->tp_name);
  for (const auto& [key, item] : py::reinterpret_borrow<py::dict>(value)) {
    if (!PyUnicode_Check(key.ptr()))
      throw py::type_error(std::string("a key of ") + what + " is of type " +
                           Py_TYPE(key.ptr())->tp_name + "; only str keys are allowed");
    std::string name(utf8(key.ptr()));
    const std::string place = std::string(what) + "['" + name + "']";
    attributes.emplace_back(std::move(name), to_raw_value(item, place.c_str()));
  }
  return attributes;
}

py::dict from_user_attributes(const tasklib::wire::UserAttributes& attributes) {
  py::dict dict;
  for (const auto& [name, raw] : attributes)
    dict[py::str(name)] = from_cbor(ByteView(std::string_view(raw)));
  return dict;
}

std::string to_cbor(py::handle value) {
  std::string out;
  Encoder(out, false).write(value.ptr(), Place{nullptr, "value", nullptr, 0});
  return out;
}

py::object from_cbor(ByteView item) {
  if (item.empty()) return py::none();
  Reader reader(item);
  py::object value = read_value(reader);
  reader.expect_end();
  return value;
}

std::string path_text(PyObject* path) {
  PyObject* bytes = nullptr;
  if (!PyUnicode_FSConverter(path, &bytes)) throw py::error_already_set();
  const auto held = py::reinterpret_steal<py::bytes>(bytes);
  return std::string(held);
}

}  // namespace rain::bindings
