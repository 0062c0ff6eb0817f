#include "wire/codec_parts.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "wire/frame.h"

namespace tasklib::wire {

std::string quoted(std::string_view text) {
  constexpr std::size_t kMaxShown = 40;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const unsigned char c : text.substr(0, kMaxShown)) {
    if (c >= 0x20 && c < 0x7F && c != '"') {
      out += static_cast<char>(c);
    } else {
      out.append("\\x").append(1, kHex[c >> 4]).append(1, kHex[c & 15]);
    }
  }
  return out + (text.size() > kMaxShown ? "...\"" : "\"");
}

// ---- structs --------------------------------------------------------------------------------

StructReader::StructReader(Reader& reader, const Shape& shape, Rules rules)
    : reader_(reader), shape_(shape), rules_(rules) {
  reader_.set_place(shape_.name, {});
  positional_ = rules_ == Rules::cbor1 && reader_.peek() == Kind::array;
  span_ = positional_ ? reader_.enter_array() : reader_.enter_map();
}

int StructReader::next() {
  reader_.set_place(shape_.name, {});
  for (;;) {
    if (!reader_.more(span_)) {
      finish();
      return kEnd;
    }
    if (positional_) {
      if (++last_ == shape_.count)
        reader_.fail("an array of more than its " + std::to_string(shape_.count) + " fields");
    } else {
      const std::size_t at = reader_.offset_bytes();
      last_ = field_of_key();
      if (last_ == kEnd) {
        reader_.skip();
        continue;
      }
      if (seen_ & 1u << last_)
        reader_.fail_at(at, "key " + quoted(shape_.fields[last_]) + " occurs twice");
    }
    seen_ |= 1u << last_;
    reader_.set_place(shape_.name, shape_.fields[last_]);
    return last_;
  }
}

int StructReader::lookup(std::string_view key) const {
  // Fields mostly come in the order of declaration.
  for (int i = last_ + 1; i < shape_.count; ++i)
    if (shape_.fields[i] == key) return i;
  for (int i = 0; i <= last_; ++i)
    if (shape_.fields[i] == key) return i;
  return kEnd;
}

int StructReader::field_of_key() {
  const std::size_t at = reader_.offset_bytes();
  if (rules_ == Rules::cbor1 && reader_.peek() == Kind::unsigned_int) {
    const std::uint64_t index = reader_.read_uint();
    if (index < static_cast<std::uint64_t>(shape_.count)) return static_cast<int>(index);
    return unknown(std::to_string(index), at);
  }
  if (rules_ == Rules::cbor2 && reader_.peek() != Kind::text) reader_.fail_expected("a text key");
  std::string scratch;
  const std::string_view key = reader_.read_text(scratch);
  const int field = lookup(key);
  return field == kEnd ? unknown(quoted(key), at) : field;
}

int StructReader::unknown(const std::string& key, std::size_t offset_bytes) {
  if (rules_ == Rules::cbor2 || shape_.ignores_unknown) {
    ignored_at_ = std::min(ignored_at_, offset_bytes);
    return kEnd;
  }
  std::string known;
  for (int i = 0; i < shape_.count; ++i) known.append(i == 0 ? "" : ", ").append(shape_.fields[i]);
  reader_.fail_at(offset_bytes, "unknown key " + key + "; known are " + known);
}

void StructReader::finish() {
  if (positional_ && last_ + 1 != shape_.count)
    reader_.fail_at(span_.offset_bytes,
                    "an array of less than its " + std::to_string(shape_.count) + " fields");
  const std::uint32_t missing = shape_.required & ~seen_;
  for (int i = 0; i < shape_.count; ++i)
    if (missing & 1u << i)
      reader_.fail_at(span_.offset_bytes, "key " + quoted(shape_.fields[i]) + " is missing");
}

// ---- JSON-like values -----------------------------------------------------------------------

