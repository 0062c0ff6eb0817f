#include "base/poll_advice.h"

#include <gtest/gtest.h>

namespace tasklib::base {
namespace {

int waits_without_polling(PollAdvice& advice) {
  int waits = 0;
  while (!advice.worth_it()) ++waits;
  return waits;
}

TEST(PollAdvice, polls_as_long_as_it_helps_now_and_then) {
  PollAdvice advice;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(advice.worth_it());
    advice.failed();
    ASSERT_TRUE(advice.worth_it());
    advice.failed();
    ASSERT_TRUE(advice.worth_it());
    advice.succeeded();
  }
}

TEST(PollAdvice, tries_seldom_while_polling_is_in_vain) {
  PollAdvice advice;
  for (int i = 0; i < 3; ++i) advice.failed();
  EXPECT_EQ(waits_without_polling(advice), 64);
  advice.failed();
  EXPECT_EQ(waits_without_polling(advice), 64);
  advice.succeeded();
  EXPECT_EQ(waits_without_polling(advice), 0);
}

}  // namespace
}  // namespace tasklib::base
