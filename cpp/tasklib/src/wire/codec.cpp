#include "wire/codec.h"

#include "wire/codec_parts.h"
#include "wire/frame.h"

namespace tasklib::wire {
namespace {

/// Appends header and what `write_payload` writes; `out` is as before when that throws.
template <class WritePayload>
void append_frame(std::string& out, WritePayload write_payload) {
  const std::size_t start = out.size();
  try {
    out.append(kFrameHeaderBytes, '\0');
    Writer writer(out);
    write_payload(writer);
    const std::size_t size = out.size() - start - kFrameHeaderBytes;
    if (size > kMaxFrameBytes)
      throw base::ProtocolError(
          "a message of " + std::to_string(size) + " bytes doesn't fit into a frame of at most " +
          std::to_string(kMaxFrameBytes) + "; pass large data as a file or region");
    for (std::size_t i = 0; i < kFrameHeaderBytes; ++i)
      out[start + i] = static_cast<char>(size >> 8 * i & 0xFF);
  } catch (...) {
    out.resize(start);
    throw;
  }
}

template <class Message>
void append_message(std::string& out, const Message& message, Protocol protocol) {
  append_frame(out, [&](Writer& writer) {
    if (protocol == Protocol::cbor1)
      write_cbor1(writer, message);
    else
      write_cbor2(writer, message);
  });
}

}  // namespace

void encode_frame(std::string& out, const ToGovernor& message, Protocol protocol) {
  std::visit([&](const auto& each) { append_message(out, each, protocol); }, message);
}

void encode_frame(std::string& out, const ToExecutor& message, Protocol protocol) {
  std::visit([&](const auto& each) { append_message(out, each, protocol); }, message);
}

void encode_frame(std::string& out, const Call& message, Protocol protocol) {
  append_message(out, message, protocol);
}

void encode_frame(std::string& out, const Result& message, Protocol protocol) {
  append_message(out, message, protocol);
}

ToGovernor decode_to_governor(base::ByteView payload, Protocol protocol) {
  Reader reader(payload);
  ToGovernor message =
      protocol == Protocol::cbor1 ? read_to_governor_cbor1(reader) : read_to_governor_cbor2(reader);
  reader.expect_end();
  return message;
}

ToExecutor decode_to_executor(base::ByteView payload, Protocol protocol) {
  Reader reader(payload);
  ToExecutor message =
      protocol == Protocol::cbor1 ? read_to_executor_cbor1(reader) : read_to_executor_cbor2(reader);
  reader.expect_end();
  return message;
}

RawValue canonical_value(base::ByteView item) {
  Reader reader(item, kMaxNesting - kMaxValueNesting);
  RawValue value;
  append_canonical(reader, value);
  reader.expect_end();
  return value;
}

}  // namespace tasklib::wire
