#include "process/log_tail.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <random>

namespace rain::process {
namespace {

const std::string kReplacement = "\xEF\xBF\xBD";

class LogTail : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(::mkdtemp(directory_), nullptr); }
  void TearDown() override {
    ::unlink(path().c_str());
    ::rmdir(directory_);
  }
  std::string path() const { return std::string(directory_) + "/log"; }
  void write(const std::string& content) { std::ofstream(path(), std::ios::binary) << content; }

 private:
  char directory_[24] = "/tmp/log-tail-XXXXXX";
};

TEST_F(LogTail, missing_file_and_directory_and_pipe_are_empty) {
  EXPECT_EQ(tail_bytes(path(), 100), "");
  EXPECT_EQ(tail_lines(path(), 20), "");
  EXPECT_EQ(tail_bytes("/tmp", 100), "");
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  EXPECT_EQ(tail_bytes(path(), 100), "");
}

TEST_F(LogTail, gives_the_last_bytes) {
  write("0123456789");
  EXPECT_EQ(tail_bytes(path(), 4), "6789");
  EXPECT_EQ(tail_bytes(path(), 10), "0123456789");
  EXPECT_EQ(tail_bytes(path(), 100), "0123456789");
  EXPECT_EQ(tail_bytes(path(), 0), "");
}

TEST_F(LogTail, cut_never_falls_inside_a_character) {
  write("a\xF0\x9F\x98\x80z");  // a, a 4-byte character, z
  for (std::size_t n : {1, 2, 3, 4}) EXPECT_EQ(tail_bytes(path(), n), "z") << n;
  EXPECT_EQ(tail_bytes(path(), 5), "\xF0\x9F\x98\x80z");
}

TEST_F(LogTail, gives_the_last_lines_without_the_final_newline) {
  write("1\n2\n\n4\n5\n\n");
  EXPECT_EQ(tail_lines(path(), 1), "5");
  EXPECT_EQ(tail_lines(path(), 3), "\n4\n5");
  EXPECT_EQ(tail_lines(path(), 5), "1\n2\n\n4\n5");
  EXPECT_EQ(tail_lines(path(), 50), "1\n2\n\n4\n5");
  EXPECT_EQ(tail_lines(path(), 0), "");
  write("no newline");
  EXPECT_EQ(tail_lines(path(), 20), "no newline");
  write("\n\n");
  EXPECT_EQ(tail_lines(path(), 20), "");
}

TEST_F(LogTail, a_line_without_end_is_limited_in_bytes) {
  write(std::string(1'000'000, 'x'));
  EXPECT_EQ(tail_lines(path(), 20, 500), std::string(500, 'x'));
}

TEST(ValidUtf8, keeps_what_is_well_formed) {
  for (std::string text : {std::string("plain\n\ttext"), std::string("\0", 1),
                           std::string("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"),
                           std::string("\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF")}) {
    EXPECT_EQ(to_valid_utf8(text), text);
  }
}

TEST(ValidUtf8, replaces_each_byte_that_belongs_to_no_character) {
  EXPECT_EQ(to_valid_utf8("a\xFFz"), "a" + kReplacement + "z");
  EXPECT_EQ(to_valid_utf8("\xC3"), kReplacement);
  EXPECT_EQ(to_valid_utf8("\xC0\x80"), kReplacement + kReplacement);  // overlong
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80"),
            kReplacement + kReplacement + kReplacement);                         // surrogate
  EXPECT_EQ(to_valid_utf8("\xF4\x90\x80\x80").size(), 4 * kReplacement.size());  // above U+10FFFF
  EXPECT_EQ(to_valid_utf8("\xE2\x82 x"), kReplacement + kReplacement + " x");
}

TEST(ValidUtf8, is_a_fixed_point_on_random_bytes) {
  std::mt19937 random(4);
  for (int i = 0; i < 2'000; ++i) {
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const std::string once = to_valid_utf8(bytes);
    EXPECT_EQ(to_valid_utf8(once), once);
  }
}

}  // namespace
}  // namespace rain::process
