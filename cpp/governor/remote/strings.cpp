#include "remote/strings.h"

namespace rain::remote {

using tasklib::wire::Reader;

Reader::Span read_version(Reader& reader, std::uint64_t version) {
  Reader::Span frame = reader.enter_array();
  if (!reader.more(frame)) reader.fail_at(frame.offset_bytes, "empty");
  const std::size_t start = reader.offset_bytes();
  if (const std::uint64_t theirs = reader.read_uint(); theirs != version)
    reader.fail_at(start, "client and governor are of different versions (format " +
                              std::to_string(theirs) + " came where " + std::to_string(version) +
                              " was expected): install the same rain-tasklib on both sides");
  return frame;
}

void StringList::read(Reader& reader) {
  Reader::Span array = reader.enter_array();
  while (reader.more(array)) strings_.push_back(reader.read_text());
}

std::size_t StringList::index_of(Reader& reader) const {
  const std::size_t start = reader.offset_bytes();
  const std::uint64_t index = reader.read_uint();
  if (index >= strings_.size())
    reader.fail_at(start,
                   "string " + std::to_string(index) + " of " + std::to_string(strings_.size()));
  return static_cast<std::size_t>(index);
}

}  // namespace rain::remote
