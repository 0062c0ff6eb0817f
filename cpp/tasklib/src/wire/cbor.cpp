#include "wire/cbor.h"

#include <cbor.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/errors.h"

namespace tasklib::wire {
namespace {

constexpr std::size_t kMaxHeadBytes = 9;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

/// Length of the valid UTF-8 sequence at the start of `text`, 0 if there is none.
std::size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](std::size_t i, unsigned char low = 0x80, unsigned char high = 0xBF) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned char low = first == 0xE0 ? 0xA0 : 0x80;   // no overlong forms
    const unsigned char high = first == 0xED ? 0x9F : 0xBF;  // no surrogates
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned char low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = first == 0xF4 ? 0x8F : 0xBF;  // up to U+10FFFF
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

/// Position of the first byte that is no valid UTF-8; size() when there is none.
std::size_t first_invalid(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    std::uint64_t eight;
    if (i + sizeof eight <= text.size()) {
      std::memcpy(&eight, text.data() + i, sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    const std::size_t length = utf8_sequence(text.substr(i));
    if (length == 0) return i;
    i += length;
  }
  return i;
}

std::string repaired(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t good = first_invalid(text);
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) break;
    out.append(kReplacement);
    text.remove_prefix(1);
  }
  return out;
}

template <class Encode>
void append_head(std::string& out, Encode encode) {
  unsigned char head[kMaxHeadBytes];
  out.append(reinterpret_cast<const char*>(head), encode(head, sizeof head));
}

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::end:
      return "the end of the data";
    case Kind::null:
      return "null";
    case Kind::boolean:
      return "a bool";
    case Kind::unsigned_int:
      return "an integer";
    case Kind::negative_int:
      return "a negative integer";
    case Kind::floating:
      return "a float";
    case Kind::text:
      return "a text";
    case Kind::bytes:
      return "a byte string";
    case Kind::array:
      return "an array";
    case Kind::map:
      return "a map";
    case Kind::stop:
      return "a misplaced break";
  }
  return "?";
}

}  // namespace

bool is_valid_utf8(std::string_view text) { return first_invalid(text) == text.size(); }

// ---- Writer ---------------------------------------------------------------------------------

void Writer::null() { append_head(out_, cbor_encode_null); }

void Writer::boolean(bool value) {
  append_head(out_, [=](auto* head, auto size) { return cbor_encode_bool(value, head, size); });
}

void Writer::uinteger(std::uint64_t value) {
  append_head(out_, [=](auto* head, auto size) { return cbor_encode_uint(value, head, size); });
}

void Writer::integer(std::int64_t value) {
  if (value >= 0) return uinteger(static_cast<std::uint64_t>(value));
  const auto argument = static_cast<std::uint64_t>(-1 - value);
  append_head(out_,
              [=](auto* head, auto size) { return cbor_encode_negint(argument, head, size); });
}

void Writer::number(double value) {
  // The range is checked first: converting a double beyond float's range is undefined.
  const bool fits = !std::isfinite(value) || std::fabs(value) <= std::numeric_limits<float>::max();
  if (fits) {
    const auto single = static_cast<float>(value);
    if (!std::isfinite(value) || static_cast<double>(single) == value) return number_single(single);
  }
  append_head(out_, [=](auto* head, auto size) { return cbor_encode_double(value, head, size); });
}

void Writer::number_single(float value) {
  append_head(out_, [=](auto* head, auto size) {
    return std::isfinite(value) ? cbor_encode_single(value, head, size)
                                : cbor_encode_half(value, head, size);
  });
}

void Writer::text(std::string_view text) {
  if (is_valid_utf8(text)) return key(text);
  key(repaired(text));
}

void Writer::key(std::string_view text) {
  // Short ones, as all names and keys are, go out in one piece with their head.
  constexpr std::size_t kShortBytes = 55;
  unsigned char item[kMaxHeadBytes + kShortBytes];
  std::size_t size = cbor_encode_string_start(text.size(), item, kMaxHeadBytes);
  const bool is_short = text.size() <= kShortBytes;
  if (is_short) {
    std::copy(text.begin(), text.end(), item + size);
    size += text.size();
  }
  out_.append(reinterpret_cast<const char*>(item), size);
  if (!is_short) out_.append(text);
}

void Writer::bytes(base::ByteView bytes) {
  append_head(out_, [&](auto* head, auto size) {
    return cbor_encode_bytestring_start(bytes.size, head, size);
  });
  out_.append(bytes.text());
}

void Writer::array(std::uint64_t count) {
  append_head(out_,
              [=](auto* head, auto size) { return cbor_encode_array_start(count, head, size); });
}

