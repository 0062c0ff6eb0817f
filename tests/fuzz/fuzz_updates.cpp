// Any bytes give updates or a ProtocolError.

#include "base/errors.h"
#include "remote/update.h"
#include "require.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using rain::remote::decode_updates;
  using rain::remote::encode_updates;
  using tasklib::base::ByteView;
  using tasklib::wire::fuzz::require;
  rain::remote::Updates updates;
  try {
    updates = decode_updates(ByteView(data, size));
  } catch (const tasklib::base::ProtocolError& error) {
    require(error.offset_bytes() <= size, "the offset of an error is in the updates");
    return 0;
  }
  const std::string written = encode_updates(updates.ends, updates.started);
  const auto read = decode_updates(ByteView(std::string_view(written)));
  const std::string again = encode_updates(read.ends, read.started);
  require(written == again, "updates that were read are written the same each time");
  return 0;
}
