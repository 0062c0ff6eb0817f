#include <cstdint>
#include <optional>

#include "fixture.h"
#include "object_data.h"

namespace rain::builtin {
namespace {

using Position = std::optional<std::int64_t>;

RawValue range(Position begin, Position end) {
  RawValue raw;
  Writer writer(raw);
  writer.array(2);
  for (const Position& position : {begin, end}) {
    if (position)
      writer.integer(*position);
    else
      writer.null();
  }
  return raw;
}

const unsigned char* address(Governor& governor, const ObjectRef& object) {
  return governor.view(object)->bytes.data;
}

std::string letters(std::size_t size) {
  std::string text;
  while (text.size() < size) text += std::to_string(text.size()) + ",";
  text.resize(size);
  return text;
}

class RangeTest : public BuiltinTest {
 protected:
  /// What a range of the object is; fails when there is an error.
  ObjectRef slice(const ObjectRef& of, Position begin, Position end) {
    auto done = run("buildin/slice", {of}, range(begin, end), {object()});
    EXPECT_EQ(error(done), "");
    EXPECT_EQ(done->copied_bytes, 0u);
    return done->outputs[0];
  }
  std::string refusal(const ObjectRef& of, RawValue config) {
    return error(run("buildin/slice", {of}, std::move(config), {object()}));
  }
  ObjectRef array(const std::string& bytes, const std::vector<std::uint64_t>& shape) {
    auto ref = constant(bytes);
    auto& annex = static_cast<ObjectAnnex&>(*ref->annex);
    annex.content_type = "user/ndarray";
    RawValue raw;
    Writer writer(raw);
    writer.map(2);
    writer.key("shape");
    writer.array(shape.size());
    for (const std::uint64_t extent : shape) writer.uinteger(extent);
    writer.key("dtype");
    writer.text("|u1");
    annex.user = {{"ndarray", raw}};
    return ref;
  }
};

TEST_F(RangeTest, a_range_means_what_it_means_in_python) {
  const std::int64_t least = INT64_MIN, most = INT64_MAX;
  struct Case {
    Position begin, end;
    std::string expected;
  };
  for (const auto& [begin, end, expected] :
       {Case{{}, {}, "0123456789"}, Case{3, {}, "3456789"}, Case{{}, 3, "012"}, Case{2, 4, "23"},
        Case{-3, {}, "789"}, Case{{}, -3, "0123456"}, Case{-4, -2, "67"}, Case{4, 2, ""},
        Case{-30, 30, "0123456789"}, Case{least, most, "0123456789"}, Case{most, most, ""},
        Case{10, {}, ""}, Case{5, 5, ""}, Case{{}, least, ""}}) {
    EXPECT_EQ(text(slice(constant("0123456789"), begin, end)), expected);
  }
  EXPECT_EQ(text(slice(constant(""), -1, 1)), "");
}

TEST_F(RangeTest, a_large_slice_and_its_slices_are_in_the_pages_of_the_blob) {
  const std::string all = letters(1'000'000);
  auto whole = constant(all);
  whole->kept = true;
  auto part = slice(whole, 1001, -1);
  auto of_part = slice(part, 999, 500'000);
  auto same = slice(part, {}, {});
  EXPECT_EQ(text(part), all.substr(1001, 998'998));
  EXPECT_EQ(text(of_part), all.substr(2000, 499'001));
  EXPECT_EQ(address(*governor, part), address(*governor, whole) + 1001);
  EXPECT_EQ(address(*governor, of_part), address(*governor, whole) + 2000);
  EXPECT_EQ(same->data, part->data);
  EXPECT_EQ(static_cast<const SliceData&>(*of_part->data).whole, whole->data);
}

TEST_F(RangeTest, a_small_slice_is_a_copy_that_keeps_nothing) {
  auto whole = constant(letters(1'000'000));
  whole->kept = true;
  auto small = slice(whole, 10, 20);
  EXPECT_EQ(text(small), letters(20).substr(10));
  EXPECT_EQ(whole->data.use_count(), 1);
}

TEST_F(RangeTest, rows_of_an_array_carry_its_dtype_and_their_shape) {
  const std::string bytes = letters(600'000);
  auto part = slice(array(bytes, {3000, 2, 100}), 1000, -1);
  EXPECT_EQ(text(part), bytes.substr(200'000, 399'800));
  const auto* info = result_of(*part);
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->content_type, "user/ndarray");
  EXPECT_EQ(info->size, 399'800u);
  auto again = slice(part, {}, 1);  // of what the producer said
  EXPECT_EQ(text(again), bytes.substr(200'000, 200));
  auto none = slice(array("", {0, 5}), 0, 7);
  EXPECT_EQ(text(none), "");
  EXPECT_EQ(result_of(*none)->content_type, "user/ndarray");
}

TEST_F(RangeTest, what_has_no_rows_is_refused_by_name) {
  EXPECT_NE(refusal(array("12345678", {}), range(0, 1)).find("without dimensions"),
            std::string::npos);
  EXPECT_NE(refusal(array("1234567", {2, 4}), range(0, 1)).find("7 bytes and 2 rows"),
            std::string::npos);
  EXPECT_NE(refusal(array("1", {0}), range(0, 1)).find("1 bytes and 0 rows"), std::string::npos);
  auto broken = array("12", {2});
  static_cast<ObjectAnnex&>(*broken->annex).user = {{"ndarray", number(1)}};
  EXPECT_NE(refusal(broken, range(0, 1)).find("attribute 'ndarray'"), std::string::npos);
  auto bare = array("12", {2});
  static_cast<ObjectAnnex&>(*bare->annex).user.clear();
  EXPECT_NE(refusal(bare, range(0, 1)).find("there is none"), std::string::npos);
}

TEST_F(RangeTest, wrong_calls_fail_with_what_was_expected) {
  RawValue one, three;
  Writer(one).array(1);
  Writer(one).uinteger(1);
  Writer(three).array(3);
  for (int i = 0; i < 3; ++i) Writer(three).null();
  EXPECT_NE(refusal(constant("x"), {}).find("Task config is empty"), std::string::npos);
  EXPECT_NE(refusal(constant("x"), one).find("found 1"), std::string::npos);
  EXPECT_NE(refusal(constant("x"), three).find("found more"), std::string::npos);
  EXPECT_NE(refusal(constant("x"), string("1:2")).find("expected an array"), std::string::npos);
  auto two = run("buildin/slice", {constant("x"), constant("y")}, range(0, 1), {object()});
  EXPECT_NE(error(two).find("expected: 1"), std::string::npos);
  auto folder = run("buildin/slice", {constant("x")}, range(0, 1), {object(DataType::directory)});
  EXPECT_NE(error(folder).find("expects type dir, but blob is provided"), std::string::npos);
}

}  // namespace
}  // namespace rain::builtin
