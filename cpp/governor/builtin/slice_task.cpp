// The built-in task slice: a range of a blob's bytes, or of an array's rows, without a copy.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "builtin/builtin.h"
#include "wire/cbor.h"

namespace rain::builtin {

using tasklib::base::ByteView;
using tasklib::base::ProtocolError;
using tasklib::wire::Kind;
using tasklib::wire::RawValue;
using tasklib::wire::Reader;
using tasklib::wire::UserAttributes;
using tasklib::wire::Writer;

namespace {

constexpr std::string_view kArrayType = "user/ndarray";
constexpr std::string_view kArrayAttribute = "ndarray";

/// As in Python: from the end if negative, missing, cut where there is nothing.
struct Range {
  std::optional<std::int64_t> begin, end;

  /// Of so many items: the first one, and how many.
  std::pair<std::uint64_t, std::uint64_t> among(std::uint64_t count) const {
    const auto position = [&](const std::optional<std::int64_t>& given, std::uint64_t missing) {
      if (!given) return missing;
      if (*given >= 0) return std::min(static_cast<std::uint64_t>(*given), count);
      const std::uint64_t back = ~static_cast<std::uint64_t>(*given) + 1;
      return count - std::min(back, count);
    };
    const std::uint64_t first = position(begin, 0);
    return {first, std::max(position(end, count), first) - first};
  }
};

Range parse_range(const Call& call) {
  return call.parse_config([](Reader& reader) {
    reader.set_place("config", "[begin, end]");
    std::optional<std::int64_t> ends[2];
    std::size_t count = 0;
    auto array = reader.enter_array();
    while (reader.more(array)) {
      if (count == 2) reader.fail("expected two items, found more");
      if (!reader.try_null()) ends[count] = reader.read_int();
      ++count;
    }
    if (count != 2) reader.fail("expected two items, found " + std::to_string(count));
    return Range{ends[0], ends[1]};
  });
}

const RawValue* find(const UserAttributes& attributes, std::string_view key) {
  for (const auto& [name, value] : attributes)
    if (name == key) return &value;
  return nullptr;
}

/// The attribute of an array: its dtype as it is, and its shape.
struct ArrayAttribute {
  std::string dtype;
  std::vector<std::uint64_t> shape;

  RawValue encoded() const {
    RawValue raw;
    Writer writer(raw);
    writer.map(2);
    writer.key("dtype");
    writer.raw(dtype);
    writer.key("shape");
    writer.array(shape.size());
    for (const std::uint64_t extent : shape) writer.uinteger(extent);
    return raw;
  }
};

/// Throws ProtocolError.
ArrayAttribute decode_attribute(const RawValue& raw) {
  ArrayAttribute array;
  Reader reader(ByteView(std::string_view{raw}));
  std::string scratch;
  auto map = reader.enter_map();
  while (reader.more(map)) {
    const std::string key(reader.read_text(scratch));
    if (key == "shape") {
      auto shape = reader.enter_array();
      while (reader.more(shape)) array.shape.push_back(reader.read_uint());
    } else {
      const std::size_t begin = reader.offset_bytes();
      reader.skip();
      if (key == "dtype") array.dtype = raw.substr(begin, reader.offset_bytes() - begin);
    }
  }
  if (array.dtype.empty()) reader.fail("missing field 'dtype'");
  return array;
}

/// What producer and client say of an input; the producer goes first.
struct Described {
  std::string_view content_type;
  const RawValue* array = nullptr;

  explicit Described(const graph::ObjectRecord& object) {
    const auto* info = result_of(object);
    const ObjectAnnex* annex = annex_of(object);
    if (info && !info->content_type.empty())
      content_type = info->content_type;
    else if (annex)
      content_type = annex->content_type;
    if (info) array = find(info->user, kArrayAttribute);
    if (!array && annex) array = find(annex->user, kArrayAttribute);
  }
};

void set_result(const Call& call, std::uint64_t size_bytes, const ArrayAttribute* array) {
  if (call.task.outputs.empty()) return;
  call.task.outputs[0]->result.reset();  // of an attempt before
  if (!array) return;
  auto result = std::make_unique<ObjectResult>();
  result->info.content_type = kArrayType;
  result->info.user = {{std::string(kArrayAttribute), array->encoded()}};
  result->info.size = size_bytes;
  call.task.outputs[0]->result = std::move(result);
}

}  // namespace

Begun slice(const Call& call) {
  call.expect_inputs(1);
  const Range range = parse_range(call);
  if (call.input_is_directory(0))
    throw TaskError(
        "Input 0 is a directory: a range is of bytes or of an array's rows; what is in a "
        "directory has a path, directory[\"path\"]");
  auto data = std::static_pointer_cast<Data>(call.task.inputs[0]->data);
  const Described input(*call.task.inputs[0]);
  if (input.content_type != kArrayType) {
    const auto [first, count] = range.among(data->size_bytes);
    set_result(call, count, nullptr);
    return Outcome::of(slice_of(data, first, count));
  }
  ArrayAttribute array;
  try {
    if (!input.array) throw ProtocolError("there is none");
    array = decode_attribute(*input.array);
  } catch (const ProtocolError& error) {
    throw TaskError("Input 0 is an array whose attribute 'ndarray' has no dtype and shape: " +
                    std::string(error.what()));
  }
  if (array.shape.empty())
    throw TaskError("Input 0 is an array without dimensions: it has no rows to take a range of");
  std::uint64_t& rows = array.shape[0];
  if (rows == 0 ? data->size_bytes != 0 : data->size_bytes % rows != 0)
    throw TaskError("Input 0 is an array of " + std::to_string(data->size_bytes) + " bytes and " +
                    std::to_string(rows) + " rows, which does not fit");
  const std::uint64_t row_bytes = rows == 0 ? 0 : data->size_bytes / rows;
  const auto [first, count] = range.among(rows);
  rows = count;
  set_result(call, count * row_bytes, &array);
  return Outcome::of(slice_of(data, first * row_bytes, count * row_bytes));
}

}  // namespace rain::builtin
