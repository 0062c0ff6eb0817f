#include "wire/cbor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "base/errors.h"
#include "frames.h"

namespace tasklib::wire {
namespace {

using test::from_hex;
using test::to_hex;

std::string written(const std::function<void(Writer&)>& write) {
  std::string out;
  Writer writer(out);
  write(writer);
  return to_hex(out);
}

std::string canonical(const std::string& hex) {
  const std::string item = from_hex(hex);
  return to_hex(canonical_value(base::ByteView(item)));
}

std::size_t refused_at(const std::string& hex) {
  try {
    canonical(hex);
  } catch (const base::ProtocolError& error) {
    return error.offset_bytes();
  }
  ADD_FAILURE() << hex << " is not refused";
  return 0;
}

TEST(Writer, writes_integers_in_the_shortest_form) {
  EXPECT_EQ(written([](Writer& w) { w.uinteger(23); }), "17");
  EXPECT_EQ(written([](Writer& w) { w.uinteger(24); }), "1818");
  EXPECT_EQ(written([](Writer& w) { w.uinteger(256); }), "190100");
  EXPECT_EQ(written([](Writer& w) { w.uinteger(65536); }), "1a00010000");
  EXPECT_EQ(written([](Writer& w) { w.uinteger(1ull << 32); }), "1b0000000100000000");
  EXPECT_EQ(written([](Writer& w) { w.integer(-1); }), "20");
  EXPECT_EQ(written([](Writer& w) { w.integer(-257); }), "390100");
  EXPECT_EQ(written([](Writer& w) { w.integer(std::numeric_limits<std::int64_t>::min()); }),
            "3b7fffffffffffffff");
}

TEST(Writer, writes_floats_in_single_precision_where_that_keeps_the_value) {
  EXPECT_EQ(written([](Writer& w) { w.number(0.5); }), "fa3f000000");
  EXPECT_EQ(written([](Writer& w) { w.number(0.1); }), "fb3fb999999999999a");
  EXPECT_EQ(written([](Writer& w) { w.number(1e300); }), "fb7e37e43c8800759c");
  EXPECT_EQ(written([](Writer& w) { w.number(-0.0); }), "fa80000000");
  EXPECT_EQ(written([](Writer& w) { w.number(std::numeric_limits<double>::infinity()); }),
            "f97c00");
  EXPECT_EQ(written([](Writer& w) { w.number(-std::numeric_limits<double>::infinity()); }),
            "f9fc00");
  EXPECT_EQ(written([](Writer& w) { w.number(std::nan("")); }), "f97e00");
}

TEST(Writer, repairs_texts_that_are_no_utf8) {
  EXPECT_EQ(written([](Writer& w) { w.text("a\xff\xc3z"); }), "6861efbfbdefbfbd7a");
  EXPECT_EQ(written([](Writer& w) { w.text("\xed\xa0\x80"); }), "69efbfbdefbfbdefbfbd");
  EXPECT_EQ(written([](Writer& w) { w.text("h\xc3\xa9"); }), "6368c3a9");
}

TEST(Writer, and_reader_agree_as_the_header_shows) {
  std::string raw;
  Writer writer(raw);
  writer.map(2);
  writer.text("n");
  writer.integer(-7);
  writer.text("l");
  writer.array(3);
  writer.null();
  writer.boolean(true);
  writer.bytes(base::ByteView(std::string_view("\0\xff", 2)));

  Reader reader{base::ByteView(raw)};
  ASSERT_EQ(reader.peek(), Kind::map);
  auto map = reader.enter_map();
  ASSERT_TRUE(reader.more(map));
  EXPECT_EQ(reader.read_text(), "n");
  EXPECT_EQ(reader.peek(), Kind::negative_int);
  EXPECT_EQ(reader.read_int(), -7);
  ASSERT_TRUE(reader.more(map));
  EXPECT_EQ(reader.read_text(), "l");
  auto array = reader.enter_array();
  ASSERT_TRUE(reader.more(array));
  EXPECT_TRUE(reader.try_null());
  ASSERT_TRUE(reader.more(array));
  EXPECT_TRUE(reader.read_bool());
  ASSERT_TRUE(reader.more(array));
  std::string scratch;
  EXPECT_EQ(reader.read_bytes(scratch).text(), std::string_view("\0\xff", 2));
  EXPECT_FALSE(reader.more(array));
  EXPECT_FALSE(reader.more(map));
  EXPECT_EQ(reader.peek(), Kind::end);
}

TEST(Reader, views_bytes_in_place_and_joins_only_chunks) {
  const std::string whole = from_hex("43010203");
  std::string scratch = "old";
  Reader reader{base::ByteView(whole)};
  EXPECT_EQ(reader.read_bytes(scratch).data,
            reinterpret_cast<const unsigned char*>(whole.data()) + 1);
  EXPECT_TRUE(scratch.empty());

  const std::string chunks = from_hex("5f420102410340ff");
  Reader chunked{base::ByteView(chunks)};
  EXPECT_EQ(to_hex(chunked.read_bytes(scratch).text()), "010203");
}

TEST(Reader, refuses_integers_beyond_the_limits) {
  const auto read = [](const std::string& hex, auto read_one) {
    const std::string item = from_hex(hex);
    Reader reader{base::ByteView(item)};
    return read_one(reader);
  };
  const auto as_byte = [](Reader& r) { return r.read_uint(255); };
  const auto as_int = [](Reader& r) { return r.read_int(-2, 2); };
  EXPECT_EQ(read("1b00000000000000ff", as_byte), 255u);
  EXPECT_THROW(read("190100", as_byte), base::ProtocolError);
  EXPECT_THROW(read("20", as_byte), base::ProtocolError);
  EXPECT_EQ(read("3b0000000000000001", as_int), -2);
  EXPECT_THROW(read("22", as_int), base::ProtocolError);
  EXPECT_THROW(read("f94000", as_int), base::ProtocolError);
  EXPECT_THROW(read("1bffffffffffffffff", [](Reader& r) { return r.read_int(); }),
               base::ProtocolError);
}

TEST(CanonicalValue, keeps_what_is_canonical) {
  for (const char* hex :
       {"f6", "f5", "00", "3b7fffffffffffffff", "1bffffffffffffffff", "fa3f000000",
        "fb3fb999999999999a", "60", "6161", "80", "a0", "8301820203a1616102", "a2616101616202"})
    EXPECT_EQ(canonical(hex), hex);
}

TEST(CanonicalValue, sorts_keys_and_the_last_of_equal_ones_counts) {
  EXPECT_EQ(canonical("a2616202616101"), "a2616101616202");
  EXPECT_EQ(canonical("a3616202616101616203"), "a2616101616203");
  EXPECT_EQ(canonical("81a162626ba2616202616101"), "81a162626ba2616101616202");
  EXPECT_EQ(canonical("a262616100616100"), "a261610062616100");
}

TEST(CanonicalValue, takes_every_form_of_writing) {
  EXPECT_EQ(canonical("1b0000000000000001"), "01");
  EXPECT_EQ(canonical("9f0102ff"), "820102");
  EXPECT_EQ(canonical("bf616202616101ff"), "a2616101616202");
  EXPECT_EQ(canonical("7f61616162ff"), "626162");
  EXPECT_EQ(canonical("c1d9d9f701"), "01");
  EXPECT_EQ(canonical("f7"), "f6");
  EXPECT_EQ(canonical("f93800"), "fa3f000000");
  EXPECT_EQ(canonical("fb3fe0000000000000"), "fa3f000000");
  EXPECT_EQ(canonical("f97e00"), "f6");
  EXPECT_EQ(canonical("fb7ff0000000000000"), "f6");
}

TEST(CanonicalValue, refuses_what_is_not_like_json_and_says_where) {
  EXPECT_EQ(refused_at(""), 0u);
  EXPECT_EQ(refused_at("8141ff"), 1u);                  // byte string
  EXPECT_EQ(refused_at("a10102"), 1u);                  // key that is no text
  EXPECT_EQ(refused_at("a1416102"), 1u);                // key that is a byte string
  EXPECT_EQ(refused_at("c249010000000000000000"), 1u);  // bignum
  EXPECT_EQ(refused_at("3bffffffffffffffff"), 0u);      // below 64 bits
  EXPECT_EQ(refused_at("0102"), 1u);                    // two items
  EXPECT_EQ(refused_at("8201"), 0u);                    // truncated
  EXPECT_EQ(refused_at("82016261"), 2u);
  EXPECT_EQ(refused_at("a16161"), 3u);
  EXPECT_EQ(refused_at("9f01"), 2u);
  EXPECT_EQ(refused_at("62ff61"), 0u);              // no UTF-8
  EXPECT_EQ(refused_at("7f6161416201ff"), 3u);      // chunk of another kind
  EXPECT_EQ(refused_at("ff"), 0u);                  // break outside
  EXPECT_EQ(refused_at("bf6161ff"), 3u);            // break instead of a value
  EXPECT_EQ(refused_at("1c"), 0u);                  // reserved
  EXPECT_EQ(refused_at("c1"), 1u);                  // tag of nothing
  EXPECT_EQ(refused_at("9bffffffffffffffff"), 0u);  // a lied length
  EXPECT_EQ(refused_at("7bffffffffffffffff"), 0u);
}

TEST(CanonicalValue, is_limited_in_depth) {
  const auto nested = [](std::size_t depth) {
    return from_hex([&] {
      std::string hex;
      for (std::size_t i = 1; i < depth; ++i) hex += "81";
      return hex + "80";
    }());
  };
  EXPECT_NO_THROW(canonical_value(base::ByteView(nested(121))));
  EXPECT_THROW(canonical_value(base::ByteView(nested(122))), base::ProtocolError);
  EXPECT_THROW(canonical_value(base::ByteView(nested(1000000))), base::ProtocolError);
}

}  // namespace
}  // namespace tasklib::wire
