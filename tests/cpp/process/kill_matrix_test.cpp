// SIGKILL of the client, of either half of the launcher, and of the client with either half:
// no process and no run directory is left, whatever sessions the processes moved to.

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <ostream>

#include "processes_of.h"

namespace rain::process {
namespace {

using testing::wait_for;

struct Case {
  const char* name;
  bool client, outer, inner;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

struct Pids {
  pid_t outer, inner;
  char mark[16];
};

/// Children, grandchildren and orphans in sessions of their own, with and without the environment
/// that names their executor; six or more processes each.
constexpr const char* kFamily =
    "sleep 300 & setsid sleep 300 & (setsid bash -c 'setsid sleep 300 & sleep 300' &) ; "
    "(setsid env -i MARK=$MARK /bin/sleep 300 &) ; trap '' TERM HUP INT; wait; sleep 300";
constexpr std::size_t kFamilySize = 6;

/// Forks a client with two executors; it tells who is who and then does `afterwards`.
pid_t fork_client(Pids& pids, const std::function<void(testing::Launched&)>& afterwards) {
  int ends[2];
  if (::pipe(ends) != 0) return -1;
  const pid_t client = ::fork();
  if (client == 0) {
    ::close(ends[0]);
    testing::Launched l;
    l.shell(1, kFamily);
    l.shell(2, kFamily);
    l.report_of(1, launcher::ReportKind::started);
    l.report_of(2, launcher::ReportKind::started);
    Pids mine{l.client.outer_pid(), l.client.inner_pid(), {}};
    l.mark.copy(mine.mark, sizeof mine.mark - 1);
    if (::write(ends[1], &mine, sizeof mine) != sizeof mine) ::_exit(1);
    ::close(ends[1]);
    afterwards(l);
    ::_exit(0);
  }
  ::close(ends[1]);
  const ssize_t got = ::read(ends[0], &pids, sizeof pids);
  ::close(ends[0]);
  EXPECT_EQ(got, static_cast<ssize_t>(sizeof pids));
  return client;
}

bool family_is_there(const Pids& pids) {
  return wait_for([&] {
    return testing::processes_of(std::string("MARK=") + pids.mark).size() >= 2 * kFamilySize;
  });
}

void expect_nothing_left(const Pids& pids) {
  const std::string mark = pids.mark;
  EXPECT_TRUE(wait_for([&] { return testing::processes_of(mark).empty(); }))
      << testing::describe(testing::processes_of(mark));
  EXPECT_TRUE(wait_for([&] { return !testing::exists("/tmp/" + mark); }));
}

class KillMatrix : public ::testing::TestWithParam<Case> {};

TEST_P(KillMatrix, leaves_no_process_and_no_run_directory) {
  const Case& which = GetParam();
  Pids pids{};
  const pid_t client = fork_client(pids, [](testing::Launched& l) {
    while (!l.client.gone()) l.report();  // a launcher that dies is noticed
    ::_exit(42);
  });
  ASSERT_TRUE(family_is_there(pids));
  const auto start = std::chrono::steady_clock::now();
  if (which.client) ::kill(client, SIGKILL);
  if (which.outer) ::kill(pids.outer, SIGKILL);
  if (which.inner) ::kill(pids.inner, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(client, &status, 0), client);
  if (!which.client) {
    EXPECT_EQ(WEXITSTATUS(status), 42);
  }
  expect_nothing_left(pids);
  RecordProperty("milliseconds", std::to_string(std::chrono::duration<double, std::milli>(
                                                    std::chrono::steady_clock::now() - start)
                                                    .count()));
}

INSTANTIATE_TEST_SUITE_P(, KillMatrix,
                         ::testing::Values(Case{"client", true, false, false},
                                           Case{"outer", false, true, false},
                                           Case{"inner", false, false, true},
                                           Case{"client_and_outer", true, true, false},
                                           Case{"client_and_inner", true, false, true}),
                         [](const auto& info) { return info.param.name; });

TEST(ClientEnd, exit_without_close_leaves_nothing) {
  Pids pids{};
  const pid_t client = fork_client(pids, [](testing::Launched&) { ::_exit(0); });
  ASSERT_EQ(::waitpid(client, nullptr, 0), client);
  expect_nothing_left(pids);
}

TEST(ClientEnd, exec_of_another_program_leaves_nothing) {
  Pids pids{};
  const pid_t client = fork_client(pids, [](testing::Launched&) {
    ::execl("/bin/sleep", "sleep", "300", nullptr);
    ::_exit(1);
  });
  expect_nothing_left(pids);
  ::kill(client, SIGKILL);
  ASSERT_EQ(::waitpid(client, nullptr, 0), client);
}

TEST(ClientEnd, forked_copy_of_the_client_does_not_keep_it_alive) {
  Pids pids{};
  int copy_pid[2];
  ASSERT_EQ(::pipe(copy_pid), 0);
  const pid_t client = fork_client(pids, [&](testing::Launched&) {
    const pid_t copy = ::fork();
    if (copy != 0 && ::write(copy_pid[1], &copy, sizeof copy) != sizeof copy) ::_exit(1);
    for (;;) ::pause();
  });
  ASSERT_TRUE(family_is_there(pids));
  pid_t copy = 0;
  ASSERT_EQ(::read(copy_pid[0], &copy, sizeof copy), static_cast<ssize_t>(sizeof copy));
  ::kill(client, SIGKILL);
  ASSERT_EQ(::waitpid(client, nullptr, 0), client);
  expect_nothing_left(pids);
  EXPECT_EQ(::kill(copy, 0), 0);
  ::kill(copy, SIGKILL);
  ::close(copy_pid[0]);
  ::close(copy_pid[1]);
}

TEST(ClientEnd, launcher_that_is_stopped_is_ended_by_its_other_half) {
  Pids pids{};
  const pid_t client = fork_client(pids, [](testing::Launched&) {
    for (;;) ::pause();
  });
  ASSERT_TRUE(family_is_there(pids));
  ::kill(pids.inner, SIGSTOP);
  ::kill(client, SIGKILL);
  ASSERT_EQ(::waitpid(client, nullptr, 0), client);
  expect_nothing_left(pids);
}

/// Not a test but a program: an executor that uses a client of its own.
TEST(DISABLED_Program, nested_client) {
  const char* directory = std::getenv("RAIN_TEST_NESTED");
  if (directory == nullptr) GTEST_SKIP();
  LauncherClient nested(RAIN_LAUNCHER, directory);
  LauncherClient::SpawnRequest request;
  request.key = 1;
  request.argv = {"/bin/sleep", "300"};
  request.env = {std::string("INNER=") + directory};
  request.working_directory = "/";
  request.stdout_path = request.stderr_path = "/dev/null";
  nested.spawn(request);
  for (;;) ::pause();
}

class NestedClient : public ::testing::Test {
 protected:
  void SetUp() override {
    char self[4096] = {};
    ASSERT_GT(::readlink("/proc/self/exe", self, sizeof self - 1), 0);
    auto request = outer_.request(1, {self, "--gtest_also_run_disabled_tests",
                                      "--gtest_filter=DISABLED_Program.nested_client"});
    request.env.push_back("RAIN_TEST_NESTED=" + directory_);
    outer_.client.spawn(request);
    ASSERT_TRUE(wait_for([&] { return testing::processes_of("INNER=" + directory_).size() == 1; }))
        << outer_.out(1);
  }
  void expect_all_gone() {
    EXPECT_TRUE(wait_for([&] { return testing::processes_of(directory_).empty(); }))
        << testing::describe(testing::processes_of(directory_));
    EXPECT_TRUE(wait_for([&] { return !testing::exists(directory_); }));
  }

  testing::Launched outer_;
  const std::string directory_ = make_run_directory("/tmp");
};

TEST_F(NestedClient, leaves_nothing_when_its_executor_is_killed) {
  outer_.client.kill(1);
  EXPECT_EQ(outer_.report_of(1, launcher::ReportKind::exited).kind, launcher::ReportKind::exited);
  expect_all_gone();
}

TEST_F(NestedClient, leaves_nothing_when_everything_ends) {
  outer_.client.close();
  expect_all_gone();
}

}  // namespace
}  // namespace rain::process