namespace {

void append_canonical_array(Reader& reader, std::string& out) {
  Reader::Span array = reader.enter_array();
  if (!array.indefinite) {
    Writer(out).array(array.left);
    while (reader.more(array)) append_canonical(reader, out);
    return;
  }
  std::string items;
  std::uint64_t count = 0;
  for (; reader.more(array); ++count) append_canonical(reader, items);
  Writer(out).array(count);
  out += items;
}

void append_canonical_map(Reader& reader, std::string& out) {
  struct Entry {
    std::size_t begin, key, value, end;  // offsets in `entries`: key's head, key, value, next
  };
  std::vector<Entry> order;
  std::string entries, scratch;
  const std::size_t start = reader.offset_bytes();
  Reader::Span map = reader.enter_map();
  while (reader.more(map)) {
    if (order.size() == kMaxEntries)
      reader.fail_at(start, "more than " + std::to_string(kMaxEntries) + " entries");
    if (reader.peek() != Kind::text) reader.fail_expected("a text key");
    const std::string_view key = reader.read_text(scratch);
    Entry entry;
    entry.begin = entries.size();
    Writer(entries).key(key);
    entry.value = entries.size();
    entry.key = entry.value - key.size();
    append_canonical(reader, entries);
    entry.end = entries.size();
    order.push_back(entry);
  }
  const std::string_view all = entries;
  const auto key_of = [&](const Entry& e) { return all.substr(e.key, e.value - e.key); };
  const auto less = [&](const Entry& a, const Entry& b) { return key_of(a) < key_of(b); };
  const auto in_order = [&](const Entry& a, const Entry& b) { return !less(a, b); };
  if (std::adjacent_find(order.begin(), order.end(), in_order) == order.end()) {
    Writer(out).map(order.size());
    out += entries;
    return;
  }
  // Of equal keys the last counts, as in a JSON object of the older governor.
  std::stable_sort(order.begin(), order.end(), less);
  const auto same_as_next = [&](std::size_t i) {
    return i + 1 < order.size() && key_of(order[i]) == key_of(order[i + 1]);
  };
  std::size_t count = 0;
  for (std::size_t i = 0; i < order.size(); ++i) count += !same_as_next(i);
  Writer(out).map(count);
  for (std::size_t i = 0; i < order.size(); ++i)
    if (!same_as_next(i)) out += all.substr(order[i].begin, order[i].end - order[i].begin);
}

}  // namespace

void append_canonical(Reader& reader, std::string& out) {
  Writer writer(out);
  switch (reader.peek()) {
    case Kind::null:
      reader.try_null();
      return writer.null();
    case Kind::boolean:
      return writer.boolean(reader.read_bool());
    case Kind::unsigned_int:
      return writer.uinteger(reader.read_uint());
    case Kind::negative_int:
      return writer.integer(reader.read_int());
    case Kind::floating: {
      const double value = reader.read_float();
      return std::isfinite(value) ? writer.number(value) : writer.null();
    }
    case Kind::text: {
      std::string scratch;
      return writer.key(reader.read_text(scratch));
    }
    case Kind::array:
      return append_canonical_array(reader, out);
    case Kind::map:
      return append_canonical_map(reader, out);
    default:
      reader.fail_expected("a JSON-like value (null, bool, number, text, array, map)");
  }
}

// ---- structs that both protocols have -------------------------------------------------------

UserAttributes read_user(Reader& reader) {
  UserAttributes user;
  const std::size_t start = reader.offset_bytes();
  Reader::Span map = reader.enter_map();
  while (reader.more(map)) {
    if (user.size() == kMaxEntries)
      reader.fail_at(start, "more than " + std::to_string(kMaxEntries) + " entries");
    auto& [key, value] = user.emplace_back();
    key = reader.read_text();
    append_canonical(reader, value);
  }
  if (user.size() < 2) return user;
  // Of equal keys the last counts.
  std::unordered_map<std::string_view, std::size_t> last;
  for (std::size_t i = 0; i < user.size(); ++i) last[user[i].first] = i;
  if (last.size() == user.size()) return user;
  UserAttributes unique;
  for (std::size_t i = 0; i < user.size(); ++i)
    if (last[user[i].first] == i) unique.push_back(user[i]);
  return unique;
}

