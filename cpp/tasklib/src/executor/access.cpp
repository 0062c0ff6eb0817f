#include "executor/access.h"

#include <algorithm>

#include "executor/call.h"
#include "executor/content.h"
#include "wire/cbor.h"

namespace tasklib::executor {
namespace {

void write(wire::Writer& writer, const Value& value) {
  switch (value.kind()) {
    case Value::Kind::null:
      return writer.null();
    case Value::Kind::boolean:
      return writer.boolean(value.as_bool());
    case Value::Kind::integer:
      return writer.integer(value.as_int());
    case Value::Kind::unsigned_integer:
      return writer.uinteger(value.as_uint());
    case Value::Kind::real:
      return writer.number(value.as_double());
    case Value::Kind::string:
      return writer.text(value.as_string());
    case Value::Kind::array:
      writer.array(value.size());
      for (const Value& item : value.as_array()) write(writer, item);
      return;
    case Value::Kind::map:
      writer.map(value.size());
      for (const auto& [key, item] : value.as_map()) {
        writer.text(key);
        write(writer, item);
      }
      return;
  }
}

Value read(wire::Reader& reader) {
  switch (reader.peek()) {
    case wire::Kind::null:
      reader.try_null();
      return Value();
    case wire::Kind::boolean:
      return Value(reader.read_bool());
    case wire::Kind::unsigned_int:
      return Value(reader.read_uint());
    case wire::Kind::negative_int:
      return Value(reader.read_int());
    case wire::Kind::floating:
      return Value(reader.read_float());
    case wire::Kind::text:
      return Value(reader.read_text());
    case wire::Kind::array: {
      Value::Array items;
      auto span = reader.enter_array();
      while (reader.more(span)) items.push_back(read(reader));
      return Value(std::move(items));
    }
    case wire::Kind::map: {
      Value::Map items;
      auto span = reader.enter_map();
      while (reader.more(span)) {
        std::string key = reader.read_text();
        items[std::move(key)] = read(reader);
      }
      return Value(std::move(items));
    }
    default:
      reader.fail_expected("a JSON-like value");
  }
}

}  // namespace

wire::RawValue encode_value(const Value& value) {
  wire::RawValue raw;
  wire::Writer writer(raw);
  write(writer, value);
  return raw;
}

Value decode_value(base::ByteView raw) {
  if (raw.empty()) return Value();
  wire::Reader reader(raw);
  Value value = read(reader);
  reader.expect_end();
  return value;
}

Value::Map decode_attributes(const wire::UserAttributes& attributes) {
  Value::Map values;
  for (const auto& [key, raw] : attributes) values[key] = decode_value(base::ByteView(raw));
  return values;
}

void set_raw(wire::UserAttributes& attributes, const std::string& key, wire::RawValue value) {
  const auto found = std::find_if(attributes.begin(), attributes.end(),
                                  [&](const auto& each) { return each.first == key; });
  if (found != attributes.end())
    found->second = std::move(value);
  else
    attributes.emplace_back(key, std::move(value));
}

const wire::RawValue* find_raw(const wire::UserAttributes& attributes, const std::string& key) {
  const auto found = std::find_if(attributes.begin(), attributes.end(),
                                  [&](const auto& each) { return each.first == key; });
  return found == attributes.end() ? nullptr : &found->second;
}

MutableBlob allocate_on_heap(std::size_t size_bytes) {
  auto content = std::make_shared<HeapContent>(size_bytes);
  unsigned char* data = content->writable();
  return Access::make_blob(std::move(content), data, size_bytes);
}

const wire::TaskSpec& Access::spec(const Context& context) { return context.state_->call->spec; }
wire::TaskInfo& Access::info(Context& context) { return context.state_->info; }

const wire::ObjectSpec& Access::output_spec(const Context& context, std::size_t index) {
  return context.state_->call->outputs.at(index).spec;
}

const wire::ObjectSpec& Access::spec(const DataInstance& instance) {
  static const wire::ObjectSpec kNone;
  return instance.metadata_ ? instance.metadata_->spec : kNone;
}

const wire::ObjectInfo& Access::info(const DataInstance& instance) {
  static const wire::ObjectInfo kNone;
  return instance.metadata_ ? instance.metadata_->info : kNone;
}

wire::ObjectInfo& Access::info(DataInstance& instance) { return instance.metadata().info; }

bool Access::same_content(const DataInstance& a, const DataInstance& b) {
  return a.content_ == b.content_;
}

DataInstancePtr Access::make(std::shared_ptr<Content> content, std::unique_ptr<Metadata> metadata) {
  DataInstancePtr instance(new DataInstance(std::move(content)));
  instance->metadata_ = std::move(metadata);
  return instance;
}

const std::shared_ptr<Content>& Access::content(const DataInstance& instance) {
  return instance.content_;
}

const void* Access::aligned(const DataInstance& instance, const unsigned char* bytes,
                            std::size_t size_bytes, std::size_t alignment) {
  if (reinterpret_cast<std::uintptr_t>(bytes) % alignment == 0) return bytes;
  return instance.content_->aligned_copy(bytes, size_bytes);
}

MutableBlob Access::make_blob(std::shared_ptr<Content> content, unsigned char* data,
                              std::size_t size_bytes) {
  MutableBlob blob;
  blob.content_ = std::move(content);
  blob.data_ = data;
  blob.size_ = size_bytes;
  return blob;
}

void Access::note_copied(MutableBlob& blob, std::size_t bytes) {
  if (blob.content_ && blob.content_->kind() == Content::Kind::room)
    static_cast<RoomContent&>(*blob.content_).note_copied(bytes);
}
void Access::drop_content(DataInstance& instance) {
  instance.content_ = std::make_shared<CopiedContent>(base::ByteView());
}
std::unique_ptr<Context> Access::make_context() { return std::unique_ptr<Context>(new Context); }
CallState& Access::state(const Context& context) { return *context.state_; }

}  // namespace tasklib::executor
