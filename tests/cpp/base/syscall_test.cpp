#include "base/syscall.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "base/unique_fd.h"

namespace tasklib::base {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

TEST(Checked, names_call_object_and_reason) {
  try {
    checked("open", "/no/such", [] { return ::open("/no/such", O_RDONLY | O_CLOEXEC); });
    FAIL() << "opened";
  } catch (const SystemError& error) {
    EXPECT_STREQ(error.what(), "open(/no/such): No such file or directory");
    EXPECT_EQ(error.error_number(), ENOENT);
  }
}

TEST(Checked, calls_again_after_an_interruption) {
  int calls = 0;
  const int result = checked("call", "", [&] {
    errno = EINTR;
    return ++calls < 3 ? -1 : 7;
  });
  EXPECT_EQ(result, 7);
  EXPECT_EQ(calls, 3);
}

TEST(ProtocolError, says_at_which_byte_if_it_knows) {
  EXPECT_STREQ(ProtocolError("broken", 12).what(), "broken (at byte 12)");
  EXPECT_STREQ(ProtocolError("broken").what(), "broken");
}

TEST(UniqueFd, closes_what_it_owns_once) {
  const auto open_null = [] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); };
  int raw;
  {
    UniqueFd first(open_null());
    raw = first.get();
    UniqueFd second(std::move(first));
    EXPECT_FALSE(first);
    EXPECT_TRUE(is_open(raw));
    second = UniqueFd(open_null());
    EXPECT_FALSE(is_open(raw));
    raw = second.get();
  }
  EXPECT_FALSE(is_open(raw));
  UniqueFd given(open_null());
  const int released = given.release();
  given.reset();
  EXPECT_TRUE(is_open(released));
  ::close(released);
}

}  // namespace
}  // namespace tasklib::base
