#include "process/program_build.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "process/environment.h"

namespace rain::process {
namespace {

class ProgramBuildTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/program-build-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory = name;
    program = directory + "/program";
    script = directory + "/script.py";
    write(program, "one");
    write(script, "one");
  }
  void TearDown() override {
    ::unlink(program.c_str());
    ::unlink(script.c_str());
    ::rmdir(directory.c_str());
  }
  static void write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }

  std::string directory, program, script;
};

TEST_F(ProgramBuildTest, a_file_that_nobody_touched_is_the_same_build) {
  const ProgramFiles files({program});
  ASSERT_TRUE(files.build());
  EXPECT_EQ(files.build(), files.build());
}

TEST_F(ProgramBuildTest, another_file_under_the_name_is_another_build) {
  const ProgramFiles files({program});
  const auto before = files.build();
  write(directory + "/new", "one");
  ASSERT_EQ(::rename((directory + "/new").c_str(), program.c_str()), 0);
  EXPECT_NE(files.build(), before);
}

TEST_F(ProgramBuildTest, writing_in_place_makes_another_build) {
  const ProgramFiles files({program});
  const auto before = files.build();
  write(program, "longer than before");
  EXPECT_NE(files.build(), before);
}

TEST_F(ProgramBuildTest, the_first_argument_that_is_a_file_counts) {
  const ProgramFiles files({program, "-u", script, program});
  const auto before = files.build();
  write(script, "longer than before");
  EXPECT_NE(files.build(), before);
}

TEST_F(ProgramBuildTest, there_is_no_build_while_a_file_is_missing) {
  const ProgramFiles files({program, script});
  ::unlink(program.c_str());
  EXPECT_FALSE(files.build());
}

TEST(Environment, a_variable_is_replaced_by_its_whole_name) {
  std::vector<std::string> environment{"A=1", "AB=2"};
  set_variable(environment, "A=3");
  set_variable(environment, "B=4");
  EXPECT_EQ(environment, (std::vector<std::string>{"A=3", "AB=2", "B=4"}));
}

TEST(Environment, libraries_use_at_least_one_thread) {
  std::vector<std::string> environment;
  set_thread_counts(environment, 0);
  EXPECT_EQ(environment[0], "OMP_NUM_THREADS=1");
  set_thread_counts(environment, 3);
  EXPECT_EQ(environment.size(), 4u);
  EXPECT_EQ(environment[0], "OMP_NUM_THREADS=3");
}

}  // namespace
}  // namespace rain::process
