// The 135 frames that were captured between the real older governor and the real older C++, Rust
// and Python executors. All of them are well-formed.

#include <gtest/gtest.h>

#include "base/errors.h"
#include "frames.h"
#include "wire/describe.h"

namespace tasklib::wire {
namespace {

using nlohmann::json;

/// Drops what executors may write or omit: our encoder omits it, as the older Rust library does.
json without_defaults(json message) {
  json& data = message.at(1);
  for (const char* list : {"outputs", "cached_objects"})
    if (data.contains(list) && data[list].empty()) data.erase(list);
  if (data.contains("outputs"))
    for (json& output : data["outputs"])
      if (output.contains("cache_hint") && output["cache_hint"] == false)
        output.erase("cache_hint");
  return message;
}

TEST(GoldenFrames, are_all_there) {
  std::size_t calls = 0, results = 0, registers = 0, drops = 0;
  for (const auto& golden : test::golden_frames()) {
    const std::string name = golden.decoded.at(0);
    calls += name == "call";
    results += name == "result";
    registers += name == "register";
    drops += name == "drop_cached";
  }
  EXPECT_EQ(calls, 59u);
  EXPECT_EQ(results, 57u);
  EXPECT_EQ(registers, 4u);
  EXPECT_EQ(drops, 15u);
}

TEST(GoldenFrames, from_the_governor_decode_and_encode_to_the_same_bytes) {
  for (const auto& golden : test::golden_frames()) {
    if (!golden.to_executor) continue;
    SCOPED_TRACE(golden.name);
    const ToExecutor message = decode_to_executor(test::payload_of(golden.frame), Protocol::cbor1);
    EXPECT_EQ(json::parse(describe(message)), golden.decoded);
    EXPECT_EQ(test::to_hex(test::encoded(message, Protocol::cbor1)), test::to_hex(golden.frame));
  }
}

TEST(GoldenFrames, from_executors_decode_and_encode_to_the_same_content) {
  for (const auto& golden : test::golden_frames()) {
    if (golden.to_executor) continue;
    SCOPED_TRACE(golden.name);
    const ToGovernor message = decode_to_governor(test::payload_of(golden.frame), Protocol::cbor1);
    EXPECT_EQ(json::parse(describe(message)), without_defaults(golden.decoded));
    const std::string again = test::encoded(message, Protocol::cbor1);
    const ToGovernor twice = decode_to_governor(test::payload_of(again), Protocol::cbor1);
    EXPECT_EQ(describe(twice), describe(message));
  }
}

TEST(GoldenFrames, registers_decode_before_the_protocol_is_known) {
  for (const auto& golden : test::golden_frames()) {
    if (golden.decoded.at(0) != "register") continue;
    SCOPED_TRACE(golden.name);
    const ToGovernor message = decode_to_governor(test::payload_of(golden.frame), Protocol::cbor2);
    EXPECT_EQ(json::parse(describe(message)), golden.decoded);
  }
}

TEST(GoldenFrames, cut_at_any_byte_are_refused) {
  for (const auto& golden : test::golden_frames()) {
    SCOPED_TRACE(golden.name);
    const base::ByteView payload = test::payload_of(golden.frame);
    for (std::size_t size = 0; size < payload.size; ++size) {
      // On the heap and exactly as long, so that ASan sees a read beyond.
      const std::vector<unsigned char> cut(payload.data, payload.data + size);
      const base::ByteView view(cut.data(), cut.size());
      if (golden.to_executor)
        EXPECT_THROW(decode_to_executor(view, Protocol::cbor1), base::ProtocolError) << size;
      else
        EXPECT_THROW(decode_to_governor(view, Protocol::cbor1), base::ProtocolError) << size;
    }
  }
}

}  // namespace
}  // namespace tasklib::wire
