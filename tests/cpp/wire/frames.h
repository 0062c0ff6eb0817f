#pragma once

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "wire/codec.h"
#include "wire/frame.h"

namespace tasklib::wire::test {

inline std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

inline std::string to_hex(std::string_view bytes) {
  std::string hex;
  char two[3];
  for (const unsigned char byte : bytes) {
    std::snprintf(two, sizeof two, "%02x", byte);
    hex += two;
  }
  return hex;
}

inline base::ByteView payload_of(std::string_view frame) {
  return base::ByteView(frame.substr(kFrameHeaderBytes));
}

/// A frame of tests/data, and what it says.
struct GoldenFrame {
  std::string name, frame;
  bool to_executor;
  nlohmann::json decoded;
};

inline std::vector<GoldenFrame> read_frames(const char* path) {
  std::ifstream file(path);
  std::vector<GoldenFrame> frames;
  for (const auto& each : nlohmann::json::parse(file)) {
    const auto direction = each.at("direction").get<std::string>();
    if (direction != "to_executor" && direction != "from_executor" && direction != "to_governor")
      throw std::runtime_error("direction " + direction);
    frames.push_back({each.at("name"), from_hex(each.at("hex").get<std::string>()),
                      direction == "to_executor", each.at("decoded")});
  }
  return frames;
}

/// Captured between the older governor and the older executors.
inline std::vector<GoldenFrame> golden_frames() {
  return read_frames(RAIN_TEST_DATA "/golden-frames.json");
}
/// Our own, which freeze cbor-2.
inline std::vector<GoldenFrame> golden_cbor2_frames() {
  return read_frames(RAIN_TEST_DATA "/golden-cbor2.json");
}

inline std::string encoded(const ToGovernor& message, Protocol protocol) {
  std::string frame;
  encode_frame(frame, message, protocol);
  return frame;
}
inline std::string encoded(const ToExecutor& message, Protocol protocol) {
  std::string frame;
  encode_frame(frame, message, protocol);
  return frame;
}

}  // namespace tasklib::wire::test
