#pragma once

// What the targets of the two protocols share.

#include <cstddef>
#include <string>

#include "base/bytes.h"
#include "base/errors.h"
#include "require.h"
#include "wire/codec.h"
#include "wire/describe.h"
#include "wire/frame.h"

namespace tasklib::wire::fuzz {

/// What was read can be written again, and then means the same.
template <class Message, class Decode>
void round_trip(base::ByteView payload, Protocol protocol, Decode decode) {
  Message message;
  try {
    message = decode(payload, protocol);
  } catch (const base::ProtocolError& error) {
    require(error.offset_bytes() <= payload.size, "the offset of an error is in the payload");
    return;
  }
  std::string frame;
  encode_frame(frame, message, protocol);
  const Message again =
      decode(base::ByteView(std::string_view(frame).substr(kFrameHeaderBytes)), protocol);
  std::string twice;
  encode_frame(twice, again, protocol);
  require(frame == twice, "a message that was read is written the same each time");
  require(!describe(message).empty(), "a message can be described");
}

inline int decode(const unsigned char* data, std::size_t size, Protocol protocol) {
  if (size == 0) return 0;
  const base::ByteView payload(data + 1, size - 1);
  if (data[0] % 2 == 0)
    round_trip<ToGovernor>(payload, protocol, decode_to_governor);
  else
    round_trip<ToExecutor>(payload, protocol, decode_to_executor);
  return 0;
}

}  // namespace tasklib::wire::fuzz
