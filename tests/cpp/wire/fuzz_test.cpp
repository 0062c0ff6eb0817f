// Any bytes give a message or a ProtocolError. Deterministic: the seed is a constant, and a
// failure prints it with the frame.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>

#include "base/errors.h"
#include "frames.h"
#include "wire/connection.h"
#include "wire/describe.h"

namespace tasklib::wire {
namespace {

constexpr std::uint32_t kSeed = 20181216;
constexpr int kRounds = 100000;
constexpr std::size_t kMaxRandomBytes = 200;

using Random = std::mt19937;

std::size_t below(Random& random, std::size_t limit) { return random() % limit; }

std::string random_bytes(Random& random) {
  std::string bytes(below(random, kMaxRandomBytes), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

/// A few of: a byte changed, bytes removed, bytes inserted, a piece repeated or of another frame.
std::string mutated(Random& random, const std::vector<std::string>& corpus) {
  std::string bytes = corpus[below(random, corpus.size())];
  for (std::size_t n = 1 + below(random, 4); n > 0; --n) {
    const std::size_t at = below(random, bytes.size() + 1);
    const std::size_t size = below(random, std::min<std::size_t>(bytes.size() - at, 16) + 1);
    switch (below(random, 6)) {
      case 0:
      case 1:
        if (at < bytes.size()) bytes[at] = static_cast<char>(random());
        break;
      case 2:
        bytes.erase(at, size);
        break;
      case 3:
        bytes.insert(at, 1, static_cast<char>(random()));
        break;
      case 4:
        bytes.insert(at, bytes.substr(at, size));
        break;
      case 5: {
        const std::string& other = corpus[below(random, corpus.size())];
        bytes.replace(at, size, other.substr(below(random, other.size() + 1), size));
        break;
      }
    }
  }
  return bytes;
}

/// Payloads of all golden frames of a direction that aren't too long to mutate to any effect.
std::vector<std::string> golden_corpus(bool to_executor) {
  std::vector<std::string> corpus;
  for (const auto& golden : test::golden_frames())
    if (golden.to_executor == to_executor && golden.frame.size() < 3000)
      corpus.push_back(golden.frame.substr(kFrameHeaderBytes));
  return corpus;
}

void add_golden(std::vector<std::string>& corpus, bool to_executor) {
  for (const auto& golden : test::golden_cbor2_frames())
    if (golden.to_executor == to_executor) corpus.push_back(golden.frame.substr(kFrameHeaderBytes));
}

/// The same content in cbor-2, and every message that only cbor-2 has.
std::vector<std::string> cbor2_to_executor() {
  std::vector<std::string> corpus;
  const auto add = [&](const ToExecutor& message) {
    corpus.push_back(test::encoded(message, Protocol::cbor2).substr(kFrameHeaderBytes));
  };
  for (const std::string& payload : golden_corpus(true)) {
    ToExecutor message = decode_to_executor(base::ByteView(payload), Protocol::cbor1);
    Call* call = std::get_if<Call>(&message);
    if (call == nullptr) continue;
    call->sequence = static_cast<std::uint32_t>(corpus.size() + 1);
    for (ObjectIn& input : call->inputs)
      if (std::holds_alternative<Cached>(input.location))
        input.location = BlobRef{{1}, 64, 1000};
      else if (std::holds_alternative<Path>(input.location))
        input.location = FileSlice{"/some/file", 64, 1000};
    add(message);
  }
  add(Welcome{64, 65536, true, {kFeatureSlices}});
  add(Region{{3}, 32u << 20, true, 9, {{0, 64}, {128, 1ull << 33}}});
  add(LeaseRefused{9, "the store is full"});
  add(Freed{{3}, {{64, 64}, {256, 64}}});
  add(RegionDropped{{3}});
  add(Cancel{{1, 12}, 7});
  add(Shutdown{});
  add(LeaseWanted{});
  add(Ping{4});
  add_golden(corpus, true);
  return corpus;
}

std::vector<std::string> cbor2_to_governor() {
  std::vector<std::string> corpus;
  const auto add = [&](const ToGovernor& message) {
    corpus.push_back(test::encoded(message, Protocol::cbor2).substr(kFrameHeaderBytes));
  };
  for (const std::string& payload : golden_corpus(false)) {
    ToGovernor message = decode_to_governor(base::ByteView(payload), Protocol::cbor1);
    if (Result* result = std::get_if<Result>(&message)) {
      result->sequence = static_cast<std::uint32_t>(corpus.size() + 1);
      result->held = {0, 2};
      result->duration_ns = 12345;
      if (!result->outputs.empty()) result->outputs[0].location = BlobRef{{7}, 4096, 70000};
      if (result->outputs.size() > 1)
        result->outputs[1].location = ObjectSlice{{1, 2}, 4096, 70000};
    }
    add(message);
  }
  Register registered;
  registered.protocol = "cbor-2";
  registered.features = {kFeatureBoard};
  registered.threads = 4;
  add(registered);
  add(Released{{{{3}, 64, 5}, {{4}, 0, 0}}});
  add(LeaseRequest{4, 5ull << 30});
  add(LeaseReturned{{{3}, {4}}});
  add(Log{7, 20, "text", 3});
  add(Debug{7, "text"});
  add(Pong{4});
  add_golden(corpus, false);
  return corpus;
}

/// Gives `decode` 100,000 frames, each in a heap block of its exact size so that a sanitizer sees
/// a read beyond. `decode` returns what its message says, encoded anew.
void run(const std::vector<std::string>& corpus,
         const std::function<std::string(base::ByteView)>& decode) {
  Random random(kSeed);
  int taken = 0, refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string bytes =
        below(random, 5) == 0 ? random_bytes(random) : mutated(random, corpus);
    const std::unique_ptr<unsigned char[]> exact(new unsigned char[bytes.size()]);
    std::copy(bytes.begin(), bytes.end(), exact.get());
    try {
      const std::string said = decode({exact.get(), bytes.size()});
      ASSERT_FALSE(said.empty());
      ++taken;
    } catch (const base::ProtocolError& error) {
      ASSERT_LE(error.offset_bytes(), bytes.size())
          << error.what() << "\nseed " << kSeed << " round " << round << "\n"
          << test::to_hex(bytes);
      ++refused;
    } catch (const std::exception& error) {
      FAIL() << error.what() << "\nseed " << kSeed << " round " << round << "\n"
             << test::to_hex(bytes);
    }
  }
  // Otherwise the mutations test nothing.
  EXPECT_GT(taken, kRounds / 100);
  EXPECT_GT(refused, kRounds / 4);
}

/// Decodes, and checks that what came out goes over the wire again and means the same.
std::string via_governor(base::ByteView payload, Protocol protocol) {
  const ToGovernor message = decode_to_governor(payload, protocol);
  const std::string frame = test::encoded(message, protocol);
  const ToGovernor again = decode_to_governor(test::payload_of(frame), protocol);
  EXPECT_EQ(test::encoded(again, protocol), frame) << test::to_hex(payload.text());
  return describe(message);
}

std::string via_executor(base::ByteView payload, Protocol protocol) {
  const ToExecutor message = decode_to_executor(payload, protocol);
  const std::string frame = test::encoded(message, protocol);
  const ToExecutor again = decode_to_executor(test::payload_of(frame), protocol);
  EXPECT_EQ(test::encoded(again, protocol), frame) << test::to_hex(payload.text());
  return describe(message);
}

TEST(Fuzz, cbor1_to_governor) {
  run(golden_corpus(false),
      [](base::ByteView bytes) { return via_governor(bytes, Protocol::cbor1); });
}

TEST(Fuzz, cbor1_to_executor) {
  run(golden_corpus(true),
      [](base::ByteView bytes) { return via_executor(bytes, Protocol::cbor1); });
}

TEST(Fuzz, cbor2_to_governor) {
  run(cbor2_to_governor(),
      [](base::ByteView bytes) { return via_governor(bytes, Protocol::cbor2); });
}

TEST(Fuzz, cbor2_to_executor) {
  run(cbor2_to_executor(),
      [](base::ByteView bytes) { return via_executor(bytes, Protocol::cbor2); });
}

TEST(Fuzz, canonical_value_is_idempotent) {
  std::vector<std::string> corpus;
  for (const std::string& payload : golden_corpus(true)) {
    const ToExecutor message = decode_to_executor(base::ByteView(payload), Protocol::cbor1);
    if (const Call* call = std::get_if<Call>(&message); call && !call->spec.config.empty())
      corpus.push_back(call->spec.config);
  }
  corpus.push_back(test::from_hex("a461619f0102ff6162bf6163f97c00ff6163fb3fb999999999999a6164a0"));
  run(corpus, [](base::ByteView bytes) {
    const RawValue value = canonical_value(bytes);
    EXPECT_EQ(canonical_value(base::ByteView(value)), value);
    return value;
  });
}

TEST(Fuzz, streams_of_frames_in_pieces) {
  Random random(kSeed);
  const std::vector<std::string> corpus = cbor2_to_governor();
  for (int round = 0; round < kRounds / 10; ++round) {
    std::string stream;
    for (std::size_t n = below(random, 4); n > 0; --n) {
      const std::string payload = mutated(random, corpus);
      std::size_t length = payload.size();
      if (below(random, 8) == 0) length = random();  // a lied length
      for (std::size_t i = 0; i < kFrameHeaderBytes; ++i)
        stream += static_cast<char>(length >> 8 * i & 0xFF);
      stream += payload;
    }
    FrameBuffer buffer;
    try {
      for (std::size_t at = 0; at < stream.size();) {
        std::size_t room = 0;
        unsigned char* place = buffer.prepare(1, &room);
        ASSERT_LT(room, 1u << 20);
        const std::size_t size =
            std::min({room, stream.size() - at, 1 + below(random, kMaxRandomBytes)});
        std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(at), size, place);
        buffer.commit(size);
        at += size;
        while (auto payload = buffer.next()) ASSERT_LE(payload->size, stream.size());
      }
    } catch (const base::ProtocolError&) {
    }
  }
}

}  // namespace
}  // namespace tasklib::wire
