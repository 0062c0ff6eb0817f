#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include "datainstance.h"

namespace tasklib {

/// A sealed blob: data that don't change any more. Move-only; share() gives another one.
using Blob = DataInstancePtr;

/// Room for an output, to be written in place: what Context::alloc() gives. Sealing gives up the
/// right to write and makes a Blob of it, without a copy. Move-only; what is never sealed
/// is given back.
///
///   auto blob = ctx.alloc<double>(n);
///   double* y = blob.as<double>();
///   ...
///   outputs.push_back(std::move(blob).seal());
class MutableBlob {
 public:
  /// Holds nothing: data() is null, size() is 0. What a moved-from one is, too.
  MutableBlob() noexcept;
  MutableBlob(MutableBlob&&) noexcept;
  MutableBlob& operator=(MutableBlob&&) noexcept;
  ~MutableBlob();

  /// Aligned to 64 bytes, contents undefined. Valid until this is sealed or destroyed.
  unsigned char* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  template <class T>
  T* as() const noexcept {
    static_assert(std::is_trivially_copyable<T>::value, "only plain data has a meaning as bytes");
    static_assert(alignof(T) <= 64, "blobs are aligned to 64 bytes");
    return reinterpret_cast<T*>(data_);
  }

  /// Keeps the first `size_bytes` bytes. Throws std::invalid_argument when there are fewer.
  void shrink(std::size_t size_bytes);
  /// Requires: holds something (throws std::logic_error otherwise).
  Blob seal() &&;
  /// `outputs.push_back(std::move(blob))` seals.
  operator Blob() && { return std::move(*this).seal(); }

 private:
  friend struct executor::Access;
  std::shared_ptr<executor::Content> content_;
  unsigned char* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace tasklib
