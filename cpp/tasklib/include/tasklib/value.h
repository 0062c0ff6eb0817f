#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tasklib {

/// A JSON-like value: a task's config, or a user attribute. A value: the content can't be changed
/// but by assignment, so that copies are cheap and may be read from any thread.
///
///   tasklib::Value v = tasklib::Value::Map{{"n", 3}, {"names", tasklib::Value::Array{"a", "b"}}};
///   v["n"].as_int();          // 3
///   v["missing"].is_null();   // true
///   v.at("missing");          // throws ValueError that names the keys there are
class Value {
 public:
  /// `unsigned_integer` only for what doesn't fit `integer`, so that equal numbers are of one kind.
  enum class Kind { null, boolean, integer, unsigned_integer, real, string, array, map };
  using Array = std::vector<Value>;
  using Map = std::map<std::string, Value>;

  Value() = default;
  Value(std::nullptr_t) {}
  Value(double real) : kind_(Kind::real) { number_.real = real; }
  Value(const char* text) : kind_(Kind::string), text_(text) {}
  Value(std::string text) : kind_(Kind::string), text_(std::move(text)) {}
  Value(Array items);
  Value(Map items);
  /// bool, or any integer type. Pointers don't convert.
  template <class T, class = typename std::enable_if<std::is_integral<T>::value>::type>
  Value(T number) {
    if (std::is_same<T, bool>::value) {
      kind_ = Kind::boolean;
      number_.integer = number ? 1 : 0;
    } else if (std::is_unsigned<T>::value &&
               static_cast<std::uint64_t>(number) > static_cast<std::uint64_t>(INT64_MAX)) {
      kind_ = Kind::unsigned_integer;
      number_.unsigned_integer = static_cast<std::uint64_t>(number);
    } else {
      kind_ = Kind::integer;
      number_.integer = static_cast<std::int64_t>(number);
    }
  }

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_map() const { return kind_ == Kind::map; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_number() const {
    return kind_ == Kind::integer || kind_ == Kind::unsigned_integer || kind_ == Kind::real;
  }

  // All of these throw ValueError, which says what was expected and what there is.
  bool as_bool() const;
  std::int64_t as_int() const;    // takes a real that is a whole number, too
  std::uint64_t as_uint() const;  // as well
  double as_double() const;       // takes any number
  const std::string& as_string() const;
  const Array& as_array() const;
  const Map& as_map() const;

  /// Items of an array or map, 0 for anything else.
  std::size_t size() const;
  bool contains(const std::string& key) const;
  /// The value at `key`; null when there is none or this is no map. Valid as long as this.
  const Value& operator[](const std::string& key) const;
  const Value& operator[](const char* key) const { return (*this)[std::string(key)]; }
  /// The value at `key`; throws ValueError when there is none. Valid as long as this.
  const Value& at(const std::string& key) const;
  /// Item of an array; throws ValueError when there is none. Valid as long as this.
  const Value& at(std::size_t index) const;

  /// Compact JSON text, keys sorted. Infinities and NaN, which JSON lacks, become null.
  std::string to_json() const;

  /// Numbers are equal when they are of the same kind and value: 1 is not 1.0.
  friend bool operator==(const Value& a, const Value& b) { return a.equals(b); }
  friend bool operator!=(const Value& a, const Value& b) { return !a.equals(b); }

 private:
  bool equals(const Value& other) const;
  [[noreturn]] void fail(const char* expected) const;

  union Number {
    std::int64_t integer;
    std::uint64_t unsigned_integer;
    double real;
  };
  Kind kind_ = Kind::null;
  Number number_ = {0};
  std::string text_;
  std::shared_ptr<const void> items_;  // Array or Map
};

/// A Value is not what the program took it for.
class ValueError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace tasklib
