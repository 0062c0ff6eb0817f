#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

#include "array.h"
#include "blob.h"
#include "datainstance.h"
#include "ndview.h"
#include "signature.h"
#include "span.h"
#include "struct.h"

// Which C++ types typed tasks take and give; docs/tutorial-cpp.md has the table. Used through
// Executor::add_task and testing.h.

namespace tasklib {
namespace typed {

// What is the same for all types of a kind (typed.cpp). The read functions throw TypeMismatch.

ValueType kind_of(ValueType::Kind kind);
ValueType array_type(const std::string& dtype, std::size_t n_dimensions);
/// A number as an array without dimensions, or as a value: points to an item of that dtype,
/// which the next call in this thread may overwrite.
const void* read_scalar(const DataInstance& input, const std::string& dtype,
                        std::size_t item_bytes);
string_view read_text(const DataInstance& input);
span<const char> read_bytes(const DataInstance& input);
Value read_value(const DataInstance& input);
Blob write_scalar(const void* item, const std::string& dtype, std::size_t item_bytes);
Blob write_items(std::shared_ptr<const void> owner, const void* items, const std::string& dtype,
                 std::size_t item_bytes, std::size_t count);
Blob write_text(std::string text);
Blob write_value(const Value& value);

/// How values of type T are taken from inputs and made outputs. `read`: the input, which may be
/// moved from and stays until the call's end.
template <class T, class = void>
struct Type {
  static constexpr bool readable = false, writable = false;
};

template <class T>
struct Type<T, typename std::enable_if<Dtype<T>::exists>::type> {
  static constexpr bool readable = true, writable = true;
  static ValueType type() { return array_type(Dtype<T>::name(), 0); }
  static T read(Blob& input) {
    T item;
    std::memcpy(&item, read_scalar(*input, Dtype<T>::name(), sizeof item), sizeof item);
    return item;
  }
  static Blob write(T item) { return write_scalar(&item, Dtype<T>::name(), sizeof item); }
};

/// What shows the items of an array of one dimension.
template <class View, class T>
struct ItemsType {
  static constexpr bool readable = true, writable = false;
  static ValueType type() { return array_type(Dtype<T>::name(), 1); }
  static View read(Blob& input) {
    const auto items = as_array<T, 1>(*input);
    return View(items.begin(), items.size());
  }
};
template <class T>
struct Type<span<const T>, typename std::enable_if<Dtype<T>::exists>::type>
    : ItemsType<span<const T>, T> {};
#if defined(__cpp_lib_span)
template <class T>
struct Type<std::span<const T>, typename std::enable_if<Dtype<T>::exists>::type>
    : ItemsType<std::span<const T>, T> {};
#endif
template <class T, std::size_t N>
struct Type<ndview<const T, N>, typename std::enable_if<Dtype<T>::exists>::type> {
  static constexpr bool readable = true, writable = false;
  static ValueType type() { return array_type(Dtype<T>::name(), N); }
  static ndview<const T, N> read(Blob& input) { return as_array<T, N>(*input); }
};
template <class T>
struct Type<std::vector<T>, typename std::enable_if<Dtype<T>::exists>::type> {
  static_assert(!std::is_same<T, bool>::value,
                "std::vector<bool> holds no bools: take span<const bool>, return MutableArray");
  static constexpr bool readable = true, writable = true;
  static ValueType type() { return array_type(Dtype<T>::name(), 1); }
  static std::vector<T> read(Blob& input) {
    const auto items = as_array<T, 1>(*input);
    return std::vector<T>(items.begin(), items.end());
  }
  static Blob write(std::vector<T> items) {
    const auto owner = std::make_shared<const std::vector<T>>(std::move(items));
    return write_items(owner, owner->data(), Dtype<T>::name(), sizeof(T), owner->size());
  }
};
template <class T, std::size_t N>
struct Type<MutableArray<T, N>> {
  static constexpr bool readable = false, writable = true;
  static ValueType type() { return array_type(Dtype<T>::name(), N); }
  static Blob write(MutableArray<T, N> array) { return std::move(array).seal(); }
};

template <>
struct Type<span<const char>> {
  static constexpr bool readable = true, writable = false;
  static ValueType type() { return kind_of(ValueType::Kind::bytes); }
  static span<const char> read(Blob& input) { return read_bytes(*input); }
};
template <class View>
struct TextType {
  static constexpr bool readable = true, writable = false;
  static ValueType type() { return kind_of(ValueType::Kind::text); }
  static View read(Blob& input) {
    const string_view text = read_text(*input);
    return View(text.data(), text.size());
  }
};
template <>
struct Type<string_view> : TextType<string_view> {};
#if __cplusplus >= 201703L
template <>
struct Type<std::string_view> : TextType<std::string_view> {};
#endif
template <>
struct Type<std::string> : TextType<std::string> {
  static constexpr bool writable = true;
  static Blob write(std::string text) { return write_text(std::move(text)); }
};
template <>
struct Type<const char*> {
  static constexpr bool readable = false, writable = true;
  static ValueType type() { return kind_of(ValueType::Kind::text); }
  static Blob write(const char* text) { return write_text(text); }
};

/// What travels as a value, because it can be one and is nothing better.
template <class T>
struct IsValue
    : std::integral_constant<bool, values::Conversion<T>::exists && !std::is_arithmetic<T>::value> {
};
template <class T>
struct IsValue<std::vector<T>>
    : std::integral_constant<bool, values::Conversion<T>::exists && !std::is_arithmetic<T>::value> {
};
/// Structs, Value, maps, and vectors of these and of text.
template <class T>
struct Type<T, typename std::enable_if<IsValue<T>::value>::type> {
  static constexpr bool readable = true, writable = true;
  static ValueType type() { return kind_of(ValueType::Kind::value); }
  static T read(Blob& input) {
    const Value value = read_value(*input);
    try {
      return from_value<T>(value);
    } catch (const ValueError& error) {
      throw TypeMismatch(error.what());
    }
  }
  static Blob write(const T& item) { return write_value(to_value(item)); }
};

template <>
struct Type<Blob> {
  static constexpr bool readable = true, writable = true;
  static ValueType type() { return ValueType(); }
  static Blob read(Blob& input) { return std::move(input); }
  static Blob write(Blob blob) { return blob; }
};
template <>
struct Type<MutableBlob> {
  static constexpr bool readable = false, writable = true;
  static ValueType type() { return ValueType(); }
  static Blob write(MutableBlob blob) { return std::move(blob).seal(); }
};

}  // namespace typed
}  // namespace tasklib