void write_user(Writer& writer, const UserAttributes& user) {
  writer.map(user.size());
  for (const auto& [key, value] : user) {
    writer.text(key);
    writer.raw(value);
  }
}

namespace {

constexpr std::string_view kTaskInfoFields[] = {"error",      "debug",    "governor",
                                                "start_time", "duration", "user"};
constexpr Shape kTaskInfo{"TaskInfo", kTaskInfoFields, 6, 0};

constexpr std::string_view kObjectInfoFields[] = {"size", "content_type", "error", "debug", "user"};
constexpr Shape kObjectInfo{"ObjectInfo", kObjectInfoFields, 5, 0};

std::uint64_t count_texts(std::initializer_list<const std::string*> texts) {
  std::uint64_t count = 0;
  for (const std::string* text : texts) count += !text->empty();
  return count;
}

}  // namespace

bool is_empty(const TaskInfo& info) {
  return info.error.empty() && info.debug.empty() && info.governor.empty() &&
         info.start_time.empty() && !info.duration && info.user.empty();
}

TaskInfo read_task_info(Reader& reader, Rules rules) {
  TaskInfo info;
  StructReader fields(reader, kTaskInfo, rules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        info.error = reader.read_text();
        break;
      case 1:
        info.debug = reader.read_text();
        break;
      case 2:
        info.governor = reader.read_text();
        break;
      case 3:
        info.start_time = reader.read_text();
        break;
      case 4:
        // A double beyond float's range becomes infinite, as in the older governor.
        if (!reader.try_null()) {
          const double seconds = reader.read_float();
          constexpr float kInfinity = std::numeric_limits<float>::infinity();
          const bool fits = !(std::fabs(seconds) > std::numeric_limits<float>::max());
          info.duration = fits ? static_cast<float>(seconds) : seconds > 0 ? kInfinity : -kInfinity;
        }
        break;
      case 5:
        info.user = read_user(reader);
        break;
    }
  }
  return info;
}

void write_task_info(Writer& writer, const TaskInfo& info) {
  writer.map(count_texts({&info.error, &info.debug, &info.governor, &info.start_time}) +
             info.duration.has_value() + !info.user.empty());
  write_text_if(writer, "error", info.error);
  write_text_if(writer, "debug", info.debug);
  write_text_if(writer, "governor", info.governor);
  write_text_if(writer, "start_time", info.start_time);
  if (info.duration) {
    writer.key("duration");
    writer.number_single(*info.duration);
  }
  write_user_if(writer, info.user);
}

bool is_empty(const ObjectInfo& info) {
  return !info.size && info.content_type.empty() && info.error.empty() && info.debug.empty() &&
         info.user.empty();
}

ObjectInfo read_object_info(Reader& reader, Rules rules) {
  ObjectInfo info;
  StructReader fields(reader, kObjectInfo, rules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        if (!reader.try_null()) info.size = reader.read_uint();
        break;
      case 1:
        info.content_type = reader.read_text();
        break;
      case 2:
        info.error = reader.read_text();
        break;
      case 3:
        info.debug = reader.read_text();
        break;
      case 4:
        info.user = read_user(reader);
        break;
    }
  }
  return info;
}

void write_object_info(Writer& writer, const ObjectInfo& info) {
  writer.map(count_texts({&info.content_type, &info.error, &info.debug}) + info.size.has_value() +
             !info.user.empty());
  if (info.size) {
    writer.key("size");
    writer.uinteger(*info.size);
  }
  write_text_if(writer, "content_type", info.content_type);
  write_text_if(writer, "error", info.error);
  write_text_if(writer, "debug", info.debug);
  write_user_if(writer, info.user);
}

Memory read_memory(Reader& reader) {
  std::string scratch;
  Memory memory;
  memory.bytes = reader.read_bytes(scratch);
  if (scratch.empty()) return memory;
  memory.joined = std::make_shared<const std::string>(std::move(scratch));
  memory.bytes = base::ByteView(std::string_view(*memory.joined));
  return memory;
}

