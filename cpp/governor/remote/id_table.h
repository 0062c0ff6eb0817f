#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace rain::remote {

/// What belongs to the ids of one submit. They are added about in order, all before the first is
/// looked up: sorted, they take no allocation each.
template <class Value>
class IdTable {
 public:
  void reserve(std::size_t count) { entries_.reserve(count); }
  std::size_t size() const { return entries_.size(); }

  void add(std::int32_t id, Value value) {
    sorted_ = sorted_ && (entries_.empty() || entries_.back().first < id);
    entries_.emplace_back(id, std::move(value));
  }

  /// The entry of an id that was added twice; null if there is none. Sorts.
  const Value* twice() {
    sort();
    const auto same = std::adjacent_find(
        entries_.begin(), entries_.end(),
        [](const Entry& left, const Entry& right) { return left.first == right.first; });
    return same == entries_.end() ? nullptr : &same->second;
  }

  /// Null: it was not added. Sorts.
  Value* find(std::int32_t id) {
    sort();
    const auto found = std::lower_bound(
        entries_.begin(), entries_.end(), id,
        [](const Entry& entry, std::int32_t wanted) { return entry.first < wanted; });
    return found == entries_.end() || found->first != id ? nullptr : &found->second;
  }

 private:
  using Entry = std::pair<std::int32_t, Value>;

  void sort() {
    if (sorted_) return;
    std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& left, const Entry& right) {
      return left.first < right.first;
    });
    sorted_ = true;
  }

  std::vector<Entry> entries_;
  bool sorted_ = true;  // and no id occurs twice
};

}  // namespace rain::remote
