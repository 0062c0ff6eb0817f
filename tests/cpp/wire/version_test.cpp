#include "wire/version.h"

#include <gtest/gtest.h>

namespace tasklib::wire {
namespace {

TEST(Mismatch, names_both_versions_and_the_older_executor) {
  EXPECT_EQ(mismatch_text("0.9.2", "0.10.0"),
            "the executor is rain-tasklib 0.9.2, the governor is rain-tasklib 0.10.0: the executor "
            "is older, rebuild the executor against rain-tasklib 0.10.0");
}

TEST(Mismatch, names_both_versions_and_the_older_governor) {
  EXPECT_EQ(mismatch_text("1.0", "0.10.0.dev3"),
            "the executor is rain-tasklib 1.0, the governor is rain-tasklib 0.10.0.dev3: the "
            "governor is older, upgrade the client's rain-tasklib to 1.0, or rebuild the executor "
            "against rain-tasklib 0.10.0.dev3");
}

TEST(Mismatch, of_the_same_version_is_nobodys_build) {
  EXPECT_EQ(mismatch_text("0.1.0", "0.1.0"),
            "both sides are rain-tasklib 0.1.0, so that nothing has to be rebuilt: one of them is "
            "at fault");
}

TEST(Mismatch, says_what_to_do_when_a_version_is_unknown) {
  EXPECT_EQ(mismatch_text("", "0.1.0"),
            "the executor is of unknown version, the governor is rain-tasklib 0.1.0: rebuild the "
            "executor against rain-tasklib 0.1.0, or upgrade the client's rain-tasklib");
  EXPECT_EQ(mismatch_text("0.1.0", ""),
            "the executor is rain-tasklib 0.1.0, the governor is of unknown version: rebuild the "
            "executor against the client's rain-tasklib, or upgrade the client's rain-tasklib to "
            "0.1.0");
  EXPECT_EQ(mismatch_text("1.0", "1.0.0"),
            "the executor is rain-tasklib 1.0, the governor is rain-tasklib 1.0.0: rebuild the "
            "executor against rain-tasklib 1.0.0, or upgrade the client's rain-tasklib to 1.0");
  EXPECT_EQ(mismatch_text("mine", "0.1.0"),
            "the executor is rain-tasklib mine, the governor is rain-tasklib 0.1.0: rebuild the "
            "executor against rain-tasklib 0.1.0, or upgrade the client's rain-tasklib to mine");
  EXPECT_FALSE(std::string(own_version()).empty());
}

}  // namespace
}  // namespace tasklib::wire
