#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "value.h"

// Structs as values: parameters and results of tasks that travel as a CBOR map with the fields'
// names, which Python sees as a dict.
//
//   struct Point { double x, y; std::vector<std::string> tags; };
//   TASKLIB_STRUCT(Point, x, y, tags)      // in the namespace of Point
//
// The macro takes up to 24 fields. It defines the function that one may write instead, for more
// fields or other names:
//
//   template <class Field>
//   void tasklib_fields(Point& point, Field&& field) {
//     field("x", point.x);
//     field("y", point.y);
//   }
//
// Fields may be bool, integers, float, double, std::string, Value, structs of this kind, and
// std::vector and std::map<std::string, ...> of all these.

#define TASKLIB_STRUCT(Type, ...)                                           \
  template <class TasklibField>                                             \
  void tasklib_fields(Type& tasklib_struct, TasklibField&& tasklib_field) { \
    TASKLIB_FIELDS_(__VA_ARGS__)                                            \
  }                                                                         \
  static_assert(true, "so that a semicolon may follow")

#define TASKLIB_FIELD_(name) tasklib_field(#name, tasklib_struct.name);
#define TASKLIB_FIELDS_1_(a) TASKLIB_FIELD_(a)
#define TASKLIB_FIELDS_2_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_1_(__VA_ARGS__)
#define TASKLIB_FIELDS_3_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_2_(__VA_ARGS__)
#define TASKLIB_FIELDS_4_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_3_(__VA_ARGS__)
#define TASKLIB_FIELDS_5_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_4_(__VA_ARGS__)
#define TASKLIB_FIELDS_6_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_5_(__VA_ARGS__)
#define TASKLIB_FIELDS_7_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_6_(__VA_ARGS__)
#define TASKLIB_FIELDS_8_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_7_(__VA_ARGS__)
#define TASKLIB_FIELDS_9_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_8_(__VA_ARGS__)
#define TASKLIB_FIELDS_10_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_9_(__VA_ARGS__)
#define TASKLIB_FIELDS_11_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_10_(__VA_ARGS__)
#define TASKLIB_FIELDS_12_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_11_(__VA_ARGS__)
#define TASKLIB_FIELDS_13_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_12_(__VA_ARGS__)
#define TASKLIB_FIELDS_14_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_13_(__VA_ARGS__)
#define TASKLIB_FIELDS_15_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_14_(__VA_ARGS__)
#define TASKLIB_FIELDS_16_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_15_(__VA_ARGS__)
#define TASKLIB_FIELDS_17_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_16_(__VA_ARGS__)
#define TASKLIB_FIELDS_18_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_17_(__VA_ARGS__)
#define TASKLIB_FIELDS_19_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_18_(__VA_ARGS__)
#define TASKLIB_FIELDS_20_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_19_(__VA_ARGS__)
#define TASKLIB_FIELDS_21_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_20_(__VA_ARGS__)
#define TASKLIB_FIELDS_22_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_21_(__VA_ARGS__)
#define TASKLIB_FIELDS_23_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_22_(__VA_ARGS__)
#define TASKLIB_FIELDS_24_(a, ...) TASKLIB_FIELD_(a) TASKLIB_FIELDS_23_(__VA_ARGS__)
#define TASKLIB_PICK_(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17, \
                      _18, _19, _20, _21, _22, _23, _24, chosen, ...)                             \
  chosen
#define TASKLIB_FIELDS_(...)                                                                    \
  TASKLIB_PICK_(__VA_ARGS__, TASKLIB_FIELDS_24_, TASKLIB_FIELDS_23_, TASKLIB_FIELDS_22_,        \
                TASKLIB_FIELDS_21_, TASKLIB_FIELDS_20_, TASKLIB_FIELDS_19_, TASKLIB_FIELDS_18_, \
                TASKLIB_FIELDS_17_, TASKLIB_FIELDS_16_, TASKLIB_FIELDS_15_, TASKLIB_FIELDS_14_, \
                TASKLIB_FIELDS_13_, TASKLIB_FIELDS_12_, TASKLIB_FIELDS_11_, TASKLIB_FIELDS_10_, \
                TASKLIB_FIELDS_9_, TASKLIB_FIELDS_8_, TASKLIB_FIELDS_7_, TASKLIB_FIELDS_6_,     \
                TASKLIB_FIELDS_5_, TASKLIB_FIELDS_4_, TASKLIB_FIELDS_3_, TASKLIB_FIELDS_2_,     \
                TASKLIB_FIELDS_1_, none)                                                        \
  (__VA_ARGS__)

