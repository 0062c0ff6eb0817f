#include "base/cpu_limit.h"

#include <gtest/gtest.h>
#include <sched.h>

#include "../fake_machine.h"

namespace tasklib::base {
namespace {

// Quotas are tried on one CPU and on as many as this process may use; what is above counts as
// no limit.
class CpuLimit : public FakeMachine {
 protected:
  static unsigned all() {
    cpu_set_t set;
    EXPECT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
    return static_cast<unsigned>(CPU_COUNT(&set));
  }
};

TEST_F(CpuLimit, a_machine_without_cgroups_offers_the_affinity_mask) {
  EXPECT_EQ(usable_cpus(root()), all());
}

TEST_F(CpuLimit, an_affinity_mask_of_one_cpu_is_one_cpu) {
  cpu_set_t before, one;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_cpus(root()), 1u);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
}

TEST_F(CpuLimit, v2_quota_is_rounded_up) {
  v2("/job");
  file("/sys/fs/cgroup/job/cpu.max", "100000 100000\n");
  EXPECT_EQ(usable_cpus(root()), 1u);
  file("/sys/fs/cgroup/job/cpu.max", "50000 100000\n");
  EXPECT_EQ(usable_cpus(root()), 1u);
  file("/sys/fs/cgroup/job/cpu.max", "100001 100000\n");
  EXPECT_EQ(usable_cpus(root()), std::min(2u, all()));
}

TEST_F(CpuLimit, v2_without_quota_is_no_limit) {
  v2("/job");
  file("/sys/fs/cgroup/job/cpu.max", "max 100000\n");
  EXPECT_EQ(usable_cpus(root()), all());
}

TEST_F(CpuLimit, v2_quota_of_a_parent_counts) {
  v2("/a/b/c");
  file("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
  file("/sys/fs/cgroup/a/cpu.max", "90000 100000\n");
  EXPECT_EQ(usable_cpus(root()), 1u);
}

TEST_F(CpuLimit, v1_quota_counts_and_minus_one_is_none) {
  v1("cpu,cpuacct", "/job");
  file("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
  file("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(usable_cpus(root()), all());
  file("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "80000\n");
  EXPECT_EQ(usable_cpus(root()), 1u);
}

TEST_F(CpuLimit, v1_quota_of_a_parent_counts_on_a_hybrid_machine) {
  v1("cpu", "/a/b");
  v2("/a/b", "/", "/sys/fs/cgroup/unified");
  file("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "20000\n");
  file("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(usable_cpus(root()), 1u);
}

TEST_F(CpuLimit, nonsense_is_no_limit) {
  v2("/job");
  for (const char* text :
       {"", "\n", "x y", "1", "100000 0", "-5 100000", "1e5 100000", "99999999999999999999999 1"}) {
    file("/sys/fs/cgroup/job/cpu.max", text);
    EXPECT_EQ(usable_cpus(root()), all()) << text;
  }
  file("/proc/self/cgroup", "\n:\n0\n0:\n::::\n0::");
  file("/proc/self/mountinfo", "\n - \n1 2 3\n - cgroup2");
  EXPECT_EQ(usable_cpus(root()), all());
}

TEST_F(CpuLimit, this_machine_offers_at_least_one) {
  EXPECT_GE(usable_cpus(), 1u);
  EXPECT_LE(usable_cpus(), all());
}

}  // namespace
}  // namespace tasklib::base
