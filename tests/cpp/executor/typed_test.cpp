#include "tasklib/typed.h"

#include <gtest/gtest.h>

#include <complex>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "tasklib/executor.h"
#include "tasklib/testing.h"

namespace shapes {

struct Point {
  double x, y;
};
TASKLIB_STRUCT(Point, x, y);

struct Shape {
  std::string name;
  std::vector<Point> corners;
  std::map<std::string, std::int8_t> layers;
  bool closed;
};
TASKLIB_STRUCT(Shape, name, corners, layers, closed);

class Hidden {
 public:
  int value() const { return value_; }

 private:
  template <class Field>
  friend void tasklib_fields(Hidden& hidden, Field&& field) {
    field("value", hidden.value_);
  }
  int value_ = 7;
};

}  // namespace shapes

namespace tasklib {
namespace {

using testing::call;
using testing::Result;
using testing::try_call;
using Doubles = std::vector<double>;

int add(int a, int b) { return a + b; }

class Typed : public ::testing::Test {
 protected:
  template <class F>
  void add_f(F function, const std::vector<std::string>& names = {}) {
    executor_.add_task("f", std::move(function), names);
  }
  template <class... Inputs>
  std::string error(Inputs&&... inputs) {
    const Result result = try_call(executor_, "f", std::forward<Inputs>(inputs)...);
    EXPECT_TRUE(result.failed());
    return result.error();
  }
  Blob array(const std::string& dtype, const std::vector<std::size_t>& shape, std::size_t bytes) {
    Blob blob(new MemDataInstance(std::string(bytes, '\0')));
    describe_array(*blob, dtype, shape.data(), shape.size());
    return blob;
  }
  Blob of_type(const std::string& content_type, const std::string& bytes) {
    Blob blob(new MemDataInstance(bytes));
    blob->set_content_type(content_type);
    return blob;
  }

