#include "wire/describe.h"

#include <charconv>
#include <cmath>

#include "base/errors.h"
#include "wire/cbor.h"
#include "wire/codec.h"
#include "wire/frame.h"

namespace tasklib::wire {
namespace {

void append_json_text(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.append(1, '\\').append(1, c);
    } else if (byte < 0x20) {
      out.append("\\u00").append(1, kHex[byte >> 4]).append(1, kHex[byte & 15]);
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_json_bytes(std::string& out, base::ByteView bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  out += "{\"bytes\": \"";
  for (std::size_t i = 0; i < bytes.size; ++i)
    out.append(1, kHex[bytes.data[i] >> 4]).append(1, kHex[bytes.data[i] & 15]);
  out += "\"}";
}

void append_json_float(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
    return;
  }
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  const std::string_view text(digits, static_cast<std::size_t>(end - digits));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

void append_json(std::string& out, Reader& reader) {
  const Kind kind = reader.peek();
  std::string scratch;
  switch (kind) {
    case Kind::boolean:
      out += reader.read_bool() ? "true" : "false";
      return;
    case Kind::unsigned_int:
      out += std::to_string(reader.read_uint());
      return;
    case Kind::negative_int:
      out += std::to_string(reader.read_int());
      return;
    case Kind::floating:
      append_json_float(out, reader.read_float());
      return;
    case Kind::text:
      append_json_text(out, reader.read_text(scratch));
      return;
    case Kind::bytes:
      append_json_bytes(out, reader.read_bytes(scratch));
      return;
    case Kind::array: {
      out += '[';
      Reader::Span array = reader.enter_array();
      for (const char* separator = ""; reader.more(array); separator = ", ") {
        out += separator;
        append_json(out, reader);
      }
      out += ']';
      return;
    }
    case Kind::map: {
      out += '{';
      Reader::Span map = reader.enter_map();
      for (const char* separator = ""; reader.more(map); separator = ", ") {
        out += separator;
        append_json_text(out, reader.read_text(scratch));
        out += ": ";
        append_json(out, reader);
      }
      out += '}';
      return;
    }
    default:
      reader.skip();
      out += "null";
  }
}

template <class Message>
std::string describe_encoded(const Message& message, Protocol protocol) {
  std::string frame;
  try {
    encode_frame(frame, message, protocol);
  } catch (const base::Error& error) {
    return std::string("(a message that can't be sent: ") + error.what() + ")";
  }
  Reader reader(base::ByteView(std::string_view(frame).substr(kFrameHeaderBytes)));
  std::string json;
  append_json(json, reader);
  return json;
}

// The protocol to which a message belongs.
Protocol protocol_of(const Register& message) {
  return message.protocol == "cbor-2" ? Protocol::cbor2 : Protocol::cbor1;
}
Protocol protocol_of(const Result& message) {
  return message.sequence != 0 ? Protocol::cbor2 : Protocol::cbor1;
}
Protocol protocol_of(const Call& message) {
  return message.sequence != 0 ? Protocol::cbor2 : Protocol::cbor1;
}
Protocol protocol_of(const DropCached&) { return Protocol::cbor1; }
template <class Message>
Protocol protocol_of(const Message&) {
  return Protocol::cbor2;
}

}  // namespace

std::string describe(const ToGovernor& message) {
  const auto protocol = std::visit([](const auto& each) { return protocol_of(each); }, message);
  return describe_encoded(message, protocol);
}

std::string describe(const ToExecutor& message) {
  const auto protocol = std::visit([](const auto& each) { return protocol_of(each); }, message);
  return describe_encoded(message, protocol);
}

}  // namespace tasklib::wire
