#pragma once

// What the two codecs share: reading CBOR as a struct, and the structs that are the same in both
// protocols. Private to the codec.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/errors.h"
#include "wire/cbor.h"
#include "wire/messages.h"

namespace tasklib::wire {

/// Entries of one list or of one map in a message; more are refused, so that a frame can't make
/// its reader use many times its own size.
constexpr std::size_t kMaxEntries = 1u << 20;

/// Nesting of a user attribute or task config: what is left of kMaxNesting at the deepest place
/// where one stands (message, call, inputs, object, spec, user).
constexpr std::size_t kMaxValueNesting = kMaxNesting - 6;

/// How strictly structs are read.
enum class Rules : std::uint8_t {
  cbor1,  // keys also as byte strings or indices, struct also as array; unknown keys refused
  cbor2,  // text keys; unknown keys ignored
};

/// The fields of one struct, in the order of declaration.
struct Shape {
  std::string_view name;  // for error messages
  const std::string_view* fields;
  int count;
  std::uint32_t required;  // bit i: field i must be there
  bool ignores_unknown = false;
};

/// Reads one item as a struct. Loop: while ((field = s.next()) >= 0) read the value of `field`.
class StructReader {
 public:
  StructReader(Reader& reader, const Shape& shape, Rules rules);

  /// The field whose value comes next, or kEnd, when all required fields were there.
  static constexpr int kEnd = -1;
  int next();

  /// Offset of the first key that was ignored; kNone when all were known.
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::size_t ignored_at() const { return ignored_at_; }

 private:
  int field_of_key();
  int lookup(std::string_view key) const;
  int unknown(const std::string& key, std::size_t offset_bytes);
  void finish();

