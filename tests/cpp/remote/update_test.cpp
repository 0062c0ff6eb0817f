#include "remote/update.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "wire/cbor.h"

namespace rain::remote {
namespace {

using graph::FailureKind;
using graph::TaskState;
using tasklib::base::ByteView;
using tasklib::base::Duration;
using tasklib::base::ProtocolError;

Updates decode_all(const std::string& bytes) {
  // In a block of its exact size, so that a sanitizer sees a read beyond.
  const std::vector<char> exact(bytes.begin(), bytes.end());
  return decode_updates(ByteView(exact.data(), exact.size()));
}
std::vector<TaskUpdate> decode(const std::string& bytes) { return decode_all(bytes).ends; }

tasklib::wire::RawValue number(std::int64_t value) {
  std::string raw;
  tasklib::wire::Writer(raw).integer(value);
  return raw;
}

TaskUpdate finished(std::int32_t id) {
  TaskUpdate update;
  update.id = id;
  update.run_time = std::chrono::microseconds(12);
  update.pid = 4321;
  update.executor = 2;
  update.attempts = 1;
  update.outputs.push_back({id + 1, 8, false, {}, {}});
  return update;
}

TaskUpdate rich() {
  TaskUpdate update = finished(10);
  update.copied_bytes = 99;
  update.info.debug = "some words";
  update.info.user = {{"k", number(1)}};
  update.printed = {1, 20, 3, 40};
  update.stdout_path = "/run/out";
  update.stderr_path = "/run/err";
  ObjectUpdate& output = update.outputs.emplace_back();
  output.id = 12;
  output.size_bytes = 5;
  output.content = std::string("\0byte", 5);
  output.info.content_type = "text";
  output.info.size = 5;
  output.info.user = {{"u", number(2)}};
  update.outputs.push_back({13, 1u << 30, true, {}, {}});
  return update;
}

TaskUpdate failed(std::int32_t id, graph::FailurePtr failure) {
  TaskUpdate update;
  update.id = id;
  update.state = TaskState::failed;
  update.failure = std::move(failure);
  update.attempts = 2;
  return update;
}

graph::FailurePtr rich_failure() {
  auto failure = std::make_shared<graph::Failure>();
  failure->kind = FailureKind::executor;
  failure->origin = {3, 10};
  failure->message = "it died";
  failure->debug = "words";
  failure->report = "killed by SIGSEGV";
  failure->pickled = std::string("\x80\0pickle", 8);
  failure->attempts = {{FailureKind::timeout, "too long", {7}, 100, Duration(5)},
                       {FailureKind::executor, "it died", {8}, 101, Duration(6)}};
  return failure;
}

TEST(Updates, all_that_a_finished_task_can_have_comes_back) {
  const TaskUpdate sent = rich();
  const auto got = decode(encode_updates({sent})).at(0);
  EXPECT_EQ(got.id, 10);
  EXPECT_EQ(got.state, TaskState::finished);
  EXPECT_EQ(got.run_time, sent.run_time);
  EXPECT_EQ(got.pid, 4321);
  EXPECT_EQ(got.executor, 2u);
  EXPECT_EQ(got.attempts, 1u);
  EXPECT_EQ(got.copied_bytes, 99u);
  EXPECT_EQ(got.info.debug, "some words");
  EXPECT_EQ(got.info.user, sent.info.user);
  EXPECT_EQ(got.printed.err_end, 40u);
  EXPECT_EQ(got.stdout_path, "/run/out");
  EXPECT_EQ(got.stderr_path, "/run/err");
  EXPECT_FALSE(got.failure);
  ASSERT_EQ(got.outputs.size(), 3u);
  EXPECT_EQ(got.outputs[0].id, 11);
  EXPECT_EQ(got.outputs[0].size_bytes, 8u);
  EXPECT_FALSE(got.outputs[0].content);
  EXPECT_EQ(got.outputs[1].content, sent.outputs[1].content);
  EXPECT_EQ(got.outputs[1].info.content_type, "text");
  EXPECT_EQ(got.outputs[1].info.user, sent.outputs[1].info.user);
  EXPECT_TRUE(got.outputs[2].is_directory);
}

TEST(Updates, all_that_a_failure_can_have_comes_back_and_is_shared) {
  const auto failure = rich_failure();
  const auto got = decode(encode_updates({failed(10, failure), failed(11, failure)}));
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].failure, got[1].failure);
  const graph::Failure& read = *got[0].failure;
  EXPECT_EQ(got[0].state, TaskState::failed);
  EXPECT_EQ(read.kind, FailureKind::executor);
  EXPECT_EQ(read.origin, failure->origin);
  EXPECT_EQ(read.message, failure->message);
  EXPECT_EQ(read.debug, failure->debug);
  EXPECT_EQ(read.report, failure->report);
  EXPECT_EQ(read.pickled, failure->pickled);
  ASSERT_EQ(read.attempts.size(), 2u);
  EXPECT_EQ(read.attempts[0].kind, FailureKind::timeout);
  EXPECT_EQ(read.attempts[0].message, "too long");
  EXPECT_EQ(read.attempts[0].executor.value, 7u);
  EXPECT_EQ(read.attempts[1].pid, 101);
  EXPECT_EQ(read.attempts[1].duration, Duration(6));
}

