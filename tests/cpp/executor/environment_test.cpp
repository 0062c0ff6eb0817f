#include "executor/environment.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/errors.h"
#include "tasklib/executor.h"

namespace tasklib::executor {
namespace {

class EnvironmentTest : public ::testing::Test {
 protected:
  EnvironmentTest() {
    ::setenv("RAIN_EXECUTOR_SOCKET", "/no/such/socket", 1);
    ::setenv("RAIN_EXECUTOR_ID", "12", 1);
  }
  ~EnvironmentTest() override {
    for (const char* name : {"RAIN_EXECUTOR_SOCKET", "RAIN_EXECUTOR_ID", "RAIN_EXECUTOR_PROTOCOLS",
                             "RAIN_EXECUTOR_THREADS"})
      ::unsetenv(name);
  }

  std::string error_of_start() {
    try {
      Executor("tester").start();
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(EnvironmentTest, a_missing_variable_is_told_as_not_started_by_a_governor) {
  ::unsetenv("RAIN_EXECUTOR_ID");
  EXPECT_EQ(error_of_start().find("not started by a governor: RAIN_EXECUTOR_ID is not set"), 0u);
  ::unsetenv("RAIN_EXECUTOR_SOCKET");
  EXPECT_EQ(error_of_start().find("not started by a governor: RAIN_EXECUTOR_SOCKET is not set"),
            0u);
}

TEST_F(EnvironmentTest, an_id_must_be_a_number) {
  for (const char* id : {"x", "12x", "99999999999", " 1"}) {
    ::setenv("RAIN_EXECUTOR_ID", id, 1);
    EXPECT_NE(error_of_start().find(id), std::string::npos) << id;
  }
}

TEST_F(EnvironmentTest, threads_are_one_unless_registered_otherwise) {
  EXPECT_EQ(read_environment().threads, 1u);
  ::setenv("RAIN_EXECUTOR_THREADS", "6", 1);
  EXPECT_EQ(read_environment().threads, 6u);
  ::setenv("RAIN_EXECUTOR_THREADS", "many", 1);
  EXPECT_NE(error_of_start().find("RAIN_EXECUTOR_THREADS is 'many'"), std::string::npos);
}

TEST_F(EnvironmentTest, a_socket_that_is_not_there_is_named) {
  EXPECT_NE(error_of_start().find("connect(/no/such/socket): No such file or directory"),
            std::string::npos);
}

TEST_F(EnvironmentTest, the_newer_protocol_is_for_the_socket_that_it_names) {
  EXPECT_FALSE(read_environment().cbor2);
  ::setenv("RAIN_EXECUTOR_PROTOCOLS", "cbor-2@/no/such/socket", 1);
  EXPECT_TRUE(read_environment().cbor2);
  ::setenv("RAIN_EXECUTOR_PROTOCOLS", "cbor-2@/another/socket", 1);
  EXPECT_FALSE(read_environment().cbor2);
  ::setenv("RAIN_EXECUTOR_PROTOCOLS", "cbor-3@/no/such/socket", 1);
  EXPECT_FALSE(read_environment().cbor2);
}

TEST_F(EnvironmentTest, the_directory_is_that_of_the_socket) {
  EXPECT_EQ(read_environment().directory(), "/no/such");
}

TEST_F(EnvironmentTest, names_and_numbers_of_threads_are_checked) {
  EXPECT_THROW(Executor(""), std::invalid_argument);
  EXPECT_THROW(Executor("a/b"), std::invalid_argument);
  Executor executor("tester");
  EXPECT_THROW(executor.add_task("f", TaskFunction()), std::invalid_argument);
  EXPECT_THROW(executor.start(0), std::invalid_argument);
}

}  // namespace
}  // namespace tasklib::executor