  Reader& reader_;
  const Shape& shape_;
  const Rules rules_;
  Reader::Span span_{};
  bool positional_ = false;
  int last_ = kEnd;
  std::size_t ignored_at_ = kNone;
  std::uint32_t seen_ = 0;
};

/// `"text"` for error messages: shortened, unprintable bytes escaped.
std::string quoted(std::string_view text);

/// Reads an array of at most kMaxEntries to the end of `list`; `read_item()` gives one item.
template <class Item, class ReadItem>
void read_list(Reader& reader, std::vector<Item>& list, ReadItem read_item) {
  constexpr std::uint64_t kReserved = 16;  // not what a length announces, which may be a lie
  const std::size_t start = reader.offset_bytes();
  Reader::Span array = reader.enter_array();
  if (!array.indefinite) list.reserve(static_cast<std::size_t>(std::min(array.left, kReserved)));
  while (reader.more(array)) {
    if (list.size() == kMaxEntries)
      reader.fail_at(start, "more than " + std::to_string(kMaxEntries) + " entries");
    list.push_back(read_item());
  }
}

/// An array of exactly `count` items, of which `read_item(i)` reads one.
template <class ReadItem>
void read_tuple(Reader& reader, std::uint64_t count, const char* what, ReadItem read_item) {
  const std::size_t start = reader.offset_bytes();
  if (reader.peek() != Kind::array) reader.fail_expected(what);
  Reader::Span array = reader.enter_array();
  std::uint64_t i = 0;
  for (; reader.more(array); ++i) {
    if (i == count) reader.fail_at(start, std::string("too many items in ") + what);
    read_item(i);
  }
  if (i != count) reader.fail_at(start, std::string("too few items in ") + what);
}

template <class Id>
Id read_id(Reader& reader) {
  constexpr std::int64_t kMin = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  Id id;
  read_tuple(reader, 2, "an id [session, number]", [&](std::uint64_t i) {
    (i == 0 ? id.session : id.id) = static_cast<std::int32_t>(reader.read_int(kMin, kMax));
  });
  return id;
}

template <class Id>
void write_id(Writer& writer, const Id& id) {
  writer.array(2);
  writer.integer(id.session);
  writer.integer(id.id);
}

/// Reads any JSON-like item and appends it in canonical form (codec.h: canonical_value).
void append_canonical(Reader& reader, std::string& out);

UserAttributes read_user(Reader& reader);
void write_user(Writer& writer, const UserAttributes& user);

/// Map entries whose value is not the default; write_* writes key and value of such a one.
inline void write_text_if(Writer& writer, std::string_view key, const std::string& value) {
  if (value.empty()) return;
  writer.key(key);
  writer.text(value);
}
inline void write_user_if(Writer& writer, const UserAttributes& user) {
  if (user.empty()) return;
  writer.key("user");
  write_user(writer, user);
}

TaskInfo read_task_info(Reader& reader, Rules rules);
void write_task_info(Writer& writer, const TaskInfo& info);
bool is_empty(const TaskInfo& info);

ObjectInfo read_object_info(Reader& reader, Rules rules);
void write_object_info(Writer& writer, const ObjectInfo& info);
bool is_empty(const ObjectInfo& info);

Memory read_memory(Reader& reader);
/// Throws ProtocolError when the data alone exceed a frame.
void write_memory(Writer& writer, const Memory& memory);
/// Throws Error for a path that is no valid UTF-8, which neither protocol can carry.
void write_path(Writer& writer, const Path& path);

/// Reads `register`, which is the same in both protocols but for some keys.
Register read_register(Reader& reader);

// Of one protocol each: [name, map]. Throw Error for what the protocol can't say.
void write_cbor1(Writer& writer, const Register& message);
void write_cbor1(Writer& writer, const Result& message);
void write_cbor1(Writer& writer, const Call& message);
void write_cbor1(Writer& writer, const DropCached& message);
/// Chosen for the messages that cbor-1 hasn't.
template <class Message>
void write_cbor1(Writer&, const Message&) {
  throw base::Error("cbor-1 has no such message; it belongs to cbor-2");
}
ToGovernor read_to_governor_cbor1(Reader& reader);
ToExecutor read_to_executor_cbor1(Reader& reader);

void write_cbor2(Writer& writer, const Register& message);
void write_cbor2(Writer& writer, const Result& message);
void write_cbor2(Writer& writer, const Released& message);
void write_cbor2(Writer& writer, const LeaseRequest& message);
void write_cbor2(Writer& writer, const LeaseReturned& message);
void write_cbor2(Writer& writer, const Log& message);
void write_cbor2(Writer& writer, const Debug& message);
void write_cbor2(Writer& writer, const Pong& message);
void write_cbor2(Writer& writer, const Call& message);
void write_cbor2(Writer& writer, const Welcome& message);
void write_cbor2(Writer& writer, const Region& message);
void write_cbor2(Writer& writer, const LeaseRefused& message);
void write_cbor2(Writer& writer, const Freed& message);
void write_cbor2(Writer& writer, const RegionDropped& message);
void write_cbor2(Writer& writer, const Cancel& message);
void write_cbor2(Writer& writer, const Shutdown& message);
void write_cbor2(Writer& writer, const LeaseWanted& message);
void write_cbor2(Writer& writer, const Ping& message);
[[noreturn]] inline void write_cbor2(Writer&, const DropCached&) {
  throw base::Error("cbor-2 has no drop_cached; it belongs to cbor-1");
}
ToGovernor read_to_governor_cbor2(Reader& reader);
ToExecutor read_to_executor_cbor2(Reader& reader);

/// Reads the frame around a message: an array of exactly [name, data]. `read(index)` reads the
/// data of message `names[index]`. The first `indexed` names may also come as their index.
template <class Message, std::size_t N, class Read>
Message read_message(Reader& reader, const std::string_view (&names)[N], std::size_t indexed,
                     Read read) {
  Message message;
  read_tuple(reader, 2, "a message [name, map]", [&, index = N](std::uint64_t i) mutable {
    if (i == 1) {
      message = read(index);
    } else if (indexed > 0 && reader.peek() == Kind::unsigned_int) {
      index = reader.read_uint(indexed - 1);
    } else {
      const std::size_t at = reader.offset_bytes();
      std::string scratch;
      const std::string_view name = reader.read_text(scratch);
      for (index = 0; index < N && names[index] != name; ++index) {
      }
      if (index == N) reader.fail_at(at, "unknown message " + quoted(name));
    }
  });
  return message;
}

}  // namespace tasklib::wire
