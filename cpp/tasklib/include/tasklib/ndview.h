#pragma once

#include <array>
#include <cstddef>
#include <type_traits>

namespace tasklib {

/// An array of N dimensions in C order (the last index runs fastest) whose items belong to
/// somebody else. A value. As a parameter of a task (ndview<const T, N>) it shows the input in
/// place, during the call; what Python sends as a numpy array arrives as one.
///
///   double trace = 0;
///   for (std::size_t i = 0; i < m.extent(0); ++i) trace += m(i, i);
template <class T, std::size_t N>
class ndview {
  static_assert(N >= 1, "an array has a dimension at least; a scalar is a parameter of its type");

 public:
  using element_type = T;
  using value_type = typename std::remove_cv<T>::type;
  using shape_type = std::array<std::size_t, N>;

  ndview() noexcept : data_(nullptr), shape_() {}
  /// `data`: as many items as the product of `shape`.
  ndview(T* data, const shape_type& shape) noexcept : data_(data), shape_(shape) {}
  /// ndview<const T, N> of ndview<T, N>.
  template <class U, class = typename std::enable_if<std::is_convertible<U*, T*>::value>::type>
  ndview(const ndview<U, N>& other) noexcept : data_(other.data()), shape_(other.shape()) {}

  T* data() const noexcept { return data_; }
  const shape_type& shape() const noexcept { return shape_; }
  /// Requires: dimension < N.
  std::size_t extent(std::size_t dimension) const { return shape_[dimension]; }
  /// Items in all.
  std::size_t size() const noexcept {
    std::size_t product = 1;
    for (std::size_t extent : shape_) product *= extent;
    return product;
  }
  bool empty() const noexcept { return size() == 0; }
  /// All items in C order.
  T* begin() const noexcept { return data_; }
  T* end() const noexcept { return data_ + size(); }

  /// An item. Requires: each index is smaller than its extent (it is not checked).
  template <class... Indices>
  T& operator()(Indices... indices) const {
    static_assert(sizeof...(Indices) == N, "as many indices as dimensions");
    const std::size_t all[] = {static_cast<std::size_t>(indices)...};
    std::size_t offset = 0;
    for (std::size_t i = 0; i < N; ++i) offset = offset * shape_[i] + all[i];
    return data_[offset];
  }

  /// An item of a vector, a row of a matrix, and so on. Requires: i < extent(0).
  decltype(auto) operator[](std::size_t i) const {
    return part(i, std::integral_constant<bool, N == 1>());
  }

 private:
  T& part(std::size_t i, std::true_type) const { return data_[i]; }
  ndview<T, (N > 1 ? N - 1 : 1)> part(std::size_t i, std::false_type) const {
    std::array<std::size_t, (N > 1 ? N - 1 : 1)> rest{};
    std::size_t items = 1;
    for (std::size_t k = 1; k < N; ++k) items *= rest[k - 1] = shape_[k];
    return {data_ + i * items, rest};
  }

  T* data_;
  shape_type shape_;
};

}  // namespace tasklib
