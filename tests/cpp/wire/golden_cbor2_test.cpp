// The frames that freeze the format of cbor-2. tests/data/golden_cbor2.py wrote them, with an
// encoder of its own, and says how one is added.

#include <gtest/gtest.h>

#include <set>

#include "base/errors.h"
#include "frames.h"
#include "wire/describe.h"

namespace tasklib::wire {
namespace {

using nlohmann::json;

std::string described(const test::GoldenFrame& golden) {
  const base::ByteView payload = test::payload_of(golden.frame);
  return golden.to_executor ? describe(decode_to_executor(payload, Protocol::cbor2))
                            : describe(decode_to_governor(payload, Protocol::cbor2));
}

std::string encoded_again(const test::GoldenFrame& golden) {
  const base::ByteView payload = test::payload_of(golden.frame);
  return golden.to_executor
             ? test::encoded(decode_to_executor(payload, Protocol::cbor2), Protocol::cbor2)
             : test::encoded(decode_to_governor(payload, Protocol::cbor2), Protocol::cbor2);
}

TEST(GoldenCbor2, has_every_message_of_both_directions) {
  std::set<std::string> to_governor, to_executor;
  for (const auto& golden : test::golden_cbor2_frames())
    (golden.to_executor ? to_executor : to_governor).insert(golden.decoded.at(0));
  EXPECT_EQ(to_governor.size(), std::variant_size_v<ToGovernor>);
  EXPECT_EQ(to_executor.size(), std::variant_size_v<ToExecutor> - 1);  // without drop_cached
}

TEST(GoldenCbor2, frames_are_read_as_they_were_meant) {
  for (const auto& golden : test::golden_cbor2_frames()) {
    SCOPED_TRACE(golden.name);
    EXPECT_EQ(json::parse(described(golden)), golden.decoded);
  }
}

TEST(GoldenCbor2, frames_are_written_byte_for_byte) {
  for (const auto& golden : test::golden_cbor2_frames()) {
    SCOPED_TRACE(golden.name);
    EXPECT_EQ(test::to_hex(encoded_again(golden)), test::to_hex(golden.frame));
  }
}

TEST(GoldenCbor2, frames_cut_at_any_byte_are_refused) {
  for (const auto& golden : test::golden_cbor2_frames()) {
    SCOPED_TRACE(golden.name);
    for (std::size_t size = kFrameHeaderBytes; size < golden.frame.size(); ++size) {
      const test::GoldenFrame cut{
          golden.name, golden.frame.substr(0, size), golden.to_executor, {}};
      EXPECT_THROW(described(cut), base::ProtocolError) << size;
    }
  }
}

}  // namespace
}  // namespace tasklib::wire
