#include "tasklib/value.h"

#include <cmath>
#include <cstdio>
#include <limits>

namespace tasklib {
namespace {

void append_quoted(std::string& out, const std::string& text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char escaped[8];
          std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
          out += escaped;
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

// The shortest text that reads back as the same double.
void append_real(std::string& out, double real) {
  if (!std::isfinite(real)) {
    out += "null";
    return;
  }
  char text[32];
  for (int digits = 15; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, real);
    if (std::strtod(text, nullptr) == real) break;
  }
  out += text;
  if (out.find_first_of(".e", out.size() - std::string(text).size()) == std::string::npos)
    out += ".0";
}

void append_json(std::string& out, const Value& value) {
  bool first = true;
  switch (value.kind()) {
    case Value::Kind::null:
      out += "null";
      return;
    case Value::Kind::boolean:
      out += value.as_bool() ? "true" : "false";
      return;
    case Value::Kind::integer:
      out += std::to_string(value.as_int());
      return;
    case Value::Kind::unsigned_integer:
      out += std::to_string(value.as_uint());
      return;
    case Value::Kind::real:
      append_real(out, value.as_double());
      return;
    case Value::Kind::string:
      append_quoted(out, value.as_string());
      return;
    case Value::Kind::array:
      out += '[';
      for (const Value& item : value.as_array()) {
        if (!first) out += ',';
        first = false;
        append_json(out, item);
      }
      out += ']';
      return;
    case Value::Kind::map:
      out += '{';
      for (const auto& [key, item] : value.as_map()) {
        if (!first) out += ',';
        first = false;
        append_quoted(out, key);
        out += ':';
        append_json(out, item);
      }
      out += '}';
      return;
  }
}

const char* name_of(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::null:
      return "null";
    case Value::Kind::boolean:
      return "a bool";
    case Value::Kind::integer:
    case Value::Kind::unsigned_integer:
      return "an integer";
    case Value::Kind::real:
      return "a real number";
    case Value::Kind::string:
      return "a string";
    case Value::Kind::array:
      return "an array";
    case Value::Kind::map:
      return "a map";
  }
  return "";
}

}  // namespace

Value::Value(Array items)
    : kind_(Kind::array), items_(std::make_shared<const Array>(std::move(items))) {}
Value::Value(Map items) : kind_(Kind::map), items_(std::make_shared<const Map>(std::move(items))) {}

void Value::fail(const char* expected) const {
  std::string text = is_null() ? "" : to_json();
  if (text.size() > 60) text = text.substr(0, 60) + "...";
  throw ValueError("expected " + std::string(expected) + ", but the value is " + name_of(kind_) +
                   (is_null() ? " (or missing)" : ": " + text));
}

bool Value::as_bool() const {
  if (kind_ != Kind::boolean) fail("a bool");
  return number_.integer != 0;
}

std::int64_t Value::as_int() const {
  if (kind_ == Kind::integer) return number_.integer;
  // 2^63 is a double, the largest int64 is not.
  if (kind_ == Kind::real && number_.real == std::trunc(number_.real) && number_.real >= -0x1p63 &&
      number_.real < 0x1p63)
    return static_cast<std::int64_t>(number_.real);
  fail("an integer of 64 bits");
}

std::uint64_t Value::as_uint() const {
  if (kind_ == Kind::unsigned_integer) return number_.unsigned_integer;
  if (kind_ == Kind::integer && number_.integer >= 0)
    return static_cast<std::uint64_t>(number_.integer);
  if (kind_ == Kind::real && number_.real == std::trunc(number_.real) && number_.real >= 0 &&
      number_.real < 0x1p64)
    return static_cast<std::uint64_t>(number_.real);
  fail("an unsigned integer");
}

double Value::as_double() const {
  switch (kind_) {
    case Kind::integer:
      return static_cast<double>(number_.integer);
    case Kind::unsigned_integer:
      return static_cast<double>(number_.unsigned_integer);
    case Kind::real:
      return number_.real;
    default:
      fail("a number");
  }
}

const std::string& Value::as_string() const {
  if (kind_ != Kind::string) fail("a string");
  return text_;
}

const Value::Array& Value::as_array() const {
  if (kind_ != Kind::array) fail("an array");
  return *static_cast<const Array*>(items_.get());
}

const Value::Map& Value::as_map() const {
  if (kind_ != Kind::map) fail("a map");
  return *static_cast<const Map*>(items_.get());
}

std::size_t Value::size() const {
  if (kind_ == Kind::array) return as_array().size();
  return kind_ == Kind::map ? as_map().size() : 0;
}

bool Value::contains(const std::string& key) const {
  return kind_ == Kind::map && as_map().count(key) != 0;
}

const Value& Value::operator[](const std::string& key) const {
  static const Value kNull;
  if (kind_ != Kind::map) return kNull;
  const auto found = as_map().find(key);
  return found == as_map().end() ? kNull : found->second;
}

const Value& Value::at(const std::string& key) const {
  const auto found = as_map().find(key);
  if (found != as_map().end()) return found->second;
  std::string keys;
  for (const auto& each : as_map()) keys += (keys.empty() ? "" : ", ") + each.first;
  throw ValueError("no key '" + key + "'; there are: " + (keys.empty() ? "none" : keys));
}

const Value& Value::at(std::size_t index) const {
  if (index >= as_array().size())
    throw ValueError("no item " + std::to_string(index) + " in an array of " +
                     std::to_string(as_array().size()));
  return as_array()[index];
}

std::string Value::to_json() const {
  std::string out;
  append_json(out, *this);
  return out;
}

bool Value::equals(const Value& other) const {
  if (kind_ != other.kind_) return false;
  switch (kind_) {
    case Kind::null:
      return true;
    case Kind::boolean:
    case Kind::integer:
      return number_.integer == other.number_.integer;
    case Kind::unsigned_integer:
      return number_.unsigned_integer == other.number_.unsigned_integer;
    case Kind::real:
      return number_.real == other.number_.real;
    case Kind::string:
      return text_ == other.text_;
    case Kind::array:
      return items_ == other.items_ || as_array() == other.as_array();
    case Kind::map:
      return items_ == other.items_ || as_map() == other.as_map();
  }
  return false;
}

}  // namespace tasklib