void write_memory(Writer& writer, const Memory& memory) {
  if (memory.bytes.size > kMaxFrameBytes)
    throw base::ProtocolError(std::to_string(memory.bytes.size) +
                              " bytes of data don't fit into a frame of at most " +
                              std::to_string(kMaxFrameBytes) + "; pass them as a file or region");
  writer.bytes(memory.bytes);
}

void write_path(Writer& writer, const Path& path) {
  if (!is_valid_utf8(path.path))
    throw base::Error("path " + quoted(path.path) + " is no valid UTF-8; rename the file");
  writer.key(path.path);
}

// ---- register -------------------------------------------------------------------------------

namespace {

constexpr std::string_view kRegisterFields[] = {
    "protocol", "executor_id", "executor_type", "threads", "features", "tasklib", "tasks"};
constexpr int kRegisterFieldsCbor1 = 3;
// What is unknown depends on `protocol`, which may come late: read_register() judges.
constexpr Shape kRegister{"register", kRegisterFields, 7, 0b111, true};
constexpr Shape kRegisterArray{"register", kRegisterFields, kRegisterFieldsCbor1, 0b111};
constexpr std::string_view kAnnouncedFields[] = {"name", "in", "out"};
constexpr Shape kAnnounced{"task", kAnnouncedFields, 3, 0b1, true};
constexpr std::string_view kAnnouncedValueFields[] = {"type", "name"};
constexpr Shape kAnnouncedValue{"value", kAnnouncedValueFields, 2, 0b1, true};

std::vector<AnnouncedValue> read_announced_values(Reader& reader) {
  std::vector<AnnouncedValue> values;
  read_list(reader, values, [&] {
    AnnouncedValue value;
    StructReader fields(reader, kAnnouncedValue, Rules::cbor2);
    for (int field; (field = fields.next()) != StructReader::kEnd;)
      (field == 0 ? value.type : value.name) = reader.read_text();
    return value;
  });
  return values;
}

AnnouncedTask read_announced(Reader& reader) {
  AnnouncedTask task;
  StructReader fields(reader, kAnnounced, Rules::cbor2);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    if (field == 0) {
      task.name = reader.read_text();
      continue;
    }
    if (!task.signature) task.signature.emplace();
    (field == 1 ? task.signature->inputs : task.signature->outputs) = read_announced_values(reader);
  }
  return task;
}

}  // namespace

Register read_register(Reader& reader) {
  Register message;
  const bool as_array = reader.peek() == Kind::array;
  StructReader fields(reader, as_array ? kRegisterArray : kRegister, Rules::cbor1);
  std::size_t beyond_cbor1 = StructReader::kNone;  // offset of the first such value
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    if (field >= kRegisterFieldsCbor1) beyond_cbor1 = std::min(beyond_cbor1, reader.offset_bytes());
    switch (field) {
      case 0:
        message.protocol = reader.read_text();
        break;
      case 1:
        message.executor_id = static_cast<std::int32_t>(reader.read_int(
            std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()));
        break;
      case 2:
        message.executor_type = reader.read_text();
        break;
      case 3:
        message.threads =
            static_cast<std::uint32_t>(reader.read_uint(std::numeric_limits<std::uint32_t>::max()));
        break;
      case 4:
        read_list(reader, message.features, [&] { return reader.read_text(); });
        break;
      case 5:
        message.tasklib_version = reader.read_text();
        break;
      case 6:
        read_list(reader, message.tasks, [&] { return read_announced(reader); });
        break;
    }
  }
  const std::size_t unknown_at = std::min(beyond_cbor1, fields.ignored_at());
  if (message.protocol == "cbor-1" && unknown_at != StructReader::kNone)
    reader.fail_at(unknown_at,
                   "unknown key; cbor-1 has protocol, executor_id, executor_type and no others");
  return message;
}

}  // namespace tasklib::wire
