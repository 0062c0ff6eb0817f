// Any bytes give a message of cbor-1 or a ProtocolError. The first byte chooses the direction.

#include "decoders.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  return tasklib::wire::fuzz::decode(data, size, tasklib::wire::Protocol::cbor1);
}