TEST(Updates, a_plain_one_is_short) {
  std::vector<TaskUpdate> updates;
  for (int i = 0; i < 1000; ++i) updates.push_back(finished(1000 + 2 * i));
  EXPECT_LT(encode_updates(updates).size(), 1000 * 40u);
  EXPECT_EQ(decode(encode_updates({})).size(), 0u);
}

TEST(Updates, which_tasks_run_comes_back_in_order_and_once) {
  const Updates got = decode_all(encode_updates({finished(10)}, {700, 3, 2'000'000'000, 3, 701}));
  EXPECT_EQ(got.ends.at(0).id, 10);
  EXPECT_EQ(got.started, (std::vector<std::int32_t>{3, 700, 701, 2'000'000'000}));
  EXPECT_EQ(decode_all(encode_updates({}, {0})).started, std::vector<std::int32_t>{0});
}

TEST(Updates, that_tasks_run_is_short) {
  std::vector<std::int32_t> started;
  for (int i = 0; i < 1000; ++i) started.push_back(1'000'000 + 2 * i);
  EXPECT_LT(encode_updates({}, started).size(), 2 * 1000u);
}

TEST(Updates, a_task_that_runs_twice_or_has_no_id_is_refused) {
  const std::string good = encode_updates({}, {5, 6});
  for (const char last : {'\x00', '\x1a'}) {  // the same again; a number that is cut off
    std::string bad = good;
    bad.back() = last;
    EXPECT_THROW(decode_all(bad), ProtocolError);
  }
  std::string beyond = good.substr(0, good.size() - 1);
  tasklib::wire::Writer(beyond).uinteger(0x7fffffff);
  EXPECT_THROW(decode_all(beyond), ProtocolError);
}

TEST(Updates, another_version_is_refused_with_what_to_do) {
  std::string bytes = encode_updates({finished(10)});
  bytes[1] = 9;
  try {
    decode(bytes);
    FAIL();
  } catch (const ProtocolError& error) {
    EXPECT_NE(std::string(error.what()).find("client and governor are of different versions"),
              std::string::npos)
        << error.what();
  }
}

TEST(Updates, a_task_that_has_not_ended_is_refused) {
  TaskUpdate update = finished(10);
  update.state = TaskState::ready;
  EXPECT_THROW(decode(encode_updates({update})), ProtocolError);
}

TEST(Updates, each_truncation_is_refused) {
  const std::string bytes = encode_updates({rich(), failed(12, rich_failure())}, {20, 300});
  EXPECT_EQ(decode(bytes).size(), 2u);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_THROW(decode(bytes.substr(0, size)), ProtocolError) << size;
  EXPECT_THROW(decode(bytes + bytes), ProtocolError);
}

TEST(Updates, each_changed_byte_gives_updates_or_an_error) {
  const std::string bytes = encode_updates({rich(), failed(12, rich_failure())}, {20, 300});
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(value);
      try {
        decode(changed);
      } catch (const ProtocolError&) {
      }
    }
  }
}

}  // namespace
}  // namespace rain::remote
