#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace rain::graph {

/// Intrusive reference count: one word in the record instead of a control block beside it.
/// Thread-safe counting; the record's own rules say who may touch what.
template <class T>
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  void retain() const noexcept { count_.fetch_add(1, std::memory_order_relaxed); }
  void release() const noexcept {
    if (count_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete static_cast<const T*>(this);
  }
  std::uint32_t use_count() const noexcept { return count_.load(std::memory_order_relaxed); }

 private:
  mutable std::atomic<std::uint32_t> count_{0};
};

/// Owning pointer to a RefCounted record.
template <class T>
class Ref {
 public:
  Ref() noexcept = default;
  explicit Ref(T* record) noexcept : record_(record) {
    if (record_) record_->retain();
  }
  Ref(const Ref& other) noexcept : Ref(other.record_) {}
  Ref(Ref&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(record_, other.record_);
    return *this;
  }
  ~Ref() {
    if (record_) record_->release();
  }

  T* get() const noexcept { return record_; }
  T* operator->() const noexcept { return record_; }
  T& operator*() const noexcept { return *record_; }
  explicit operator bool() const noexcept { return record_ != nullptr; }
  friend bool operator==(const Ref& a, const Ref& b) noexcept { return a.record_ == b.record_; }

 private:
  T* record_ = nullptr;
};

}  // namespace rain::graph
