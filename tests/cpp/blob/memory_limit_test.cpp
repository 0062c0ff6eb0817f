#include "blob/memory_limit.h"

#include <gtest/gtest.h>

#include "../fake_machine.h"

namespace tasklib::blob {
namespace {

class MemoryLimit : public FakeMachine {
 protected:
  void v1_files(const std::string& cgroup, const std::string& limit, const std::string& usage,
                const std::string& stat = "") {
    const std::string directory = "/sys/fs/cgroup/memory" + cgroup;
    file(directory + "/memory.limit_in_bytes", limit + "\n");
    file(directory + "/memory.usage_in_bytes", usage + "\n");
    file(directory + "/memory.stat", stat);
  }
  void v2_files(const std::string& directory, const std::string& limit, const std::string& usage,
                const std::string& stat = "") {
    file(directory + "/memory.max", limit + "\n");
    file(directory + "/memory.current", usage + "\n");
    file(directory + "/memory.stat", stat);
  }
};

TEST_F(MemoryLimit, there_is_none_without_cgroups) {
  EXPECT_EQ(memory_headroom_bytes(root()), std::nullopt);
  EXPECT_EQ(memory_limit_bytes(root()), std::nullopt);
}

TEST_F(MemoryLimit, v2_leaves_limit_minus_usage_minus_a_tenth) {
  v2("/job");
  v2_files("/sys/fs/cgroup/job", "1000000", "300000");
  EXPECT_EQ(memory_headroom_bytes(root()), 600000u);
  EXPECT_EQ(memory_limit_bytes(root()), 1000000u);
}

TEST_F(MemoryLimit, v2_max_is_no_limit) {
  v2("/job");
  v2_files("/sys/fs/cgroup/job", "max", "300000");
  EXPECT_EQ(memory_headroom_bytes(root()), std::nullopt);
}

TEST_F(MemoryLimit, v1_leaves_limit_minus_usage_minus_a_tenth) {
  v1("memory", "/job");
  v1_files("/job", "2000000", "800000");
  EXPECT_EQ(memory_headroom_bytes(root()), 1000000u);
}

TEST_F(MemoryLimit, v1_says_no_limit_with_its_largest_number) {
  v1("memory", "/job");
  v1_files("/job", "9223372036854771712", "800000");
  EXPECT_EQ(memory_headroom_bytes(root()), std::nullopt);
}

TEST_F(MemoryLimit, the_tightest_of_all_parents_counts) {
  v2("/a/b/c");
  v2_files("/sys/fs/cgroup/a/b/c", "max", "100");
  v2_files("/sys/fs/cgroup/a/b", "1000000", "100000");
  v2_files("/sys/fs/cgroup/a", "2000000", "1700000");
  EXPECT_EQ(memory_headroom_bytes(root()), 100000u);
  v2_files("/sys/fs/cgroup/a", "2000000", "0");
  EXPECT_EQ(memory_headroom_bytes(root()), 800000u);
}

TEST_F(MemoryLimit, the_tightest_of_all_v1_parents_counts) {
  v1("memory", "/a/b");
  v1_files("/a/b", "9223372036854771712", "100");
  v1_files("/a", "1000", "400");
  EXPECT_EQ(memory_headroom_bytes(root()), 500u);
}

TEST_F(MemoryLimit, a_hybrid_machine_has_it_in_v1) {
  v1("memory", "/job");
  v2("/", "/", "/sys/fs/cgroup/unified");
  v1_files("/job", "1000", "0");
  EXPECT_EQ(memory_headroom_bytes(root()), 900u);
}

TEST_F(MemoryLimit, a_hybrid_machine_may_have_it_in_v2_only) {
  v1("pids", "/job");
  v2("/user/job", "/", "/sys/fs/cgroup/unified");
  v2_files("/sys/fs/cgroup/unified/user/job", "1000", "100");
  EXPECT_EQ(memory_headroom_bytes(root()), 800u);
}

TEST_F(MemoryLimit, a_full_cgroup_leaves_nothing) {
  v2("/job");
  v2_files("/sys/fs/cgroup/job", "1000000", "950000");
  EXPECT_EQ(memory_headroom_bytes(root()), 0u);
  v2_files("/sys/fs/cgroup/job", "1000000", "1100000");
  EXPECT_EQ(memory_headroom_bytes(root()), 0u);
}

TEST_F(MemoryLimit, file_pages_are_not_counted_as_used) {
  v2("/job");
  v2_files("/sys/fs/cgroup/job", "1000000", "900000",
           "anon 100\nfile 700000\nshmem 1\ninactive_file 500000\nactive_file 200000\n");
  EXPECT_EQ(memory_headroom_bytes(root()), 700000u);
  v2_files("/sys/fs/cgroup/job", "1000000", "900000", "inactive_file 5000000\n");
  EXPECT_EQ(memory_headroom_bytes(root()), 900000u);
}

TEST_F(MemoryLimit, v1_file_pages_are_those_of_the_children_too) {
  v1("memory", "/job");
  v1_files("/job", "1000000", "900000",
           "inactive_file 1\ntotal_inactive_file 300000\ntotal_active_file 100000\n");
  EXPECT_EQ(memory_headroom_bytes(root()), 400000u);
}

TEST_F(MemoryLimit, a_container_that_sees_only_its_subtree_finds_its_limit) {
  v1("memory", "/docker/abc/job", "/docker/abc");
  v1_files("/job", "9223372036854771712", "0");
  v1_files("", "1000", "500");
  EXPECT_EQ(memory_headroom_bytes(root()), 400u);
}

TEST_F(MemoryLimit, a_path_outside_of_what_is_mounted_leaves_the_mount_point) {
  for (const char* outside : {"/docker/abcd", "/../other", "/.."}) {
    v2(outside, "/docker/abc");
    v2_files("/sys/fs/cgroup", "1000", "500");
    EXPECT_EQ(memory_headroom_bytes(root()), 400u) << outside;
  }
}

TEST_F(MemoryLimit, a_mount_point_with_a_blank_is_found) {
  v2("/job", "/", "/mnt/c\\040group");
  v2_files("/mnt/c group/job", "1000", "0");
  EXPECT_EQ(memory_headroom_bytes(root()), 900u);
}

TEST_F(MemoryLimit, nonsense_is_no_limit) {
  v2("/job");
  for (const char* text : {"", "x", "-1", "18446744073709551616", "99999999999999999999999"}) {
    v2_files("/sys/fs/cgroup/job", text, "1");
    EXPECT_EQ(memory_headroom_bytes(root()), std::nullopt) << text;
  }
  v2_files("/sys/fs/cgroup/job", "1000", "x");
  EXPECT_EQ(memory_headroom_bytes(root()), std::nullopt);
}

}  // namespace
}  // namespace tasklib::blob
