#pragma once

// What batches and updates have in common: the version at their beginning, and a table of the
// strings that repeat.

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "wire/cbor.h"

namespace rain::remote {

/// Enters the array at the beginning of `reader` and reads its first item. Throws ProtocolError,
/// which says what to do, unless that is `version`.
tasklib::wire::Reader::Span read_version(tasklib::wire::Reader& reader, std::uint64_t version);

/// The writer's side: gives each string a number.
class StringTable {
 public:
  std::uint64_t index(std::string_view text) {
    if (const auto found = numbers_.find(text); found != numbers_.end()) return found->second;
    const std::uint64_t number = strings_.size();
    strings_.emplace_back(text);
    numbers_.emplace(strings_.back(), number);
    return number;
  }
  void write(tasklib::wire::Writer& writer) const {
    writer.array(strings_.size());
    for (const std::string& text : strings_) writer.text(text);
  }

 private:
  std::deque<std::string> strings_;
  std::unordered_map<std::string_view, std::uint64_t> numbers_;  // of `strings_`
};

/// The reader's side.
class StringList {
 public:
  void read(tasklib::wire::Reader& reader);
  std::size_t size() const { return strings_.size(); }
  const std::string& operator[](std::size_t index) const { return strings_[index]; }
  /// Reads a number. Throws ProtocolError when no string has it.
  std::size_t index_of(tasklib::wire::Reader& reader) const;
  const std::string& at(tasklib::wire::Reader& reader) const { return strings_[index_of(reader)]; }

 private:
  std::vector<std::string> strings_;
};

}  // namespace rain::remote
