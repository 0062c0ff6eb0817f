#include "tasklib/value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/errors.h"
#include "executor/access.h"

namespace tasklib {
namespace {

Value nested() {
  return Value::Map{{"n", 3}, {"names", Value::Array{"a", "b"}}, {"t", true}, {"z", nullptr}};
}

TEST(Value, has_the_kind_of_what_it_was_made_of) {
  EXPECT_EQ(Value().kind(), Value::Kind::null);
  EXPECT_EQ(Value(true).kind(), Value::Kind::boolean);
  EXPECT_EQ(Value(-1).kind(), Value::Kind::integer);
  EXPECT_EQ(Value(std::size_t{1}).kind(), Value::Kind::integer);
  EXPECT_EQ(Value(UINT64_MAX).kind(), Value::Kind::unsigned_integer);
  EXPECT_EQ(Value(1.0).kind(), Value::Kind::real);
  EXPECT_EQ(Value("text").kind(), Value::Kind::string);
  EXPECT_EQ(Value(Value::Array()).kind(), Value::Kind::array);
  EXPECT_EQ(Value(Value::Map()).kind(), Value::Kind::map);
}

TEST(Value, gives_numbers_where_they_fit) {
  EXPECT_EQ(Value(3).as_double(), 3.0);
  EXPECT_EQ(Value(3.0).as_int(), 3);
  EXPECT_EQ(Value(3.0).as_uint(), 3u);
  EXPECT_EQ(Value(UINT64_MAX).as_uint(), UINT64_MAX);
  EXPECT_EQ(Value(INT64_MIN).as_int(), INT64_MIN);
  EXPECT_THROW(Value(3.5).as_int(), ValueError);
  EXPECT_THROW(Value(-1).as_uint(), ValueError);
  EXPECT_THROW(Value(UINT64_MAX).as_int(), ValueError);
  EXPECT_THROW(Value(0x1p63).as_int(), ValueError);
  EXPECT_THROW(Value(0x1p64).as_uint(), ValueError);
  EXPECT_THROW(Value(std::numeric_limits<double>::quiet_NaN()).as_int(), ValueError);
  EXPECT_THROW(Value(true).as_int(), ValueError);
  EXPECT_THROW(Value("1").as_double(), ValueError);
}

TEST(Value, an_error_says_what_was_expected_and_what_there_is) {
  try {
    nested()["names"].as_int();
    FAIL();
  } catch (const ValueError& error) {
    EXPECT_STREQ(error.what(),
                 "expected an integer of 64 bits, but the value is an array: [\"a\",\"b\"]");
  }
  try {
    nested().at("size");
    FAIL();
  } catch (const ValueError& error) {
    EXPECT_STREQ(error.what(), "no key 'size'; there are: n, names, t, z");
  }
}

TEST(Value, looks_up_keys_and_items) {
  const Value value = nested();
  EXPECT_EQ(value.size(), 4u);
  EXPECT_TRUE(value.contains("z"));
  EXPECT_TRUE(value["z"].is_null());
  EXPECT_FALSE(value.contains("missing"));
  EXPECT_TRUE(value["missing"].is_null());
  EXPECT_TRUE(value["n"]["deeper"].is_null());
  EXPECT_EQ(value["names"].at(1), Value("b"));
  EXPECT_THROW(value["names"].at(2), ValueError);
}

TEST(Value, compares_by_kind_and_content) {
  EXPECT_EQ(nested(), nested());
  EXPECT_NE(Value(1), Value(1.0));
  EXPECT_NE(Value(1), Value(true));
  EXPECT_NE(Value("a"), Value("b"));
  EXPECT_NE(Value(Value::Array{1}), Value(Value::Array{2}));
}

TEST(Value, prints_json) {
  EXPECT_EQ(nested().to_json(), "{\"n\":3,\"names\":[\"a\",\"b\"],\"t\":true,\"z\":null}");
  EXPECT_EQ(Value("\"\\\n\x01").to_json(), "\"\\\"\\\\\\n\\u0001\"");
  EXPECT_EQ(Value(0.1).to_json(), "0.1");
  EXPECT_EQ(Value(1.0).to_json(), "1.0");
  EXPECT_EQ(Value(1e300).to_json(), "1e+300");
  EXPECT_EQ(Value(1.0 / 3).to_json(), "0.3333333333333333");
  EXPECT_EQ(Value(std::numeric_limits<double>::infinity()).to_json(), "null");
}

TEST(Value, survives_the_wire) {
  for (const Value& value :
       {Value(), Value(false), Value(0), Value(-1), Value(INT64_MIN), Value(INT64_MAX),
        Value(UINT64_MAX), Value(0.1), Value(0.5), Value(1e300), Value(""), Value("text"),
        Value(Value::Array()), Value(Value::Map()), nested(),
        Value(Value::Array{nested(), Value::Array{nested()}})}) {
    const auto raw = executor::encode_value(value);
    EXPECT_EQ(executor::decode_value(base::ByteView(raw)), value) << value.to_json();
  }
  EXPECT_TRUE(executor::decode_value(base::ByteView()).is_null());
}

TEST(Value, refuses_bytes_that_are_no_value) {
  for (const std::string& bytes : {std::string("\x41x"), std::string("\x82\x01"),
                                   std::string("\x01\x01"), std::string("\xa1\x01\x01")})
    EXPECT_THROW(executor::decode_value(base::ByteView(bytes)), base::ProtocolError);
}

}  // namespace
}  // namespace tasklib
