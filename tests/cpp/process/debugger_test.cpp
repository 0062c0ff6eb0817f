#include "process/debugger.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <string>
#include <vector>

namespace rain::process {
namespace {

TEST(Debugger, status_is_that_of_the_program) {
  const int segfault = status_of_debugged(W_EXITCODE(128 + SIGSEGV, 0));
  ASSERT_TRUE(WIFSIGNALED(segfault));
  EXPECT_EQ(WTERMSIG(segfault), SIGSEGV);
  for (const int unchanged : {W_EXITCODE(0, 0), W_EXITCODE(3, 0), W_EXITCODE(128, 0),
                              W_EXITCODE(255, 0), W_EXITCODE(0, SIGKILL)})
    EXPECT_EQ(status_of_debugged(unchanged), unchanged);
}

TEST(Debugger, command_of_the_program_comes_last) {
  const std::vector<std::string> argv{"/opt/ex", "--first", "a b; c"};
  const std::vector<std::string> command = under_gdb("/usr/bin/gdb", argv);
  ASSERT_GT(command.size(), argv.size());
  EXPECT_EQ(std::vector<std::string>(command.end() - 3, command.end()), argv);
  EXPECT_EQ(command[command.size() - 4], "--args");
}

}  // namespace
}  // namespace rain::process