void Writer::map(std::uint64_t count) {
  append_head(out_,
              [=](auto* head, auto size) { return cbor_encode_map_start(count, head, size); });
}

// ---- Reader ---------------------------------------------------------------------------------

/// What libcbor's decoder calls; the context is the Head to fill.
struct HeadCallbacks {
  using Head = Reader::Head;
  static Head& head(void* context) { return *static_cast<Head*>(context); }

  template <Kind kind>
  static void integer(void* context, std::uint64_t value) {
    head(context).kind = kind;
    head(context).argument = value;
  }
  template <Kind kind>
  static void string(void* context, const unsigned char* data, std::uint64_t size_bytes) {
    head(context).kind = kind;
    head(context).data = data;
    head(context).argument = size_bytes;
  }
  template <Kind kind>
  static void indefinite(void* context) {
    head(context).kind = kind;
    head(context).indefinite = true;
  }
  static void floating(void* context, double value) {
    head(context).kind = Kind::floating;
    head(context).number = value;
  }

  // The lambdas adapt to the exact parameter types, which differ between releases of libcbor.
  template <Kind kind>
  static constexpr auto any_integer =
      [](void* context, auto value) { integer<kind>(context, value); };
  template <Kind kind>
  static constexpr auto any_string =
      [](void* context, auto data, auto size_bytes) { string<kind>(context, data, size_bytes); };
  static constexpr auto any_float = [](void* context, auto value) { floating(context, value); };

  static cbor_callbacks make() {
    cbor_callbacks calls = cbor_empty_callbacks;
    calls.uint8 = any_integer<Kind::unsigned_int>;
    calls.uint16 = any_integer<Kind::unsigned_int>;
    calls.uint32 = any_integer<Kind::unsigned_int>;
    calls.uint64 = any_integer<Kind::unsigned_int>;
    calls.negint8 = any_integer<Kind::negative_int>;
    calls.negint16 = any_integer<Kind::negative_int>;
    calls.negint32 = any_integer<Kind::negative_int>;
    calls.negint64 = any_integer<Kind::negative_int>;
    calls.byte_string = any_string<Kind::bytes>;
    calls.byte_string_start = indefinite<Kind::bytes>;
    calls.string = any_string<Kind::text>;
    calls.string_start = indefinite<Kind::text>;
    calls.array_start = any_integer<Kind::array>;
    calls.indef_array_start = indefinite<Kind::array>;
    calls.map_start = any_integer<Kind::map>;
    calls.indef_map_start = indefinite<Kind::map>;
    calls.tag = [](void* context, auto) { head(context).tag = true; };
    calls.float2 = any_float;
    calls.float4 = any_float;
    calls.float8 = any_float;
    calls.null = [](void* context) { head(context).kind = Kind::null; };
    calls.undefined = [](void* context) { head(context).kind = Kind::null; };
    calls.boolean = [](void* context, bool value) { integer<Kind::boolean>(context, value); };
    calls.indef_break = [](void* context) { head(context).kind = Kind::stop; };
    return calls;
  }
};

const cbor_callbacks kCallbacks = HeadCallbacks::make();

void Reader::load() {
  std::size_t at = next_;
  for (;;) {
    head_ = Head();
    head_.offset = at;
    if (at == bytes_.size) {
      if (at != next_) fail_at(at, "truncated: a tag without an item");
      break;
    }
    const auto result = cbor_stream_decode(bytes_.data + at, bytes_.size - at, &kCallbacks, &head_);
    if (result.status == CBOR_DECODER_NEDATA) fail_at(at, "truncated: the data end within an item");
    if (result.status != CBOR_DECODER_FINISHED) fail_at(at, "no CBOR item begins with this byte");
    at += result.read;
    if (!head_.tag) break;
  }
  next_ = at;
  has_head_ = true;
}

void Reader::fail_at(std::size_t offset_bytes, const std::string& problem) const {
  std::string place(container_);
  if (!field_.empty()) place.append(".").append(field_);
  if (!place.empty()) place.append(": ");
  throw base::ProtocolError(place + problem, offset_bytes);
}

void Reader::fail(const std::string& problem) {
  const std::size_t at = offset_bytes();
  fail_at(at, problem);
}

void Reader::fail_expected(const char* expected) {
  fail(std::string("expected ") + expected + ", found " + name_of(peek()));
}

bool Reader::try_null() {
  if (peek() != Kind::null) return false;
  take();
  return true;
}

bool Reader::read_bool() {
  if (peek() != Kind::boolean) fail_expected("a bool");
  take();
  return head_.argument != 0;
}

