#pragma once

#include <array>
#include <complex>
#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "blob.h"
#include "datainstance.h"
#include "ndview.h"

// Arrays as data objects: content type "user/ndarray", the items in C order, with the user
// attribute "ndarray" = {"dtype": as in .npy files, "shape": [integers]}. numpy arrays of Python
// tasks and clients are the same.

namespace tasklib {

/// The dtype of items of type T, as in .npy files ("<f8"): bool, integers, float, double and
/// std::complex of these; no other type has a dtype.
template <class T, class = void>
struct Dtype {
  static constexpr bool exists = false;
};
template <class T>
struct Dtype<T, typename std::enable_if<
                    std::is_arithmetic<T>::value && !std::is_same<T, char>::value &&
                    !std::is_same<T, wchar_t>::value && !std::is_same<T, long double>::value &&
                    !std::is_const<T>::value>::type> {
  static constexpr bool exists = true;
  static std::string name() {
    const char kind = std::is_same<T, bool>::value       ? 'b'
                      : std::is_floating_point<T>::value ? 'f'
                      : std::is_signed<T>::value         ? 'i'
                                                         : 'u';
    return {sizeof(T) == 1 ? '|' : '<', kind, static_cast<char>('0' + sizeof(T))};
  }
};
template <>
struct Dtype<std::complex<float>> {
  static constexpr bool exists = true;
  static std::string name() { return "<c8"; }
};
template <>
struct Dtype<std::complex<double>> {
  static constexpr bool exists = true;
  static std::string name() { return "<c16"; }
};

/// An input is not what the task takes. The text says what was expected and what was found, and
/// becomes the task's error as it is.
class TypeMismatch : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Says that the data of an output are an array.
void describe_array(DataInstance& output, const std::string& dtype, const std::size_t* shape,
                    std::size_t n_dimensions);

/// Rows begin to end - 1 of an array of any dtype: a slice of its bytes along the first dimension,
/// as an array. Throws TypeMismatch when it is none or has no dimension, std::out_of_range.
Blob slice_rows(const DataInstance& array, std::size_t begin, std::size_t end);

/// The items of an array of exactly this dtype and number of dimensions; its extents go to `shape`.
/// Throws TypeMismatch.
const void* array_items(const DataInstance& input, const std::string& dtype, std::size_t item_bytes,
                        std::size_t* shape, std::size_t n_dimensions);

/// The array that an input is, in place (see DataInstance::as). Valid as long as the instance.
/// Throws TypeMismatch.
template <class T, std::size_t N>
ndview<const T, N> as_array(const DataInstance& input) {
  static_assert(Dtype<T>::exists, "arrays have items of numbers, bool or std::complex");
  std::array<std::size_t, N> shape;
  const void* items = array_items(input, Dtype<T>::name(), sizeof(T), shape.data(), N);
  return {static_cast<const T*>(items), shape};
}

/// Room for an output that is an array, to be written in place: what Context::alloc_array() gives.
/// Sealing gives up the right to write. Move-only.
///
///   auto y = ctx.alloc_array<double>({rows, columns});
///   y(0, 1) = 2;
///   outputs.push_back(std::move(y));
template <class T, std::size_t N>
class MutableArray {
  static_assert(Dtype<T>::exists, "arrays have items of numbers, bool or std::complex");

 public:
  /// `blob`: as many T as the product of `shape`.
  MutableArray(MutableBlob blob, const std::array<std::size_t, N>& shape)
      : blob_(std::move(blob)), shape_(shape) {}

  /// Valid until this is sealed or destroyed.
  ndview<T, N> view() const { return {data(), shape_}; }
  operator ndview<T, N>() const { return view(); }
  T* data() const noexcept { return blob_.template as<T>(); }
  const std::array<std::size_t, N>& shape() const noexcept { return shape_; }
  std::size_t extent(std::size_t dimension) const { return shape_[dimension]; }
  std::size_t size() const noexcept { return blob_.size() / sizeof(T); }
  T* begin() const noexcept { return data(); }
  T* end() const noexcept { return data() + size(); }
  template <class... Indices>
  T& operator()(Indices... indices) const {
    return view()(indices...);
  }
  decltype(auto) operator[](std::size_t i) const { return view()[i]; }

  /// Requires: neither sealed nor moved from (throws std::logic_error otherwise).
  Blob seal() && {
    Blob sealed = std::move(blob_).seal();
    describe_array(*sealed, Dtype<T>::name(), shape_.data(), N);
    return sealed;
  }
  /// `outputs.push_back(std::move(array))` seals.
  operator Blob() && { return std::move(*this).seal(); }

 private:
  MutableBlob blob_;
  std::array<std::size_t, N> shape_;
};

}  // namespace tasklib
