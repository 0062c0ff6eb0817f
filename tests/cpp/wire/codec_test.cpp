#include "wire/codec.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "frames.h"
#include "wire/cbor.h"
#include "wire/describe.h"

namespace tasklib::wire {
namespace {

using test::encoded;
using test::from_hex;
using test::payload_of;

// A notation for test frames that can say what a Writer can't.
std::string item(const char* hex) { return from_hex(hex); }
std::string text(std::string_view value) {
  std::string out;
  Writer(out).key(value);
  return out;
}
std::string bytes(std::string_view value) {
  std::string out;
  Writer(out).bytes(base::ByteView(value));
  return out;
}
template <class... Items>
std::string array(Items... items) {
  std::string out;
  Writer(out).array(sizeof...(items));
  return (out + ... + std::string(items));
}
/// Keys and values in turn; keys are texts.
std::string map(std::initializer_list<std::pair<std::string, std::string>> entries) {
  std::string out;
  Writer(out).map(entries.size());
  for (const auto& [key, value] : entries) out += text(key) + value;
  return out;
}
std::string indefinite(const char* head_hex, const std::string& items) {
  return from_hex(head_hex) + items + from_hex("ff");
}

const std::string kTask = array(item("01"), item("0c"));
const std::string kTrue = item("f5"), kFalse = item("f4"), kNull = item("f6"),
                  kUndefined = item("f7"), kEmptyMap = item("a0"), kOne = item("01");

ToGovernor to_governor(const std::string& payload, Protocol protocol = Protocol::cbor1) {
  return decode_to_governor(base::ByteView(payload), protocol);
}
ToExecutor to_executor(const std::string& payload, Protocol protocol = Protocol::cbor1) {
  return decode_to_executor(base::ByteView(payload), protocol);
}
Result result(const std::string& payload, Protocol protocol = Protocol::cbor1) {
  return std::get<Result>(to_governor(payload, protocol));
}

/// What the error of a refused frame says; fails when the frame is taken.
template <class Decode>
std::string refusal(Decode decode) {
  try {
    decode();
  } catch (const base::ProtocolError& error) {
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return {};
}
std::string refusal(const std::string& payload, Protocol protocol = Protocol::cbor1) {
  return refusal([&] { to_governor(payload, protocol); });
}
#define EXPECT_SAYS(error, part) EXPECT_NE((error).find(part), std::string::npos) << (error)

std::string result_with_output(const std::string& output) {
  return array(
      text("result"),
      map({{"task", kTask}, {"success", kTrue}, {"info", kEmptyMap}, {"outputs", array(output)}}));
}
std::string output_at(const std::string& location) {
  return map({{"info", kEmptyMap}, {"location", location}});
}

// ---- cbor-1: what readers take (reference 1.3) -----------------------------------------------

TEST(Cbor1, takes_definite_and_indefinite_containers) {
  const std::string data = indefinite(
      "bf", text("info") + indefinite("bf", "") + text("success") + kTrue + text("task") +
                indefinite("9f", item("01") + item("0c")) + text("outputs") + indefinite("9f", ""));
  const Result message = result(indefinite("9f", text("result") + data));
  EXPECT_EQ(message.task, (base::TaskId{1, 12}));
  EXPECT_TRUE(message.success);
}

TEST(Cbor1, takes_names_and_keys_as_bytes_and_as_indices) {
  // result is message 1; task, success, info are fields 0, 1, 2.
  std::string data;
  Writer(data).map(3);
  data += item("02") + kEmptyMap + item("1800") + kTask + bytes("success") + kTrue;
  EXPECT_EQ(result(array(item("01"), data)).task, (base::TaskId{1, 12}));
  EXPECT_EQ(result(array(bytes("result"), data)).task, (base::TaskId{1, 12}));
  EXPECT_EQ(result(array(indefinite("7f", text("res") + text("ult")), data)).task,
            (base::TaskId{1, 12}));
}

TEST(Cbor1, takes_structs_as_arrays_of_all_fields) {
  const std::string output = array(kEmptyMap, kNull, kFalse);
  const Result message =
      result(array(text("result"), array(kTask, kTrue, kEmptyMap, array(output), array(kTask))));
  ASSERT_EQ(message.outputs.size(), 1u);
  EXPECT_EQ(message.cached_objects.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(message.outputs[0].location));

  const auto call = std::get<Call>(
      to_executor(array(text("call"), array(map({{"id", kTask}, {"task_type", text("a/b")}}),
                                            item("80"), item("80")))));
  EXPECT_EQ(call.spec.task_type, "a/b");

  const auto registered = std::get<Register>(
      to_governor(array(item("00"), array(text("cbor-1"), kOne, text("x"))), Protocol::cbor2));
  EXPECT_EQ(registered.executor_type, "x");
}

TEST(Cbor1, refuses_structs_as_arrays_of_another_length) {
  EXPECT_SAYS(refusal(array(text("result"), array(kTask, kTrue, kEmptyMap))), "less than its 5");
  EXPECT_SAYS(
      refusal(array(text("result"), array(kTask, kTrue, kEmptyMap, item("80"), item("80"), kNull))),
      "more than its 5");
}

TEST(Cbor1, takes_integers_of_any_width) {
  const std::string wide = array(item("1b0000000000000001"), item("1a0000000c"));
  EXPECT_EQ(
      result(array(text("result"), map({{"task", wide}, {"success", kTrue}, {"info", kEmptyMap}})))
          .task,
      (base::TaskId{1, 12}));
}

TEST(Cbor1, takes_any_number_for_a_duration) {
  const auto duration = [](const char* hex) {
    return result(array(text("result"), map({{"task", kTask},
                                             {"success", kTrue},
                                             {"info", map({{"duration", item(hex)}})}})))
        .info.duration;
  };
  EXPECT_EQ(duration("fa3f000000"), 0.5f);
  EXPECT_EQ(duration("f93800"), 0.5f);
  EXPECT_EQ(duration("fb3fe0000000000000"), 0.5f);
  EXPECT_EQ(duration("02"), 2.0f);
  EXPECT_EQ(duration("21"), -2.0f);
  EXPECT_EQ(duration("fb7e37e43c8800759c"), std::numeric_limits<float>::infinity());
  EXPECT_EQ(duration("f6"), std::nullopt);
  EXPECT_EQ(duration("f7"), std::nullopt);
}

TEST(Cbor1, takes_null_and_undefined_for_what_is_optional_and_refuses_them_elsewhere) {
  for (const std::string& none : {kNull, kUndefined}) {
    const Result message =
        result(result_with_output(map({{"info", map({{"size", none}})}, {"location", none}})));
    EXPECT_EQ(message.outputs.at(0).info.size, std::nullopt);
    EXPECT_SAYS(refusal(result_with_output(map({{"info", map({{"content_type", none}})}}))),
                "ObjectInfo.content_type: expected a text, found null");
    EXPECT_SAYS(refusal(array(text("result"),
                              map({{"task", kTask}, {"success", none}, {"info", kEmptyMap}}))),
                "result.success: expected a bool");
  }
  const auto call = std::get<Call>(to_executor(
      array(text("call"),
            map({{"spec", map({{"id", kTask}, {"task_type", text("t")}, {"config", kNull}})},
                 {"inputs", array(map({{"spec", map({{"id", kTask}, {"data_type", text("dir")}})},
                                       {"info", kNull}}))},
                 {"outputs", item("80")}}))));
  EXPECT_TRUE(call.spec.config.empty());
  EXPECT_EQ(call.inputs.at(0).info, std::nullopt);
}

TEST(Cbor1, takes_every_form_of_a_location) {
  const auto location = [](const std::string& value) {
    return result(result_with_output(output_at(value))).outputs.at(0).location;
  };
  const auto memory = [&](const std::string& value) {
    const Location where = location(array(text("memory"), value));
    return std::string(std::get<Memory>(where).bytes.text());
  };
  EXPECT_EQ(std::get<Path>(location(array(text("path"), text("/a/b")))).path, "/a/b");
  EXPECT_EQ(std::get<Path>(location(array(item("00"), text("/a")))).path, "/a");
  EXPECT_EQ(std::get<Path>(location(indefinite("9f", bytes("path") + text("/a")))).path, "/a");
  EXPECT_EQ(std::get<OtherObject>(location(array(text("other_object"), kTask))).id,
            (base::DataObjectId{1, 12}));
  for (const std::string& cached : {text("cached"), bytes("cached"), item("03"),
                                    array(text("cached"), kNull), array(item("03"), kUndefined)})
    EXPECT_TRUE(std::holds_alternative<Cached>(location(cached)));
  EXPECT_SAYS(refusal(result_with_output(output_at(array(text("path"), bytes("/a"))))),
              "expected a text");
  EXPECT_SAYS(refusal(result_with_output(output_at(text("path")))), "comes as [name, data]");
  EXPECT_SAYS(refusal(result_with_output(output_at(array(text("moon"), kNull)))),
              "unknown variant \"moon\"; known are path, memory, other_object, cached");
  EXPECT_SAYS(refusal(result_with_output(output_at(item("04")))), "more than the limit 3");

  // The views of the definite ones die with the payload, so they are looked at at once.
  const std::string payload = result_with_output(output_at(array(text("memory"), bytes("ab"))));
  const ToGovernor kept = to_governor(payload);
  EXPECT_EQ(std::get<Memory>(std::get<Result>(kept).outputs.at(0).location).bytes.text(), "ab");
  EXPECT_EQ(memory(indefinite("5f", bytes("a") + bytes("b"))), "ab");
  EXPECT_EQ(memory(array(item("1861"), item("1862"))), "ab");
}

TEST(Cbor1, takes_data_types_as_text_bytes_index_and_array) {
  const auto data_type = [](const std::string& value) {
    const auto message = to_executor(
        array(text("call"),
              map({{"spec", map({{"id", kTask}, {"task_type", text("t")}})},
                   {"inputs", array(map({{"spec", map({{"id", kTask}, {"data_type", value}})}}))},
                   {"outputs", item("80")}})));
    return std::get<Call>(message).inputs.at(0).spec.data_type;
  };
  EXPECT_EQ(data_type(text("blob")), DataType::blob);
  EXPECT_EQ(data_type(text("dir")), DataType::directory);
  EXPECT_EQ(data_type(bytes("dir")), DataType::directory);
  EXPECT_EQ(data_type(item("01")), DataType::directory);
  EXPECT_EQ(data_type(array(text("dir"), kNull)), DataType::directory);
  EXPECT_THROW(data_type(text("file")), base::ProtocolError);
  EXPECT_THROW(data_type(array(text("dir"), kOne)), base::ProtocolError);
}

TEST(Cbor1, skips_tags) {
  const std::string tag = item("d9d9f7");
  const Result message =
      result(tag + array(tag + text("result"), tag + map({{"task", tag + kTask},
                                                          {"success", tag + kTrue},
                                                          {"info", tag + tag + kEmptyMap}})));
  EXPECT_TRUE(message.success);
}

TEST(Cbor1, takes_texts_as_bytes_and_in_chunks) {
  const auto error = [](const std::string& value) {
    return result(array(text("result"), map({{"task", kTask},
                                             {"success", kFalse},
                                             {"info", map({{"error", value}})}})))
        .info.error;
  };
  EXPECT_EQ(error(text("abc")), "abc");
  EXPECT_EQ(error(bytes("abc")), "abc");
  EXPECT_EQ(error(indefinite("7f", text("a") + text("bc"))), "abc");
  // A character may be torn apart by the chunks.
  EXPECT_EQ(error(indefinite("7f", text("\xc3") + text("\xa9"))), "\xc3\xa9");
  EXPECT_THROW(error(bytes("\xff")), base::ProtocolError);
  EXPECT_THROW(error(text("\xff")), base::ProtocolError);
}

TEST(Cbor1, tolerates_unknown_keys_in_resources_alone) {
  const auto call = [](const std::string& resources) {
    return std::get<Call>(to_executor(array(
        text("call"),
        map({{"spec", map({{"id", kTask}, {"task_type", text("t")}, {"resources", resources}})},
             {"inputs", item("80")},
             {"outputs", item("80")}}))));
  };
  EXPECT_EQ(call(map({{"gpus", array(bytes("x"), map({{"deep", kNull}}))}, {"cpus", item("04")}}))
                .spec.cpus,
            4u);
  EXPECT_EQ(call(kEmptyMap).spec.cpus, 1u);
  EXPECT_THROW(call(map({{"cpus", item("20")}})), base::ProtocolError);
  EXPECT_THROW(call(map({{"cpus", item("1b0000000100000000")}})), base::ProtocolError);
  EXPECT_THROW(call(map({{"cpus", item("f93c00")}})), base::ProtocolError);
}

TEST(Cbor1, gives_user_attributes_in_canonical_form_and_in_their_order) {
  const Result message = result(array(
      text("result"),
      map({{"task", kTask},
           {"success", kTrue},
           {"info",
            map({{"user", map({{"z", map({{"b", item("fb3fe0000000000000")}, {"a", item("1801")}})},
                               {"a", kNull}})}})}})));
  const UserAttributes& user = message.info.user;
  ASSERT_EQ(user.size(), 2u);
  EXPECT_EQ(user[0].first, "z");
  EXPECT_EQ(user[0].second, map({{"a", item("01")}, {"b", item("fa3f000000")}}));
  EXPECT_EQ(user[1].first, "a");
}

TEST(Cbor1, lets_the_last_of_equal_user_attributes_count) {
  const Result message = result(array(
      text("result"),
      map({{"task", kTask},
           {"success", kTrue},
           {"info",
            map({{"user", map({{"k", item("01")}, {"l", item("02")}, {"k", item("03")}})}})}})));
  const UserAttributes expected{{"l", item("02")}, {"k", item("03")}};
  EXPECT_EQ(message.info.user, expected);
}

// ---- cbor-1: what readers refuse --------------------------------------------------------------

TEST(Cbor1, refuses_unknown_and_duplicate_and_missing_keys) {
  EXPECT_SAYS(
      refusal(
          array(text("result"),
                map({{"task", kTask}, {"success", kTrue}, {"info", kEmptyMap}, {"extra", kNull}}))),
      "result: unknown key \"extra\"; known are task, success, info, outputs, "
      "cached_objects (at byte ");
  EXPECT_SAYS(refusal(result_with_output(map({{"info", kEmptyMap}, {"label", text("x")}}))),
              "LocalObjectOut: unknown key \"label\"");
  EXPECT_SAYS(
      refusal(array(
          text("result"),
          map({{"task", kTask}, {"success", kTrue}, {"success", kTrue}, {"info", kEmptyMap}}))),
      "key \"success\" occurs twice");
  EXPECT_SAYS(refusal(array(text("result"), map({{"task", kTask}, {"success", kTrue}}))),
              "result: key \"info\" is missing");
  EXPECT_SAYS(refusal(result_with_output(kEmptyMap)), "LocalObjectOut: key \"info\" is missing");
}

TEST(Cbor1, refuses_frames_of_another_shape) {
  const std::string data = map({{"task", kTask}, {"success", kTrue}, {"info", kEmptyMap}});
  refusal(std::string());
  refusal(map({{"result", data}}));
  refusal(array(text("result")));
  refusal(array(text("result"), data, kNull));
  refusal(indefinite("9f", text("result") + data + kNull));
  refusal(text("result"));
  refusal(array(text("hello"), data));
  refusal(array(item("02"), data));
  refusal(array(item("20"), data));
  refusal(array(text("call"), data));
  EXPECT_SAYS(refusal(array(text("result"), data) + kNull), "1 bytes too many after the item");
  EXPECT_SAYS(refusal(array(text("result"), data) + item("ff1c")), "2 bytes too many");
}

TEST(Cbor1, refuses_wrong_types) {
  const auto with_task = [](const std::string& task) {
    return array(text("result"), map({{"task", task}, {"success", kTrue}, {"info", kEmptyMap}}));
  };
  refusal(with_task(array(kOne)));
  refusal(with_task(array(kOne, kOne, kOne)));
  refusal(with_task(kOne));
  refusal(with_task(array(item("f93c00"), kOne)));
  refusal(with_task(array(item("1a80000000"), kOne)));
  refusal(with_task(array(item("3a80000000"), kOne)));
  EXPECT_EQ(result(with_task(array(item("3a7fffffff"), item("1a7fffffff")))).task,
            (base::TaskId{std::numeric_limits<std::int32_t>::min(),
                          std::numeric_limits<std::int32_t>::max()}));
  refusal(result_with_output(map({{"info", map({{"size", item("20")}})}})));
  refusal(result_with_output(map({{"info", map({{"size", item("f93c00")}})}})));
  refusal(result_with_output(map({{"info", map({{"user", map({{"k", bytes("b")}})}})}})));
  refusal(result_with_output(output_at(array(text("memory"), array(item("190100"))))));
}

TEST(Cbor1, refuses_nesting_beyond_127_levels) {
  // message, result, info and user are four levels.
  const auto nested = [](std::size_t depth) {
    std::string value;
    for (std::size_t i = 1; i < depth; ++i) value += item("81");
    return array(text("result"),
                 map({{"task", kTask},
                      {"success", kTrue},
                      {"info", map({{"user", map({{"k", value + item("80")}})}})}}));
  };
  EXPECT_NO_THROW(to_governor(nested(123)));
  EXPECT_SAYS(refusal(nested(124)), "nested deeper than 127 levels");
  refusal(std::string(1u << 20, '\x81'));
  refusal(std::string(1u << 20, '\xc1'));
  refusal(std::string(1u << 20, '\x9f'));
  refusal(std::string(1u << 20, '\xa1'));
}

TEST(Cbor1, does_not_trust_a_length) {
  refusal(array(text("result"), item("bbffffffffffffffff")));
  refusal(array(text("result"), map({{"task", item("9bffffffffffffffff")}})));
  refusal(array(text("result"), map({{"task", item("9a7fffffff")}})));
  refusal(item("827bffffffffffffffff"));
  refusal(item("825bffffffffffffffff"));
}

TEST(Cbor1, says_in_which_field_and_at_which_byte) {
  try {
    to_governor(array(text("result"), map({{"task", kTask}, {"success", text("yes")}})));
    FAIL();
  } catch (const base::ProtocolError& error) {
    EXPECT_STREQ(error.what(), "result.success: expected a bool, found a text (at byte 25)");
    EXPECT_EQ(error.offset_bytes(), 25u);
  }
}

// ---- register, before the protocol is known ---------------------------------------------------

std::string registration(const char* protocol, const std::string& key) {
  return array(text("register"), map({{key, item("02")},
                                      {"protocol", text(protocol)},
                                      {"executor_id", kOne},
                                      {"executor_type", text("x")}}));
}

TEST(Register, with_cbor_1_refuses_unknown_keys_and_with_cbor_2_ignores_them) {
  EXPECT_SAYS(refusal(registration("cbor-1", "colour"), Protocol::cbor2), "unknown key");
  EXPECT_SAYS(refusal(registration("cbor-1", "threads"), Protocol::cbor2), "unknown key");
  EXPECT_SAYS(refusal(registration("cbor-1", "threads"), Protocol::cbor1), "unknown key");
  EXPECT_EQ(  // the governor refuses it, by name
      std::get<Register>(to_governor(registration("cbor-3", "colour"), Protocol::cbor2)).protocol,
      "cbor-3");
  EXPECT_EQ(
      std::get<Register>(to_governor(registration("cbor-2", "colour"), Protocol::cbor2)).threads,
      1u);
  EXPECT_EQ(
      std::get<Register>(to_governor(registration("cbor-2", "threads"), Protocol::cbor2)).threads,
      2u);
}

TEST(Register, is_written_in_the_order_of_each_protocol) {
  Register message;
  message.protocol = "cbor-1";
  message.executor_id = 1;
  message.executor_type = "py";
  EXPECT_EQ(test::to_hex(encoded(ToGovernor(message), Protocol::cbor1)),
            "3900000082687265676973746572a36870726f746f636f6c6663626f722d316b6578656375746f725f6964"
            "016d6578656375746f725f74797065627079");
  message.protocol = "cbor-2";
  message.threads = 4;
  message.features = {kFeatureBoard, "future"};
  message.tasklib_version = "0.1.0";
  message.tasks = {{"hello", {}},
                   {"", AnnouncedSignature{{{"text", "name"}, {"bytes", ""}}, {{"any", ""}}}},
                   {"nothing", AnnouncedSignature{}}};
  const std::string frame = encoded(ToGovernor(message), Protocol::cbor2);
  const auto back = std::get<Register>(decode_to_governor(payload_of(frame), Protocol::cbor2));
  EXPECT_EQ(back.protocol, "cbor-2");
  EXPECT_EQ(back.threads, 4u);
  EXPECT_EQ(back.features, message.features);
  EXPECT_EQ(back.tasklib_version, "0.1.0");
  ASSERT_EQ(back.tasks.size(), 3u);
  EXPECT_EQ(back.tasks[0].name, "hello");
  EXPECT_FALSE(back.tasks[0].signature);
  const AnnouncedSignature& signature = back.tasks[1].signature.value();
  ASSERT_EQ(signature.inputs.size(), 2u);
  EXPECT_EQ(signature.inputs[0].type, "text");
  EXPECT_EQ(signature.inputs[0].name, "name");
  EXPECT_EQ(signature.inputs[1].name, "");
  ASSERT_EQ(signature.outputs.size(), 1u);
  EXPECT_EQ(signature.outputs[0].type, "any");
  EXPECT_TRUE(back.tasks[2].signature.value().inputs.empty());
}

// ---- cbor-2 -----------------------------------------------------------------------------------

ObjectSpec object_spec(std::int32_t id) {
  ObjectSpec spec;
  spec.id = {1, id};
  return spec;
}

Call full_call() {
  Call call;
  call.sequence = 300;
  call.spec.id = {1, 12};
  call.spec.task_type = "example1/hello";
  call.spec.config = map({{"a", item("01")}});
  call.spec.cpus = 3;
  call.spec.name = "group/name";
  call.spec.user = {{"k", item("f6")}};
  for (std::int32_t i = 0; i < 6; ++i) {
    ObjectIn input;
    input.spec = object_spec(20 + i);
    call.spec.inputs.push_back({input.spec.id, i == 1 ? "as" : ""});
    call.inputs.push_back(input);
  }
  call.inputs[0].spec.label = "label";
  call.inputs[0].spec.content_type = "text";
  call.inputs[0].spec.data_type = DataType::directory;
  call.inputs[0].spec.user = {{"u", item("80")}};
  call.inputs[0].info.emplace();
  call.inputs[0].info->size = 5;
  call.inputs[0].info->content_type = "json";
  call.inputs[1].location = Memory{base::ByteView(std::string_view("hello"))};
  call.inputs[2].location = Path{"/a/b"};
  call.inputs[3].location = OtherObject{{1, -7}};
  call.inputs[4].location = BlobRef{{7}, 5ull << 32, 1};
  call.inputs[5].location = FileSlice{"/a/b", 5ull << 32, 7};
  ObjectIn output;
  output.spec = object_spec(30);
  output.spec.label = "out";
  call.outputs.push_back(output);
  call.spec.outputs.push_back(output.spec.id);
  return call;
}

TEST(Cbor2, carries_a_call_with_everything) {
  const Call call = full_call();
  const std::string frame = encoded(ToExecutor(call), Protocol::cbor2);
  const ToExecutor message = decode_to_executor(payload_of(frame), Protocol::cbor2);
  EXPECT_EQ(describe(message), describe(ToExecutor(call)));
  const Call& back = std::get<Call>(message);
  EXPECT_EQ(back.sequence, 300u);
  EXPECT_EQ(back.spec.cpus, 3u);
  EXPECT_EQ(back.spec.config, call.spec.config);
  ASSERT_EQ(back.spec.inputs.size(), 6u);
  EXPECT_EQ(back.spec.inputs[1].label, "as");
  EXPECT_EQ(back.spec.inputs[4].id, (base::DataObjectId{1, 24}));
  EXPECT_EQ(back.spec.outputs, call.spec.outputs);
  EXPECT_EQ(back.inputs[0].spec.data_type, DataType::directory);
  EXPECT_EQ(back.inputs[0].info->size, 5u);
  EXPECT_EQ(back.inputs[1].info, std::nullopt);
  EXPECT_EQ(std::get<Memory>(back.inputs[1].location).bytes.text(), "hello");
  EXPECT_EQ(std::get<OtherObject>(back.inputs[3].location).id, (base::DataObjectId{1, -7}));
  EXPECT_EQ(std::get<BlobRef>(back.inputs[4].location), (BlobRef{{7}, 5ull << 32, 1}));
  const auto& slice = std::get<FileSlice>(back.inputs[5].location);
  EXPECT_EQ(slice.path, "/a/b");
  EXPECT_EQ(slice.offset_bytes, 5ull << 32);
  EXPECT_EQ(slice.size_bytes, 7u);
  EXPECT_EQ(back.outputs[0].spec.label, "out");
}

TEST(Cbor2, writes_only_what_is_not_the_default) {
  Call call;
  call.sequence = 1;
  call.spec.id = {1, 12};
  call.spec.task_type = "a/b";
  EXPECT_EQ(encoded(ToExecutor(call), Protocol::cbor2).substr(kFrameHeaderBytes),
            array(text("call"), map({{"seq", kOne}, {"id", kTask}, {"type", text("a/b")}})));
  Result done;
  done.sequence = 1;
  done.task = {1, 12};
  done.success = true;
  EXPECT_EQ(encoded(ToGovernor(done), Protocol::cbor2).substr(kFrameHeaderBytes),
            array(text("result"), map({{"seq", kOne}, {"task", kTask}})));
}

TEST(Cbor2, carries_results) {
  Result sent;
  sent.sequence = 300;
  sent.task = {2, 5};
  sent.success = false;
  sent.cancelled = true;
  sent.info.error = "boom";
  sent.info.duration = 0.5f;
  sent.duration_ns = 1ull << 40;
  sent.copied_bytes = 64;
  sent.held = {0, 3};
  sent.printed = {5, 9, 0, 0};
  sent.exception = std::string("\x80\x05\0", 3);
  sent.began_ns = 1ull << 50;
  sent.outputs.resize(3);
  sent.outputs[0].location = BlobRef{{1}, 64, 0};
  sent.outputs[1].info.content_type = "text";
  sent.outputs[2].location = ObjectSlice{{1, -7}, 1ull << 40, 3};
  const std::string frame = encoded(ToGovernor(sent), Protocol::cbor2);
  const Result back = result(frame.substr(kFrameHeaderBytes), Protocol::cbor2);
  EXPECT_EQ(back.sequence, 300u);
  EXPECT_EQ(back.task, sent.task);
  EXPECT_FALSE(back.success);
  EXPECT_TRUE(back.cancelled);
  EXPECT_EQ(back.info.error, "boom");
  EXPECT_EQ(back.info.duration, 0.5f);
  EXPECT_EQ(back.duration_ns, 1ull << 40);
  EXPECT_EQ(back.copied_bytes, 64u);
  EXPECT_EQ(back.held, sent.held);
  EXPECT_EQ(back.printed.out_begin, 5u);
  EXPECT_EQ(back.printed.out_end, 9u);
  EXPECT_EQ(back.printed.err_end, 0u);
  EXPECT_EQ(back.exception, sent.exception);
  EXPECT_EQ(back.began_ns, 1ull << 50);
  ASSERT_EQ(back.outputs.size(), 3u);
  EXPECT_EQ(std::get<BlobRef>(back.outputs[0].location), (BlobRef{{1}, 64, 0}));
  EXPECT_EQ(back.outputs[1].info.content_type, "text");
  const auto& slice = std::get<ObjectSlice>(back.outputs[2].location);
  EXPECT_EQ(slice.id, (base::DataObjectId{1, -7}));
  EXPECT_EQ(slice.offset_bytes, 1ull << 40);
  EXPECT_EQ(slice.size_bytes, 3u);
}

TEST(Cbor2, carries_the_messages_about_regions) {
  const auto back = [](const ToExecutor& message) {
    const std::string frame = encoded(message, Protocol::cbor2);
    return decode_to_executor(payload_of(frame), Protocol::cbor2);
  };
  const auto forth = [](const ToGovernor& message) {
    const std::string frame = encoded(message, Protocol::cbor2);
    return decode_to_governor(payload_of(frame), Protocol::cbor2);
  };
  const auto region =
      std::get<Region>(back(Region{{3}, 32u << 20, true, 9, {{0, 64}, {128, 1ull << 33}}}));
  EXPECT_EQ(region.id, base::RegionId{3});
  EXPECT_EQ(region.size_bytes, 32u << 20);
  EXPECT_TRUE(region.writable);
  EXPECT_EQ(region.request, 9u);
  EXPECT_EQ(region.free, (std::vector<Extent>{{0, 64}, {128, 1ull << 33}}));
  EXPECT_FALSE(std::get<Region>(back(Region{{3}, 1, false, 0, {}})).writable);
  EXPECT_EQ(std::get<LeaseRefused>(back(LeaseRefused{9, "full"})).message, "full");
  EXPECT_EQ(std::get<LeaseRefused>(back(LeaseRefused{9, "full"})).request, 9u);
  const auto freed = std::get<Freed>(back(Freed{{3}, {{64, 64}}}));
  EXPECT_EQ(freed.region, base::RegionId{3});
  EXPECT_EQ(freed.extents, (std::vector<Extent>{{64, 64}}));
  EXPECT_EQ(std::get<RegionDropped>(back(RegionDropped{{3}})).id, base::RegionId{3});
  EXPECT_EQ(std::get<Released>(forth(Released{{{{3}, 64, 5}}})).blobs,
            (std::vector<BlobRef>{{{3}, 64, 5}}));
  const auto request = std::get<LeaseRequest>(forth(LeaseRequest{4, 5ull << 30}));
  EXPECT_EQ(request.request, 4u);
  EXPECT_EQ(request.size_bytes, 5ull << 30);
  EXPECT_EQ(std::get<LeaseReturned>(forth(LeaseReturned{{{3}, {4}}})).regions,
            (std::vector<base::RegionId>{{3}, {4}}));
}

TEST(Cbor2, carries_welcome_cancel_and_shutdown) {
  const auto back = [](const ToExecutor& message) {
    const std::string frame = encoded(message, Protocol::cbor2);
    return decode_to_executor(payload_of(frame), Protocol::cbor2);
  };
  const auto welcome = std::get<Welcome>(back(Welcome{64, 65536, true, {kFeatureSlices, "x"}}));
  EXPECT_EQ(welcome.credit, 64u);
  EXPECT_EQ(welcome.inline_limit_bytes, 65536u);
  EXPECT_TRUE(welcome.board);
  EXPECT_EQ(welcome.features, (std::vector<std::string>{kFeatureSlices, "x"}));
  EXPECT_FALSE(std::get<Welcome>(back(Welcome{1, 0, false, {}})).board);
  const auto cancel = std::get<Cancel>(back(Cancel{{1, 12}, 7}));
  EXPECT_EQ(cancel.task, (base::TaskId{1, 12}));
  EXPECT_EQ(cancel.sequence, 7u);
  EXPECT_TRUE(std::holds_alternative<Shutdown>(back(Shutdown{})));
  EXPECT_TRUE(std::holds_alternative<LeaseWanted>(back(LeaseWanted{})));
}

TEST(Cbor2, ignores_unknown_keys_at_every_level) {
  const std::string future = array(bytes("x"), map({{"deep", indefinite("5f", bytes("y"))}}));
  const Result message = result(
      array(text("result"), map({{"future", future},
                                 {"seq", kOne},
                                 {"task", kTask},
                                 {"out", array(map({{"future", future}, {"at", bytes("")}}))},
                                 {"info", map({{"future", future}, {"error", text("e")}})}})),
      Protocol::cbor2);
  EXPECT_EQ(message.info.error, "e");
  ASSERT_EQ(message.outputs.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<Memory>(message.outputs[0].location));
  EXPECT_TRUE(std::holds_alternative<Shutdown>(
      to_executor(array(text("shutdown"), map({{"future", future}})), Protocol::cbor2)));
}

TEST(Cbor2, refuses_missing_and_duplicate_keys_and_other_keys_than_texts) {
  EXPECT_SAYS(refusal(array(text("result"), map({{"task", kTask}})), Protocol::cbor2),
              "result: key \"seq\" is missing");
  EXPECT_SAYS(refusal(array(text("result"), map({{"seq", kOne}, {"seq", kOne}, {"task", kTask}})),
                      Protocol::cbor2),
              "twice");
  EXPECT_SAYS(refusal(array(text("result"), array(kOne, kTask)), Protocol::cbor2),
              "expected a map");
  EXPECT_SAYS(refusal(array(text("result"), item("a10001")), Protocol::cbor2),
              "expected a text key");
  EXPECT_SAYS(refusal(array(kOne, map({{"seq", kOne}, {"task", kTask}})), Protocol::cbor2),
              "more than the limit 0");
}

TEST(Cbor2, refuses_locations_that_are_none) {
  const auto at = [](const std::string& location) {
    return array(text("result"),
                 map({{"seq", kOne}, {"task", kTask}, {"out", array(map({{"at", location}}))}}));
  };
  for (const std::string& location : {array(),
                                      array(kOne),
                                      array(kOne, kOne, kOne, kOne),
                                      kOne,
                                      kNull,
                                      kTrue,
                                      array(item("20"), kOne, kOne),
                                      array(kOne, item("20"), kOne),
                                      array(kOne, kOne, item("20")),
                                      array(item("1b0000000100000000"), kOne, kOne),
                                      array(item("1a80000000"), kOne),
                                      array(kOne, item("1bffffffffffffffff"), kOne),
                                      array(text("a"), kOne),
                                      array(text("a")),
                                      array(text("a"), kOne, kOne, kOne),
                                      array(text("a"), item("20"), kOne),
                                      array(text("a"), kOne, item("1b8000000000000000")),
                                      array(text("a"), text("b"), kOne),
                                      array(array(kOne, kOne), kOne),
                                      array(array(kOne), kOne, kOne),
                                      array(array(kOne, kOne), kOne, kOne, kOne),
                                      array(array(kOne, kOne), kOne, kNull)})
    refusal(at(location), Protocol::cbor2);
}

// ---- encoding ---------------------------------------------------------------------------------

TEST(EncodeFrame, leaves_the_output_alone_when_it_throws) {
  const std::string huge(kMaxFrameBytes, 'x');
  Result message;
  message.success = true;
  message.outputs.resize(1);
  message.outputs[0].location = Memory{base::ByteView(huge)};
  for (const Protocol protocol : {Protocol::cbor1, Protocol::cbor2}) {
    std::string out = "before";
    EXPECT_THROW(encode_frame(out, message, protocol), base::ProtocolError);
    EXPECT_EQ(out, "before");
  }
}

TEST(EncodeFrame, takes_a_frame_of_exactly_the_limit) {
  Result message;
  message.success = true;
  message.outputs.resize(1);
  const std::string data(kMaxFrameBytes, 'x');
  const auto frame_with = [&](std::size_t size) {
    message.outputs[0].location = Memory{base::ByteView(std::string_view(data).substr(0, size))};
    return encoded(ToGovernor(message), Protocol::cbor1);
  };
  const std::size_t around = frame_with(1u << 20).size() - kFrameHeaderBytes - (1u << 20);
  const std::string frame = frame_with(kMaxFrameBytes - around);
  ASSERT_EQ(frame.size(), kFrameHeaderBytes + kMaxFrameBytes);
  const ToGovernor back = decode_to_governor(payload_of(frame), Protocol::cbor1);
  EXPECT_EQ(std::get<Memory>(std::get<Result>(back).outputs[0].location).bytes.size,
            kMaxFrameBytes - around);
  EXPECT_THROW(frame_with(kMaxFrameBytes - around + 1), base::ProtocolError);
}

TEST(EncodeFrame, refuses_what_the_protocol_has_no_place_for) {
  std::string out;
  EXPECT_THROW(encode_frame(out, ToExecutor(Welcome{}), Protocol::cbor1), base::Error);
  EXPECT_THROW(encode_frame(out, ToGovernor(Released{}), Protocol::cbor1), base::Error);
  EXPECT_THROW(encode_frame(out, ToExecutor(DropCached{}), Protocol::cbor2), base::Error);
  Call call;
  call.inputs.resize(1);
  call.inputs[0].location = BlobRef{};
  EXPECT_THROW(encode_frame(out, call, Protocol::cbor1), base::Error);
  call.inputs[0].location = Cached{};
  EXPECT_THROW(encode_frame(out, call, Protocol::cbor2), base::Error);
  call.inputs[0].location = Path{"\xff"};
  EXPECT_THROW(encode_frame(out, call, Protocol::cbor1), base::Error);
  EXPECT_TRUE(out.empty());
}

TEST(Describe, escapes_texts_and_never_throws) {
  Result message;
  message.task = {1, 2};
  message.info.error = "a\"b\\\n\x01\xc3\xa9";
  message.info.duration = 2.0f;
  EXPECT_EQ(describe(ToGovernor(message)),
            "[\"result\", {\"task\": [1, 2], \"success\": false, \"info\": {\"error\": "
            "\"a\\\"b\\\\\\u000a\\u0001\xc3\xa9\", \"duration\": 2.0}}]");
  message.outputs.resize(1);
  message.outputs[0].location = BlobRef{};
  EXPECT_SAYS(describe(ToGovernor(message)), "can't be sent");
}

}  // namespace
}  // namespace tasklib::wire