std::uint64_t Reader::read_uint(std::uint64_t max) {
  if (peek() != Kind::unsigned_int) fail_expected("an unsigned integer");
  if (head_.argument > max)
    fail(std::to_string(head_.argument) + " is more than the limit " + std::to_string(max));
  take();
  return head_.argument;
}

std::int64_t Reader::read_int(std::int64_t min, std::int64_t max) {
  const Kind kind = peek();
  if (kind != Kind::unsigned_int && kind != Kind::negative_int) fail_expected("an integer");
  if (head_.argument > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    fail("an integer beyond 64 bits");
  auto value = static_cast<std::int64_t>(head_.argument);
  if (kind == Kind::negative_int) value = -1 - value;
  if (value < min || value > max)
    fail(std::to_string(value) + " is not between " + std::to_string(min) + " and " +
         std::to_string(max));
  take();
  return value;
}

double Reader::read_float() {
  switch (peek()) {
    case Kind::floating:
      take();
      return head_.number;
    case Kind::unsigned_int:
      take();
      return static_cast<double>(head_.argument);
    case Kind::negative_int:
      take();
      return -1.0 - static_cast<double>(head_.argument);
    default:
      fail_expected("a number");
  }
}

std::string_view Reader::join_chunks(Kind kind, std::string& scratch) {
  scratch.clear();
  take();
  for (;;) {
    const Kind next = peek();
    if (next == Kind::stop) break;
    if (next != kind || head_.indefinite) fail_expected("a chunk of the string or its end");
    scratch.append(reinterpret_cast<const char*>(head_.data), head_.argument);
    take();
  }
  take();
  return scratch;
}

std::string_view Reader::read_text(std::string& scratch) {
  const Kind kind = peek();
  if (kind != Kind::text && kind != Kind::bytes) fail_expected("a text");
  const std::size_t start = head_.offset;
  std::string_view text;
  if (head_.indefinite) {
    text = join_chunks(kind, scratch);
  } else {
    text = {reinterpret_cast<const char*>(head_.data), static_cast<std::size_t>(head_.argument)};
    take();
  }
  if (!is_valid_utf8(text)) fail_at(start, "a text that is no valid UTF-8");
  return text;
}

std::string Reader::read_text() {
  std::string scratch;
  const std::string_view text = read_text(scratch);
  return text.data() == scratch.data() ? scratch : std::string(text);
}

base::ByteView Reader::read_bytes(std::string& scratch) {
  scratch.clear();
  const Kind kind = peek();
  if (kind == Kind::array) {
    Span array = enter_array();
    while (more(array)) scratch.push_back(static_cast<char>(read_uint(255)));
    return base::ByteView(std::string_view(scratch));
  }
  if (kind != Kind::bytes && kind != Kind::text) fail_expected("bytes");
  if (head_.indefinite) return base::ByteView(join_chunks(kind, scratch));
  take();
  return {head_.data, static_cast<std::size_t>(head_.argument)};
}

Reader::Span Reader::enter(Kind kind, const char* expected) {
  if (peek() != kind) fail_expected(expected);
  if (nesting_ == kMaxNesting)
    fail("nested deeper than " + std::to_string(kMaxNesting) + " levels");
  // Each item takes a byte at least, so a larger count is a lie; nobody need count down to it.
  if (!head_.indefinite && head_.argument > left_bytes())
    fail("truncated: " + std::to_string(head_.argument) + " entries announced, " +
         std::to_string(left_bytes()) + " bytes left");
  ++nesting_;
  take();
  return {head_.argument, head_.indefinite, head_.offset};
}

Reader::Span Reader::enter_array() { return enter(Kind::array, "an array"); }
Reader::Span Reader::enter_map() { return enter(Kind::map, "a map"); }

bool Reader::more(Span& span) {
  if (span.indefinite) {
    if (peek() != Kind::stop) return true;
    take();
  } else if (span.left > 0) {
    --span.left;
    return true;
  }
  --nesting_;
  return false;
}

void Reader::skip() {
  switch (peek()) {
    case Kind::array: {
      Span array = enter_array();
      while (more(array)) skip();
      return;
    }
    case Kind::map: {
      Span map = enter_map();
      while (more(map)) {
        skip();
        skip();
      }
      return;
    }
    case Kind::text:
    case Kind::bytes:
      if (head_.indefinite) {
        std::string chunks;
        join_chunks(head_.kind, chunks);
        return;
      }
      break;
    case Kind::end:
    case Kind::stop:
      fail_expected("an item");
    default:
      break;
  }
  take();
}

void Reader::expect_end() {
  const std::size_t at = has_head_ ? head_.offset : next_;
  if (at != bytes_.size)
    fail_at(at, std::to_string(bytes_.size - at) + " bytes too many after the item");
}

}  // namespace tasklib::wire