  Executor executor_{"test"};
};

TEST_F(Typed, arrays_and_numbers_are_parameters_and_results) {
  add_f([](span<const double> x, double factor) {
    Doubles y;
    for (const double each : x) y.push_back(each * factor);
    return y;
  });
  const Result result = call(executor_, "f", Doubles{1, 2, 3}, 2.0);
  EXPECT_EQ(result.get<Doubles>(), (Doubles{2, 4, 6}));
  EXPECT_EQ(result.output().get_content_type(), "user/ndarray");
  EXPECT_EQ(result.output().get_attribute("ndarray").to_json(), R"({"dtype":"<f8","shape":[3]})");
  EXPECT_EQ(call(executor_, "f", Doubles{}, 2.0).get<Doubles>(), Doubles{});
}

TEST_F(Typed, functions_and_lambdas_with_and_without_context_are_tasks) {
  executor_.add_task("function", add);
  executor_.add_task("pointer", &add);
  EXPECT_EQ(call(executor_, "function", 1, 2).get<int>(), 3);
  EXPECT_EQ(call(executor_, "pointer", 1, 2).get<int>(), 3);
  add_f([](Context& ctx, int a) { return a + ctx.config().as_int(); });
  EXPECT_EQ(testing::Call(executor_, "f").input(1).config(41).run().get<std::int64_t>(), 42);
  add_f([calls = 0](Context&) mutable noexcept { return ++calls; });
  call(executor_, "f");
  EXPECT_EQ(call(executor_, "f").get<int>(), 2);
  add_f([only = std::make_unique<int>(5)] { return *only; });
  EXPECT_EQ(call(executor_, "f").get<int>(), 5);
}

TEST_F(Typed, the_classic_forms_stay_what_they_are) {
  add_f([](int) { return 0; });
  executor_.add_task("f", [](Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
    if (ctx.check_n_args(1)) outputs.push_back(std::move(inputs[0]));
  });
  EXPECT_EQ(call(executor_, "f", "x").get<std::string>(), "x");
  executor_.add_task("auto", [](Context&, auto& inputs, auto& outputs) {
    for (auto& input : inputs) outputs.push_back(std::move(input));
  });
  EXPECT_EQ(call(executor_, "auto", "x").get<std::string>(), "x");
}

TEST_F(Typed, text_is_seen_in_place_or_copied) {
  add_f([](string_view a, std::string_view b, const std::string& c, std::string d) {
    return a.to_string() + std::string(b) + c + d;
  });
  const Result result = call(executor_, "f", "a", std::string("b"), "c", of_type("", "d"));
  EXPECT_EQ(result.get<std::string>(), "abcd");
  EXPECT_EQ(result.output().get_content_type(), "text");
}

TEST_F(Typed, any_data_are_bytes_or_a_blob) {
  add_f([](span<const char> bytes, const Blob& blob) {
    return std::to_string(bytes.size()) + blob->get_content_type();
  });
  EXPECT_EQ(call(executor_, "f", Doubles{1}, of_type("json", "1")).get<std::string>(), "8json");
}

TEST_F(Typed, a_blob_passes_through_without_a_copy) {
  add_f([](Blob blob) { return blob; });
  Blob blob(new MemDataInstance(std::string(100, 'x')));
  const unsigned char* where = blob->get_ptr();
  EXPECT_EQ(call(executor_, "f", std::move(blob)).output().get_ptr(), where);
}

TEST_F(Typed, a_mutable_blob_is_bytes_written_in_place) {
  add_f([](Context& ctx) {
    MutableBlob blob = ctx.alloc(2);
    blob.data()[0] = 'h';
    blob.data()[1] = 'i';
    return blob;
  });
  const Result result = call(executor_, "f");
  EXPECT_EQ(result.output().read_as_string(), "hi");
  EXPECT_EQ(result.output().get_content_type(), "");
  add_f([](Context&) { return MutableBlob(); });
  EXPECT_EQ(error().find("this blob holds nothing"), 0u);
}

TEST_F(Typed, a_null_blob_is_no_output) {
  add_f([] { return Blob(); });
  EXPECT_EQ(error().find("output 0 is null"), 0u);
}

TEST_F(Typed, inputs_are_seen_in_place) {
  add_f([](span<const double> x) {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(x.data()));
  });
  const Blob x = array("<f8", {4}, 32);
  EXPECT_EQ(call(executor_, "f", x->share()).get<std::uint64_t>(),
            reinterpret_cast<std::uintptr_t>(x->get_ptr()));
}

TEST_F(Typed, arrays_of_several_dimensions_are_indexed) {
  add_f([](Context& ctx, ndview<const float, 2> m) {
    auto t = ctx.alloc_array<float>({m.extent(1), m.extent(0)});
    for (std::size_t i = 0; i < m.extent(0); ++i)
      for (std::size_t k = 0; k < m.extent(1); ++k) t(k, i) = m[i][k];
    return t;
  });
  Context ctx(0);
  auto m = ctx.alloc_array<float>({2, 3});
  float next = 0;
  for (float& item : m) item = next++;
  const Result result = call(executor_, "f", std::move(m));
  const auto t = result.get<ndview<const float, 2>>();
  EXPECT_EQ(t.shape(), (std::array<std::size_t, 2>{3, 2}));
  EXPECT_EQ(std::vector<float>(t.begin(), t.end()), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  const Result empty = call(executor_, "f", array("<f4", {0, 7}, 0));
  EXPECT_EQ((empty.get<ndview<const float, 2>>().shape()), (std::array<std::size_t, 2>{7, 0}));
}

TEST_F(Typed, every_dtype_goes_through) {
  const auto same = [this](auto value, const std::string& dtype) {
    using T = decltype(value);
    add_f([](T x) { return x; });
    const Result result = call(executor_, "f", value);
    EXPECT_EQ(result.get<T>(), value);
    EXPECT_EQ(result.output().get_attribute("ndarray")["dtype"], Value(dtype));
  };
  same(true, "|b1");
  same(std::int8_t{-1}, "|i1");
  same(std::uint8_t{255}, "|u1");
  same(std::int16_t{-1}, "<i2");
  same(std::uint16_t{1}, "<u2");
  same(1, "<i4");
  same(1u, "<u4");
  same(1L, "<i8");
  same(1LL, "<i8");
  same(~0ULL, "<u8");
  same(1.5f, "<f4");
  same(1.5, "<f8");
  same(std::complex<float>(1, 2), "<c8");
  same(std::complex<double>(1, 2), "<c16");
}

TEST_F(Typed, several_outputs_are_a_tuple_and_none_is_void) {
  add_f([](int n) { return std::make_tuple(n, std::string("text"), Doubles{1}); });
  const Result result = call(executor_, "f", 3);
  ASSERT_EQ(result.n_outputs(), 3u);
  EXPECT_EQ(result.get<int>(0), 3);
  EXPECT_EQ(result.get<std::string>(1), "text");
  EXPECT_EQ(result.get<Doubles>(2), Doubles{1});
  add_f([](int) {});
  EXPECT_EQ(call(executor_, "f", 3).n_outputs(), 0u);
  EXPECT_EQ(testing::Call(executor_, "f").input(3).outputs(1).run().error(),
            "Task produced 0 outputs, but expected 1");
}

TEST_F(Typed, structs_are_values) {
  add_f([](const shapes::Shape& shape, shapes::Point by) {
    shapes::Shape moved = shape;
    for (auto& corner : moved.corners) corner = {corner.x + by.x, corner.y + by.y};
    return moved;
  });
  const shapes::Shape shape{"square", {{0, 0}, {1, 1}}, {{"a", 1}}, true};
  const Result result = call(executor_, "f", shape, shapes::Point{1, 2});
  EXPECT_EQ(result.output().get_content_type(), "cbor");
  EXPECT_EQ(result.get<Value>().to_json(),
            R"({"closed":true,"corners":[{"x":1.0,"y":2.0},{"x":2.0,"y":3.0}],)"
            R"("layers":{"a":1},"name":"square"})");
  add_f([](shapes::Hidden hidden) { return hidden.value(); });
  EXPECT_EQ(call(executor_, "f", shapes::Hidden()).get<int>(), 7);
  add_f([](std::vector<std::string> words) { return words.size(); });
  EXPECT_EQ(call(executor_, "f", std::vector<std::string>{"a", "b"}).get<std::size_t>(), 2u);
}

TEST_F(Typed, a_struct_that_does_not_fit_says_where) {
  add_f([](const shapes::Shape&) {}, {"shape"});
  const auto with = [](Value corners, Value layers) {
    return Value(Value::Map{{"name", "n"},
                            {"corners", std::move(corners)},
                            {"layers", std::move(layers)},
                            {"closed", false}});
  };
  const Value point = Value::Map{{"x", 1}, {"y", 2.5}};
  EXPECT_FALSE(
      try_call(executor_, "f", with(Value::Array{point}, Value::Map{{"a", 127}})).failed());
  EXPECT_EQ(error(with(Value::Array{point, Value::Map{{"x", 1}}}, Value::Map())),
            "parameter 1 'shape': field 'corners': item 1: no key 'y'; there are: x");
  EXPECT_EQ(error(with(Value::Array(), Value::Map{{"a", 128}})),
            "parameter 1 'shape': field 'layers': key 'a': 128 is not between -128 and 127");
  EXPECT_EQ(error(with("none", Value::Map())),
            "parameter 1 'shape': field 'corners': expected an array, but the value is a string: "
            "\"none\"");
}

TEST_F(Typed, numbers_may_come_as_values) {
  add_f([](double) {});
  EXPECT_FALSE(try_call(executor_, "f", Value(2)).failed());
  EXPECT_EQ(error(Value("2")), "parameter 1: expected float64 scalar, found value \"2\"");
  add_f([](std::uint8_t n) { return n; });
  EXPECT_EQ(call(executor_, "f", Value(255)).get<std::uint8_t>(), 255);
  EXPECT_EQ(error(Value(256)), "parameter 1: expected uint8 scalar, found value 256");
  EXPECT_EQ(error(of_type("cbor", "\xff"))
                .find("parameter 1: expected uint8 scalar, found data of "
                      "content type 'cbor' that are none: "),
            0u);
}

TEST_F(Typed, a_mismatch_names_parameter_expected_and_found) {
  add_f([](span<const float>, double) {}, {"x", "factor"});
  const std::vector<float> x{1};
  EXPECT_EQ(error(x, array("<i4", {2, 3}, 24)),
            "parameter 2 'factor': expected float64 scalar, found ndarray int32 of 2 dimensions");
  EXPECT_EQ(error(x, 1.0f), "parameter 2 'factor': expected float64 scalar, found float32 scalar");
  EXPECT_EQ(error(x, "1.0"), "parameter 2 'factor': expected float64 scalar, found text");
  EXPECT_EQ(error(Doubles{1}, 1.0),
            "parameter 1 'x': expected ndarray float32 of 1 dimension, found ndarray float64 of 1 "
            "dimension");
  EXPECT_EQ(error(of_type("", "1234"), 1.0),
            "parameter 1 'x': expected ndarray float32 of 1 dimension, found bytes");
  EXPECT_EQ(error(of_type("pickle", "1234"), 1.0),
            "parameter 1 'x': expected ndarray float32 of 1 dimension, found data of content type "
            "'pickle'");
  EXPECT_EQ(error(Value("text"), 1.0),
            "parameter 1 'x': expected ndarray float32 of 1 dimension, found value");
  EXPECT_EQ(error(array(">f4", {1}, 4), 1.0),
            "parameter 1 'x': expected ndarray float32 of 1 dimension, found ndarray >f4 of 1 "
            "dimension");
  EXPECT_EQ(error(std::make_unique<FileDataInstance>("/"), 1.0),
            "parameter 1 'x': expected ndarray float32 of 1 dimension, found directory");
  EXPECT_EQ(error(x), "Invalid number of arguments, expected = 2, but got = 1");
}

TEST_F(Typed, an_array_that_does_not_fit_its_bytes_is_refused) {
  add_f([](ndview<const double, 2>) {});
  EXPECT_EQ(error(array("<f8", {2, 3}, 47)),
            "parameter 1: expected ndarray float64 of 2 dimensions, found ndarray whose attribute "
            "'ndarray' does not fit its 47 bytes: {\"dtype\":\"<f8\",\"shape\":[2,3]}");
  for (const std::size_t bytes : {0, 40, 47, 49, 56})
    EXPECT_NE(error(array("<f8", {2, 3}, bytes)), "");
  const std::size_t huge = std::size_t{1} << 61;
  EXPECT_NE(error(array("<f8", {huge, 8}, 0)), "");
  EXPECT_NE(error(array("<f8", {huge, huge}, 8)), "");
  EXPECT_NE(error(array("<f8", {0, 3}, 8)), "");
  EXPECT_EQ(error(of_type("user/ndarray", "12")),
            "parameter 1: expected ndarray float64 of 2 dimensions, found ndarray whose attribute "
            "'ndarray' does not fit its 2 bytes: null");
  for (const char* shape : {"[2,3]", "x"}) {
    Blob blob = of_type("user/ndarray", "12");
    blob->set_attribute("ndarray", Value::Map{{"dtype", "<f8"}, {"shape", shape}});
    EXPECT_NE(error(std::move(blob)), "");
  }
  Blob negative = of_type("user/ndarray", "");
  negative->set_attribute("ndarray", Value::Map{{"dtype", "<f8"}, {"shape", Value::Array{-1, 0}}});
  EXPECT_NE(error(std::move(negative)), "");
}

TEST_F(Typed, byte_order_may_be_left_to_the_machine) {
  add_f([](span<const std::int16_t>) {});
  EXPECT_FALSE(try_call(executor_, "f", array("=i2", {1}, 2)).failed());
  add_f([](span<const std::uint8_t>) {});
  EXPECT_FALSE(try_call(executor_, "f", array("<u1", {1}, 1)).failed());
  EXPECT_NE(error(array("<i1", {1}, 1)), "");
}

TEST_F(Typed, names_must_fit_the_parameters) {
  EXPECT_THROW(add_f([](Context&, int, int) {}, {"a"}), std::invalid_argument);
  EXPECT_THROW(add_f([](int) {}, {"ctx", "a"}), std::invalid_argument);
}

TEST(Testing, fails_as_the_real_call_does) {
  Executor executor("test");
  executor.add_task("own", [](Context& ctx) { ctx.set_error("why"); });
  executor.add_task("throw", [] { throw std::runtime_error("what"); });
  executor.add_task("null", [](Context&, DataInstanceVec&, DataInstanceVec& outputs) {
    outputs.push_back(nullptr);
  });
  EXPECT_EQ(try_call(executor, "own").error(), "why");
  EXPECT_EQ(try_call(executor, "throw").error(),
            "what\nC++ exception of type std::runtime_error left the task 'test/throw'");
  EXPECT_NE(try_call(executor, "null").error().find("output 0 is null"), std::string::npos);
  EXPECT_THROW(call(executor, "own"), testing::TaskError);
  EXPECT_THROW(try_call(executor, "own").output(), testing::TaskError);
  try {
    call(executor, "other");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(),
                 "Method 'test/other' not found in executor 'test'; it has: null, own, throw");
  }
}

TEST(Testing, shows_what_the_task_saw_and_said) {
  Executor executor("test");
  executor.add_task("f", [](Context& ctx, Blob input) {
    EXPECT_EQ(ctx.task_type(), "test/f");
    EXPECT_TRUE(ctx.task_id().is_valid());
    EXPECT_TRUE(input->get_id().is_valid());
    EXPECT_EQ(ctx.n_outputs(), 0u);
    ctx.debug("seen");
    ctx.set_attribute("answer", ctx.get_attribute("question"));
  });
  const Result result = testing::Call(executor, "f").attribute("question", 42).input("x").run();
  EXPECT_FALSE(result.failed()) << result.error();
  EXPECT_EQ(result.debug(), "seen");
  EXPECT_EQ(result.attributes().at("answer"), Value(42));
  EXPECT_THROW(result.output(0), std::out_of_range);
}

TEST(Testing, outputs_may_have_labels) {
  Executor executor("test");
  executor.add_task("f", [](Context& ctx, DataInstanceVec&, DataInstanceVec& outputs) {
    for (std::size_t i = 0; i < ctx.n_outputs(); ++i)
      outputs.push_back(Blob(new MemDataInstance(ctx.output_spec(i).label)));
  });
  const Result result = testing::Call(executor, "f").outputs({"high", "low"}).run();
  ASSERT_EQ(result.n_outputs(), 2u);
  EXPECT_EQ(result.output(0).read_as_string(), "high");
  EXPECT_EQ(result.output(1).read_as_string(), "low");
}

TEST(ValueType, may_leave_dtype_and_dimensions_open) {
  ValueType type = typed::array_type("<f8", ValueType::any_dimensions);
  EXPECT_EQ(type.to_string(), "ndarray float64");
  type.dtype.clear();
  EXPECT_EQ(type.to_string(), "ndarray");
  type.n_dimensions = 2;
  EXPECT_EQ(type.to_string(), "ndarray of 2 dimensions");
}

}  // namespace
}  // namespace tasklib
