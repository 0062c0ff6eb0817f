#include "event_log.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "base/errors.h"

namespace rain {
namespace {

namespace fs = std::filesystem;

std::string line_of(std::string_view text) { return EventLine("x", 1.5).add("text", text).take(); }

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class EventLogFile : public testing::Test {
 protected:
  EventLogFile() {
    char pattern[] = "/tmp/rain-events-XXXXXX";
    place = ::mkdtemp(pattern);
    path = place / "run.jsonl";
  }
  ~EventLogFile() override { fs::remove_all(place); }

  fs::path place, path;
};

TEST(EventLine, is_an_object_of_one_line) {
  EXPECT_EQ(EventLine("task", 1700000000.25)
                .add_id(3, 12)
                .add("state", "finished")
                .add("in", std::int64_t{-5})
                .add("seconds", 0.000001)
                .take(),
            "{\"event\": \"task\", \"time\": 1700000000.250000, \"id\": [3, 12], "
            "\"state\": \"finished\", \"in\": -5, \"seconds\": 1e-06}\n");
}

TEST(EventLine, has_lists_and_objects_in_it) {
  EXPECT_EQ(EventLine("x", 0)
                .begin_list("pairs")
                .add_pair(1, 2)
                .add_pair(-3, 4)
                .end()
                .begin_object("inner")
                .begin_list("none")
                .end()
                .begin_list("objects")
                .begin_object()
                .add("a", "[")
                .add("b", "{")
                .end()
                .begin_object()
                .end()
                .end()
                .end()
                .add("last", std::int64_t{1})
                .take(),
            "{\"event\": \"x\", \"time\": 0.000000, \"pairs\": [[1, 2], [-3, 4]], \"inner\": "
            "{\"none\": [], \"objects\": [{\"a\": \"[\", \"b\": \"{\"}, {}]}, \"last\": 1}\n");
}

TEST(EventLine, times_are_rounded_to_microseconds) {
  const auto text = [](double time) {
    const std::string line = EventLine("x", time).take();
    return line.substr(23, line.size() - 25);
  };
  EXPECT_EQ(text(1700000000.000001), "1700000000.000001");
  EXPECT_EQ(text(0.9999996), "1.000000");
  EXPECT_EQ(text(-1.25), "-1.250000");
  EXPECT_EQ(text(-1e-9), "0.000000");
}

TEST(EventLine, escapes_what_would_end_a_string_or_line) {
  EXPECT_EQ(line_of("a\"b\\c\nd\te\x7f"),
            "{\"event\": \"x\", \"time\": 1.500000, \"text\": "
            "\"a\\\"b\\\\c\\nd\\u0009e\\u007f\"}\n");
  EXPECT_NE(line_of(std::string_view("\0", 1)).find("\\u0000"), std::string::npos);
}

TEST(EventLine, keeps_utf8_and_replaces_every_byte_that_is_none) {
  EXPECT_NE(line_of("ž€😀").find("\"ž€😀\""), std::string::npos);
  // A lone continuation, an overlong slash, a surrogate, a cut character.
  EXPECT_NE(line_of("\x80").find("\"\\ufffd\""), std::string::npos);
  EXPECT_NE(line_of("\xc0\xaf").find("\"\\ufffd\\ufffd\""), std::string::npos);
  EXPECT_NE(line_of("\xed\xa0\x80").find("\"\\ufffd\\ufffd\\ufffd\""), std::string::npos);
  EXPECT_NE(line_of("a\xe2\x82").find("\"a\\ufffd\\ufffd\""), std::string::npos);
}

TEST(EventLine, writes_numbers_that_json_has_no_word_for_as_zero) {
  EXPECT_EQ(EventLine("x", std::nan("")).take(), "{\"event\": \"x\", \"time\": 0.000000}\n");
  EXPECT_EQ(EventLine("x", std::numeric_limits<double>::infinity()).take(),
            "{\"event\": \"x\", \"time\": 0.000000}\n");
  EXPECT_EQ(EventLine("x", std::numeric_limits<double>::max()).take(),
            "{\"event\": \"x\", \"time\": 0.000000}\n");
}

TEST_F(EventLogFile, has_all_lines_in_order_once_it_is_finished) {
  constexpr int kLines = 50'000;  // more than what wakes the writer
  EventLog log(path);
  for (int i = 0; i < kLines; ++i) log.add(EventLine("x", 0).add("i", std::int64_t{i}));
  log.finish();
  log.finish();
  EXPECT_EQ(log.take_trouble(), "");
  std::string expected;
  for (int i = 0; i < kLines; ++i) expected += EventLine("x", 0).add("i", std::int64_t{i}).take();
  EXPECT_EQ(read(path), expected);
}

TEST_F(EventLogFile, replaces_what_was_there) {
  std::ofstream(path) << "old and much longer than what comes";
  EventLog(path).add(EventLine("x", 0));
  EXPECT_EQ(read(path), EventLine("x", 0).take());
}

TEST_F(EventLogFile, a_place_where_none_can_be_is_an_error_that_names_it) {
  try {
    EventLog log(place / "no" / "run.jsonl");
    FAIL() << "it opened";
  } catch (const tasklib::base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("no/run.jsonl"), std::string::npos) << error.what();
  }
}

TEST(EventLog, of_a_full_disk_says_so_once_and_goes_on) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "there is no /dev/full";
  EventLog log("/dev/full");
  log.add(EventLine("x", 0));
  log.finish();
  const std::string trouble = log.take_trouble();
  EXPECT_NE(trouble.find("/dev/full"), std::string::npos) << trouble;
  EXPECT_NE(trouble.find("No space left"), std::string::npos) << trouble;
  EXPECT_EQ(log.take_trouble(), "");
}

TEST_F(EventLogFile, goes_on_with_a_whole_line_when_the_disk_has_room_again) {
  EventLog log(path);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{20, before.rlim_max};  // bytes of a file: half a line
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  log.add(EventLine("first", 0));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  std::string trouble;
  while (trouble.empty() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    trouble = log.take_trouble();
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_NE(trouble.find("File too large"), std::string::npos) << trouble;
  log.add(EventLine("second", 0));
  log.finish();
  const std::string text = read(path);
  EXPECT_EQ(text.substr(0, 21), EventLine("first", 0).take().substr(0, 20) + "\n");
  EXPECT_NE(text.find("\n" + EventLine("second", 0).take()), std::string::npos) << text;
  EXPECT_NE(text.find("{\"event\": \"lost\""), std::string::npos) << text;
  EXPECT_NE(text.find("\"lines\": 1}\n"), std::string::npos) << text;
}

TEST_F(EventLogFile, times_are_wall_clock_and_keep_distances) {
  EventLog log(path);
  const auto now = tasklib::base::Clock::now();
  const double wall =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_NEAR(log.time_of(now), wall, 60);
  EXPECT_NEAR(log.time_of(now + std::chrono::seconds(90)) - log.time_of(now), 90, 1e-3);
}

}  // namespace
}  // namespace rain
