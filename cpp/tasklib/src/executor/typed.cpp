#include "tasklib/typed.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <type_traits>

#include "base/errors.h"
#include "executor/access.h"
#include "executor/mismatch.h"

namespace tasklib {
namespace {

constexpr const char* kArrayContentType = "user/ndarray";
constexpr const char* kArrayAttribute = "ndarray";

// ---- Texts. Executors in Python say the same; tests/conformance/test_typed.py has all of them.
// ---

/// "float64" for "<f8"; what is no such number as it is.
std::string dtype_name(const std::string& dtype) {
  if (dtype.size() < 3 || std::string("<|=").find(dtype[0]) == std::string::npos ||
      dtype.find_first_not_of("0123456789", 2) != std::string::npos || dtype.size() > 4)
    return dtype;
  const char* kind = nullptr;
  switch (dtype[1]) {
    case 'b':
      return "bool";
    case 'i':
      kind = "int";
      break;
    case 'u':
      kind = "uint";
      break;
    case 'f':
      kind = "float";
      break;
    case 'c':
      kind = "complex";
      break;
    default:
      return dtype;
  }
  return kind + std::to_string(8 * std::stoi(dtype.substr(2)));
}

std::string array_name(const std::string& dtype, std::size_t n_dimensions) {
  const std::string name = dtype.empty() ? "" : dtype_name(dtype) + " ";
  if (n_dimensions == 0) return name + "scalar";
  if (n_dimensions == ValueType::any_dimensions)
    return dtype.empty() ? "ndarray" : "ndarray " + dtype_name(dtype);
  return "ndarray " + name + "of " + std::to_string(n_dimensions) +
         (n_dimensions == 1 ? " dimension" : " dimensions");
}

std::string expected_but(const ValueType& expected, const std::string& found) {
  return "expected " + expected.to_string() + ", found " + found;
}

std::string invalid_array(const DataInstance& input) {
  return "ndarray whose attribute 'ndarray' does not fit its " + std::to_string(input.get_size()) +
         " bytes: " + input.get_attribute(kArrayAttribute).to_json().substr(0, 200);
}

// ---- What an input is
// -----------------------------------------------------------------------------

struct Array {
  bool valid = false;
  std::string dtype;
  std::vector<std::size_t> shape;
};

/// As the attribute says. Of which bytes: see fits().
Array array_of(const DataInstance& input) {
  Array array;
  const Value attribute = input.get_attribute(kArrayAttribute);
  const Value &dtype = attribute["dtype"], &shape = attribute["shape"];
  if (dtype.is_null() || !shape.is_array()) return array;
  array.dtype = dtype.is_string() ? dtype.as_string() : dtype.to_json();  // of structs: a list
  try {
    for (const Value& extent : shape.as_array())
      array.shape.push_back(static_cast<std::size_t>(extent.as_uint()));
  } catch (const ValueError&) {
    return array;
  }
  array.valid = true;
  return array;
}

bool fits(const Array& array, std::size_t item_bytes, std::size_t size_bytes) {
  for (const std::size_t extent : array.shape)
    if (extent == 0) return size_bytes == 0;
  std::size_t rest = size_bytes / item_bytes;
  for (const std::size_t extent : array.shape) {
    if (rest % extent != 0) return false;
    rest /= extent;
  }
  return rest == 1 && size_bytes % item_bytes == 0;
}

/// Of numbers; 0 of what else there may be.
std::size_t item_bytes_of(const std::string& dtype) {
  if (dtype.size() < 3 || dtype.size() > 4 || std::string("biufc").find(dtype[1]) == dtype.npos ||
      dtype.find_first_not_of("0123456789", 2) != dtype.npos)
    return 0;
  return static_cast<std::size_t>(std::stoi(dtype.substr(2)));
}

/// Byte order does not matter for one byte, and is ours when it is not said.
bool same_dtype(const std::string& expected, const std::string& found) {
  if (expected == found) return true;
  return found.size() == expected.size() && found.compare(1, found.npos, expected, 1) == 0 &&
         (found[0] == '=' || found[0] == '|' || (expected[0] == '|' && found[0] == '<'));
}

}  // namespace

std::string executor::describe_input(const DataInstance& input) {
  if (input.is_directory()) return "directory";
  const std::string& content_type = input.get_content_type();
  if (content_type.empty()) return "bytes";
  if (content_type == "text") return "text";
  if (content_type == "cbor") return "value";
  if (content_type != kArrayContentType) return "data of content type '" + content_type + "'";
  const Array array = array_of(input);
  const std::size_t item_bytes = item_bytes_of(array.dtype);
  if (!array.valid || (item_bytes > 0 && !fits(array, item_bytes, input.get_size())))
    return invalid_array(input);
  return array_name(array.dtype, array.shape.size());
}

namespace {

[[noreturn]] void fail(const ValueType& expected, const DataInstance& input) {
  throw TypeMismatch(expected_but(expected, executor::describe_input(input)));
}

bool is(const DataInstance& input, const char* content_type) {
  return input.get_content_type() == content_type && !input.is_directory();
}

template <class T>
bool convert(const Value& value, void* item) {
  try {
    const T number = from_value<T>(value);
    std::memcpy(item, &number, sizeof number);
    return true;
  } catch (const ValueError&) {
    return false;
  }
}

/// A number of a value as an item of `dtype`. False: it is none, or does not fit.
bool convert(const Value& value, const std::string& dtype, void* item) {
  if (dtype == "|b1") return convert<bool>(value, item);
  if (dtype == "|i1") return convert<std::int8_t>(value, item);
  if (dtype == "<i2") return convert<std::int16_t>(value, item);
  if (dtype == "<i4") return convert<std::int32_t>(value, item);
  if (dtype == "<i8") return convert<std::int64_t>(value, item);
  if (dtype == "|u1") return convert<std::uint8_t>(value, item);
  if (dtype == "<u2") return convert<std::uint16_t>(value, item);
  if (dtype == "<u4") return convert<std::uint32_t>(value, item);
  if (dtype == "<u8") return convert<std::uint64_t>(value, item);
  if (dtype == "<f4") return convert<float>(value, item);
  if (dtype == "<f8") return convert<double>(value, item);
  return false;
}

std::string value_text(const Value& value) {
  const std::string json = value.to_json();
  return "value " + (json.size() > 100 ? json.substr(0, 100) + "..." : json);
}

Value decode(const ValueType& expected, const DataInstance& input) {
  try {
    return executor::decode_value(base::ByteView(input.get_ptr(), input.get_size()));
  } catch (const base::ProtocolError& error) {
    throw TypeMismatch(expected_but(
        expected, "data of content type 'cbor' that are none: " + std::string(error.what())));
  }
}

}  // namespace

std::string ValueType::to_string() const {
  switch (kind) {
    case Kind::bytes:
      return "bytes";
    case Kind::text:
      return "text";
    case Kind::ndarray:
      return array_name(dtype, n_dimensions);
    case Kind::value:
      return "value";
    case Kind::any:
      break;
  }
  return "any";
}

void describe_array(DataInstance& output, const std::string& dtype, const std::size_t* shape,
                    std::size_t n_dimensions) {
  output.set_content_type(kArrayContentType);
  Value::Array extents(shape, shape + n_dimensions);
  output.set_attribute(kArrayAttribute,
                       Value::Map{{"dtype", dtype}, {"shape", Value(std::move(extents))}});
}

const void* array_items(const DataInstance& input, const std::string& dtype, std::size_t item_bytes,
                        std::size_t* shape, std::size_t n_dimensions) {
  const ValueType expected = typed::array_type(dtype, n_dimensions);
  if (!is(input, kArrayContentType)) fail(expected, input);
  const Array array = array_of(input);
  if (!array.valid || !same_dtype(dtype, array.dtype) || array.shape.size() != n_dimensions ||
      !fits(array, item_bytes, input.get_size()))
    fail(expected, input);
  for (std::size_t i = 0; i < n_dimensions; ++i) shape[i] = array.shape[i];
  const std::size_t largest_power = item_bytes & (~item_bytes + 1);
  return executor::Access::aligned(input, input.get_ptr(), input.get_size(),
                                   largest_power < 16 ? largest_power : 16);
}

Blob slice_rows(const DataInstance& input, std::size_t begin, std::size_t end) {
  const std::string expected = "expected ndarray of one dimension at least, found ";
  if (!is(input, kArrayContentType)) throw TypeMismatch(expected + executor::describe_input(input));
  Array array = array_of(input);
  if (!array.valid || array.shape.empty())
    throw TypeMismatch(expected + executor::describe_input(input));
  std::size_t& rows = array.shape[0];
  const std::size_t size = input.get_size();
  if (rows == 0 ? size != 0 : size % rows != 0) throw TypeMismatch(expected + invalid_array(input));
  if (begin > end || end > rows)
    throw std::out_of_range("rows " + std::to_string(begin) + " to " + std::to_string(end) +
                            " of an array of " + std::to_string(rows));
  const std::size_t row_bytes = rows == 0 ? 0 : size / rows;
  rows = end - begin;
  Blob part = input.slice(begin * row_bytes, rows * row_bytes);
  part->set_content_type(kArrayContentType);
  part->set_attribute(
      kArrayAttribute,
      Value::Map{{"dtype", input.get_attribute(kArrayAttribute)["dtype"]},
                 {"shape", Value(Value::Array(array.shape.begin(), array.shape.end()))}});
  return part;
}

void values::fail_at(const std::string& place, const std::string& text) {
  throw ValueError(place + ": " + text);
}

namespace typed {

ValueType kind_of(ValueType::Kind kind) {
  ValueType type;
  type.kind = kind;
  return type;
}

ValueType array_type(const std::string& dtype, std::size_t n_dimensions) {
  ValueType type = kind_of(ValueType::Kind::ndarray);
  type.dtype = dtype;
  type.n_dimensions = n_dimensions;
  return type;
}

const void* read_scalar(const DataInstance& input, const std::string& dtype,
                        std::size_t item_bytes) {
  if (!is(input, "cbor")) return array_items(input, dtype, item_bytes, nullptr, 0);
  thread_local unsigned char item[16];
  const ValueType expected = array_type(dtype, 0);
  const Value value = decode(expected, input);
  if (!convert(value, dtype, item)) throw TypeMismatch(expected_but(expected, value_text(value)));
  return item;
}

string_view read_text(const DataInstance& input) {
  const bool is_text = is(input, "text") || is(input, "text-utf-8") || is(input, "");
  if (!is_text) fail(kind_of(ValueType::Kind::text), input);
  return {reinterpret_cast<const char*>(input.get_ptr()), input.get_size()};
}

span<const char> read_bytes(const DataInstance& input) {
  if (input.is_directory()) fail(kind_of(ValueType::Kind::bytes), input);
  return {reinterpret_cast<const char*>(input.get_ptr()), input.get_size()};
}

Value read_value(const DataInstance& input) {
  const ValueType expected = kind_of(ValueType::Kind::value);
  if (!is(input, "cbor")) fail(expected, input);
  return decode(expected, input);
}

Blob write_scalar(const void* item, const std::string& dtype, std::size_t item_bytes) {
  Blob blob(new MemDataInstance(std::string(static_cast<const char*>(item), item_bytes)));
  describe_array(*blob, dtype, nullptr, 0);
  return blob;
}

Blob write_items(std::shared_ptr<const void> owner, const void* items, const std::string& dtype,
                 std::size_t item_bytes, std::size_t count) {
  static const unsigned char kNothing = 0;
  Blob blob(new ForeignDataInstance(std::move(owner), count == 0 ? &kNothing : items,
                                    count * item_bytes));
  describe_array(*blob, dtype, &count, 1);
  return blob;
}

Blob write_text(std::string text) {
  Blob blob(new MemDataInstance(std::move(text)));
  blob->set_content_type("text");
  return blob;
}

Blob write_value(const Value& value) {
  Blob blob(new MemDataInstance(executor::encode_value(value)));
  blob->set_content_type("cbor");
  return blob;
}

void fail_parameter(std::size_t index, const std::string& name, const TypeMismatch& error) {
  throw TypeMismatch("parameter " + std::to_string(index + 1) +
                     (name.empty() ? "" : " '" + name + "'") + ": " + error.what());
}

}  // namespace typed
}  // namespace tasklib
