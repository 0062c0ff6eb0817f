#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#if __cplusplus >= 201703L
#include <string_view>
#endif

namespace tasklib {

/// Items that lie one after the other and belong to somebody else: std::span for C++14, and what
/// std::span can be made of. A value. As a parameter of a task (span<const T>) it shows the input
/// in place, during the call.
template <class T>
class span {
 public:
  using element_type = T;
  using value_type = typename std::remove_cv<T>::type;
  using size_type = std::size_t;
  using iterator = T*;

  constexpr span() noexcept = default;
  constexpr span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
  /// Of anything that has data() and size(): std::vector, std::array, std::span, span<U>.
  template <class Items, class = typename std::enable_if<std::is_convertible<
                             decltype(std::declval<Items&>().data()), T*>::value>::type>
  constexpr span(Items&& items) noexcept : data_(items.data()), size_(items.size()) {}

  constexpr T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + size_; }
  /// Requires: i < size().
  constexpr T& operator[](std::size_t i) const { return data_[i]; }
  constexpr T& front() const { return data_[0]; }
  constexpr T& back() const { return data_[size_ - 1]; }
  /// Requires: offset + count <= size().
  constexpr span subspan(std::size_t offset, std::size_t count) const {
    return span(data_ + offset, count);
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Text that belongs to somebody else: std::string_view for C++14. A value. As a parameter of a
/// task it shows the input in place, during the call.
class string_view {
 public:
  constexpr string_view() noexcept = default;
  constexpr string_view(const char* data, std::size_t size) noexcept : data_(data), size_(size) {}
  string_view(const char* text) : data_(text), size_(std::char_traits<char>::length(text)) {}
  string_view(const std::string& text) noexcept : data_(text.data()), size_(text.size()) {}
#if __cplusplus >= 201703L
  constexpr string_view(std::string_view text) noexcept : data_(text.data()), size_(text.size()) {}
  constexpr operator std::string_view() const noexcept { return {data_, size_}; }
#endif

  constexpr const char* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr const char* begin() const noexcept { return data_; }
  constexpr const char* end() const noexcept { return data_ + size_; }
  /// Requires: i < size().
  constexpr char operator[](std::size_t i) const { return data_[i]; }
  std::string to_string() const { return std::string(data_, size_); }

 private:
  const char* data_ = "";
  std::size_t size_ = 0;
};

}  // namespace tasklib
