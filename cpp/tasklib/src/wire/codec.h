#pragma once

// Messages to bytes and back, in both protocols. Grammar: docs/protocol.md.
//
// Decoders are given the payload of one frame. They trust nothing: any bytes give either a
// message or a ProtocolError with the offset of the offending byte. Views in the message point
// into the payload.

#include <string>

#include "base/bytes.h"
#include "wire/messages.h"

namespace tasklib::wire {

/// Appends one whole frame (header and payload) to `out`.
/// Throws ProtocolError when the payload would exceed kMaxFrameBytes; `out` is then unchanged.
void encode_frame(std::string& out, const ToGovernor& message, Protocol protocol);
void encode_frame(std::string& out, const ToExecutor& message, Protocol protocol);
// Without a variant in between, for the hot path.
void encode_frame(std::string& out, const Call& message, Protocol protocol);
void encode_frame(std::string& out, const Result& message, Protocol protocol);

/// `protocol` is what was negotiated; the first frame of a connection (Register) is decoded with
/// cbor2. That takes what both protocols allow there, and refuses unknown keys only if the
/// message's `protocol` says "cbor-1".
ToGovernor decode_to_governor(base::ByteView payload, Protocol protocol);
ToExecutor decode_to_executor(base::ByteView payload, Protocol protocol);

/// Checks that `item` is exactly one JSON-like CBOR item and returns it in the form in which the
/// governor writes such values (reference 1.3: shortest ints, f32 where exact, nested keys
/// sorted). Throws ProtocolError.
RawValue canonical_value(base::ByteView item);

}  // namespace tasklib::wire