namespace tasklib {

namespace values {

struct AnyField {
  template <class T>
  void operator()(const char*, T&) const;
};

/// Conversion of T to Value and back; no other type has one.
template <class T, class = void>
struct Conversion {
  static constexpr bool exists = false;
};

/// `text` of a failure, with the place in the value in front.
[[noreturn]] void fail_at(const std::string& place, const std::string& text);

template <class T>
T convert_at(const std::string& place, const Value& value) {
  try {
    return Conversion<T>::from(value);
  } catch (const ValueError& error) {
    fail_at(place, error.what());
  }
}

template <>
struct Conversion<Value> {
  static constexpr bool exists = true;
  static Value to(const Value& value) { return value; }
  static Value from(const Value& value) { return value; }
};
template <>
struct Conversion<bool> {
  static constexpr bool exists = true;
  static Value to(bool value) { return value; }
  static bool from(const Value& value) { return value.as_bool(); }
};
template <>
struct Conversion<std::string> {
  static constexpr bool exists = true;
  static Value to(const std::string& value) { return value; }
  static std::string from(const Value& value) { return value.as_string(); }
};
template <class T>
struct Conversion<T, typename std::enable_if<std::is_floating_point<T>::value>::type> {
  static constexpr bool exists = true;
  static Value to(T value) { return static_cast<double>(value); }
  static T from(const Value& value) { return static_cast<T>(value.as_double()); }
};
template <class T>
struct Conversion<T, typename std::enable_if<std::is_integral<T>::value>::type> {
  static constexpr bool exists = true;
  static Value to(T value) { return value; }
  static T from(const Value& value) { return from(value, std::is_signed<T>()); }

 private:
  static T from(const Value& value, std::true_type) { return narrow(value.as_int()); }
  static T from(const Value& value, std::false_type) { return narrow(value.as_uint()); }
  template <class Wide>
  static T narrow(Wide wide) {
    const T number = static_cast<T>(wide);
    if (static_cast<Wide>(number) != wide)
      throw ValueError(std::to_string(wide) + " is not between " +
                       std::to_string(std::numeric_limits<T>::min()) + " and " +
                       std::to_string(std::numeric_limits<T>::max()));
    return number;
  }
};
template <class T>
struct Conversion<std::vector<T>, typename std::enable_if<Conversion<T>::exists>::type> {
  static constexpr bool exists = true;
  static Value to(const std::vector<T>& items) {
    Value::Array array;
    for (const auto& item : items) array.push_back(Conversion<T>::to(item));
    return array;
  }
  static std::vector<T> from(const Value& value) {
    std::vector<T> items;
    for (const Value& item : value.as_array())
      items.push_back(convert_at<T>("item " + std::to_string(items.size()), item));
    return items;
  }
};
template <class T>
struct Conversion<std::map<std::string, T>, typename std::enable_if<Conversion<T>::exists>::type> {
  static constexpr bool exists = true;
  static Value to(const std::map<std::string, T>& items) {
    Value::Map map;
    for (const auto& item : items) map[item.first] = Conversion<T>::to(item.second);
    return map;
  }
  static std::map<std::string, T> from(const Value& value) {
    std::map<std::string, T> items;
    for (const auto& item : value.as_map())
      items[item.first] = convert_at<T>("key '" + item.first + "'", item.second);
    return items;
  }
};

/// Structs with tasklib_fields().
template <class T>
struct Conversion<T, decltype(tasklib_fields(std::declval<T&>(), std::declval<AnyField&>()))> {
  static constexpr bool exists = true;
  static Value to(const T& value) {
    Writer writer;
    tasklib_fields(const_cast<T&>(value), writer);  // which only reads
    return std::move(writer.map);
  }
  static T from(const Value& value) {
    value.as_map();  // throws if it is none
    T made{};
    Reader reader{value};
    tasklib_fields(made, reader);
    return made;
  }

 private:
  struct Writer {
    Value::Map map;
    template <class F>
    void operator()(const char* name, F& field) {
      static_assert(Conversion<F>::exists, "a field's type can't be made a tasklib::Value");
      map[name] = Conversion<F>::to(field);
    }
  };
  struct Reader {
    const Value& value;
    template <class F>
    void operator()(const char* name, F& field) {
      static_assert(Conversion<F>::exists, "a field's type can't be made of a tasklib::Value");
      if (!value.contains(name)) value.at(name);  // throws: no key, there are ...
      field = convert_at<F>("field '" + std::string(name) + "'", value[name]);
    }
  };
};

}  // namespace values

/// A value as a task that returns `item` sends it.
template <class T>
Value to_value(const T& item) {
  return values::Conversion<T>::to(item);
}
/// Throws ValueError, which says where in the value what is wrong.
template <class T>
T from_value(const Value& value) {
  return values::Conversion<T>::from(value);
}

}  // namespace tasklib
