#include "process/launcher_client.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <atomic>
#include <fstream>
#include <set>

#include "base/errors.h"
#include "processes_of.h"

namespace rain::process {
namespace {

using launcher::Report;
using launcher::ReportKind;
using launcher::SpawnStep;
using testing::Launched;
using testing::wait_for;

std::set<std::string> open_descriptors() {
  std::set<std::string> open;
  DIR* directory = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(directory)) open.insert(entry->d_name);
  ::closedir(directory);
  return open;
}

TEST(LauncherClient, reports_pid_exit_code_and_usage) {
  Launched l;
  l.shell(1, "echo $$; exit 7");
  const Report started = l.report_of(1, ReportKind::started);
  const Report exited = l.report_of(1, ReportKind::exited);
  EXPECT_EQ(l.out(1), std::to_string(started.pid) + "\n");
  EXPECT_EQ(exited.pid, started.pid);
  ASSERT_TRUE(WIFEXITED(exited.wait_status));
  EXPECT_EQ(WEXITSTATUS(exited.wait_status), 7);
  EXPECT_GT(exited.peak_rss_bytes, 500'000u);
  EXPECT_GT(exited.run_time_ns, 0u);
}

TEST(LauncherClient, reports_signal) {
  Launched l;
  const Report exited = l.run(1, "kill -SEGV $$");
  ASSERT_TRUE(WIFSIGNALED(exited.wait_status));
  EXPECT_EQ(WTERMSIG(exited.wait_status), SIGSEGV);
}

TEST(LauncherClient, writes_both_logs_and_truncates_old_ones) {
  Launched l;
  auto request = l.request(1, {"/bin/bash", "-c", "echo to out; echo to err >&2; cat"});
  std::ofstream(request.stdout_path) << "from an earlier run, longer than the new content";
  l.client.spawn(request);
  l.report_of(1, ReportKind::exited);  // `cat` ends: stdin is /dev/null
  EXPECT_EQ(l.out(1), "to out\n");
  EXPECT_EQ(l.err(1), "to err\n");
  struct stat status;
  ASSERT_EQ(::stat(request.stderr_path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0077, 0u);
}

TEST(LauncherClient, gives_a_file_as_standard_input_and_says_when_it_cannot) {
  Launched l;
  auto request = l.request(1, {"/bin/cat"});
  request.stdin_path = l.directory + "/input";
  std::ofstream(request.stdin_path) << "from a file";
  l.client.spawn(request);
  l.report_of(1, ReportKind::exited);
  EXPECT_EQ(l.out(1), "from a file");
  request = l.request(2, {"/bin/cat"});
  request.stdin_path = "/nowhere/input";
  l.client.spawn(request);
  const Report report = l.report_of(2, ReportKind::spawn_failed);
  EXPECT_EQ(report.failed_step, SpawnStep::standard_input);
  EXPECT_EQ(report.error_number, ENOENT);
}

TEST(LauncherClient, gives_exactly_the_environment_and_the_directory_asked_for) {
  Launched l;
  auto request = l.request(1, {"/usr/bin/env"});
  request.env = {"A=1", "EMPTY=", "LINES=two\nlines"};
  l.client.spawn(request);
  l.report_of(1, ReportKind::exited);
  EXPECT_EQ(l.out(1), "A=1\nEMPTY=\nLINES=two\nlines\n");
  l.run(2, "pwd");
  EXPECT_EQ(l.out(2), l.paths[2].directory + "\n");
}

TEST(LauncherClient, looks_the_program_up_in_the_path_of_the_given_environment) {
  Launched l;
  const std::string first = l.directory + "/first", second = l.directory + "/second";
  ::mkdir(first.c_str(), 0700);
  ::mkdir(second.c_str(), 0700);
  std::ofstream(first + "/tool") << "#!/bin/sh\necho not executable\n";
  std::ofstream(second + "/tool") << "#!/bin/sh\necho found \"$1\"\n";
  ::chmod((second + "/tool").c_str(), 0700);
  auto request = l.request(1, {"tool", "an argument"});
  request.env = {"PATH=/nowhere::" + first + ":" + second};
  l.client.spawn(request);
  l.report_of(1, ReportKind::exited);
  EXPECT_EQ(l.out(1), "found an argument\n");
}

TEST(LauncherClient, reports_which_step_of_a_spawn_failed) {
  Launched l;
  auto expect_failure = [&](std::uint32_t key, const LauncherClient::SpawnRequest& request,
                            SpawnStep step, int error_number) {
    l.client.spawn(request);
    const Report report = l.report_of(key, ReportKind::spawn_failed);
    EXPECT_EQ(report.failed_step, step);
    EXPECT_EQ(report.error_number, error_number);
  };
  expect_failure(1, l.request(1, {"/nowhere/program"}), SpawnStep::execute, ENOENT);
  expect_failure(2, l.request(2, {"no-such-program"}), SpawnStep::execute, ENOENT);
  expect_failure(3, l.request(3, {"/etc/passwd"}), SpawnStep::execute, EACCES);
  expect_failure(4, l.request(4, {""}), SpawnStep::execute, ENOENT);
  auto request = l.request(5, {"/bin/true"});
  request.working_directory = "/nowhere";
  expect_failure(5, request, SpawnStep::working_directory, ENOENT);
  request = l.request(6, {"/bin/true"});
  request.stderr_path = "/nowhere/log";
  expect_failure(6, request, SpawnStep::standard_error, ENOENT);
  const Report after = l.run(7, "exit 0");
  EXPECT_EQ(after.kind, ReportKind::exited);
}

TEST(LauncherClient, refuses_a_key_that_is_in_use) {
  Launched l;
  l.shell(1, "sleep 300");
  l.report_of(1, ReportKind::started);
  l.shell(1, "exit 0");
  const Report refused = l.report_of(1, ReportKind::spawn_failed);
  EXPECT_EQ(refused.failed_step, SpawnStep::request);
  EXPECT_EQ(refused.error_number, EEXIST);
}

TEST(LauncherClient, refuses_requests_that_are_too_large_or_hold_a_nul) {
  Launched l;
  auto request = l.request(1, {"/bin/true"});
  request.env.assign(4, "X=" + std::string(60'000, 'x'));
  EXPECT_THROW(l.client.spawn(request), tasklib::base::Error);
  request.env = {std::string("A=\0B", 4)};
  EXPECT_THROW(l.client.spawn(request), tasklib::base::Error);
  request.env.assign(1, "X=" + std::string(100'000, 'x'));  // fits
  l.client.spawn(request);
  EXPECT_EQ(l.report_of(1, ReportKind::exited).wait_status, 0);
}

TEST(LauncherClient, ignores_malformed_requests) {
  Launched l;
  for (std::size_t size : {1, 4, 15, 17, 100}) {
    const std::string noise(size, '\x05');
    ASSERT_GT(::send(l.client.fd(), noise.data(), noise.size(), MSG_NOSIGNAL), 0);
  }
  const launcher::Request lie{launcher::RequestKind::spawn, 9, 1000, 1000};
  ASSERT_GT(::send(l.client.fd(), &lie, sizeof lie, MSG_NOSIGNAL), 0);
  EXPECT_EQ(l.report_of(9, ReportKind::spawn_failed).failed_step, SpawnStep::request);
  EXPECT_EQ(l.run(1, "exit 0").wait_status, 0);
}

TEST(LauncherClient, starts_programs_with_default_signals_and_three_descriptors_in_own_session) {
  ::signal(SIGPIPE, SIG_IGN);
  const int leaky = ::open("/dev/null", O_RDONLY);  // without close-on-exec, as user code does
  Launched l;
  l.run(1,
        "grep -E '^(SigBlk|SigIgn)' /proc/self/status; ls /proc/$$/fd; readlink /proc/$$/fd/0; "
        "cut -d' ' -f5,6 /proc/$$/stat; echo $$ $$");
  const std::string out = l.out(1);
  EXPECT_NE(out.find("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"), std::string::npos)
      << out;
  EXPECT_NE(out.find("\n0\n1\n2\n/dev/null\n"), std::string::npos) << out;
  const auto last = out.rfind('\n', out.size() - 2);
  const auto before = out.rfind('\n', last - 1);
  EXPECT_EQ(out.substr(before + 1, last - before - 1), out.substr(last + 1, out.size() - last - 2));
  ::close(leaky);
  ::signal(SIGPIPE, SIG_DFL);
}

TEST(LauncherClient, launcher_inherits_nothing_of_the_client) {
  const int leaky = ::open("/tmp", O_RDONLY | O_DIRECTORY);
  Launched l;
  l.run(1, "exit 0");
  for (pid_t pid : {l.client.outer_pid(), l.client.inner_pid()}) {
    const std::string base = "/proc/" + std::to_string(pid);
    DIR* directory = ::opendir((base + "/fd").c_str());
    ASSERT_NE(directory, nullptr);
    while (const dirent* entry = ::readdir(directory)) {
      if (entry->d_name[0] == '.') continue;
      char target[256];
      const ssize_t n = ::readlink((base + "/fd/" + entry->d_name).c_str(), target, sizeof target);
      const std::string name(target, n > 0 ? static_cast<std::size_t>(n) : 0);
      EXPECT_TRUE(name == "/dev/null" || name.rfind("socket:", 0) == 0 ||
                  name.rfind("anon_inode:", 0) == 0)
          << name;
    }
    ::closedir(directory);
    EXPECT_EQ(testing::read_file(base + "/environ"), "");
  }
  ::close(leaky);
}

std::atomic<int> child_signals{0};

TEST(LauncherClient, is_seen_neither_by_wait_nor_by_a_child_signal_handler) {
  if (::getpid() == 1) GTEST_SKIP() << "orphans come to PID 1";
  struct sigaction count = {}, before;
  count.sa_handler = [](int) { ++child_signals; };
  ::sigaction(SIGCHLD, &count, &before);
  child_signals = 0;
  {
    Launched l;
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
    l.run(1, "exit 3");
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
    EXPECT_EQ(errno, ECHILD);
  }
  EXPECT_EQ(child_signals, 0);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  ::sigaction(SIGCHLD, &before, nullptr);
}

// Neither running nor waiting to be waited for; it waits for none.
bool has_no_child() {
  siginfo_t info = {};
  constexpr int all = WEXITED | WNOHANG | WNOWAIT | __WALL;
  return ::waitid(P_ALL, 0, &info, all) == -1 && errno == ECHILD;
}

TEST(LauncherClient, leaves_no_child_where_orphans_come_to_the_client) {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  {
    Launched l;
    l.shell(1, "sleep 300");
    l.report_of(1, ReportKind::started);
  }
  EXPECT_TRUE(wait_for(has_no_child));
  {
    Launched l;
    l.report_of((l.shell(1, "sleep 300"), 1), ReportKind::started);
    EXPECT_FALSE(l.client.hung_up());
    ::kill(l.client.outer_pid(), SIGKILL);  // the inner one becomes ours then
    EXPECT_TRUE(wait_for([&] { return l.client.hung_up(); }));
    EXPECT_FALSE(l.client.gone());  // which reports tell
    EXPECT_TRUE(wait_for([&] { return l.report() == std::nullopt && l.client.gone(); }));
    EXPECT_TRUE(wait_for([&] { return testing::processes_of(l.mark).empty(); }));
  }
  EXPECT_TRUE(wait_for(has_no_child));  // what was killed there may be about to end
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

TEST(LauncherClient, keeps_every_report_of_200_pipelined_spawns) {
  Launched l;
  constexpr std::uint32_t kCount = 200;
  for (std::uint32_t key = 1; key <= kCount; ++key)
    l.shell(key, "exit $((" + std::to_string(key) + " % 100))");
  std::set<std::uint32_t> started, exited;
  while (exited.size() < kCount) {
    const auto report = l.report();
    ASSERT_TRUE(report.has_value());
    if (report->kind == ReportKind::started) {
      EXPECT_TRUE(started.insert(report->key).second);
    } else {
      ASSERT_EQ(report->kind, ReportKind::exited);
      EXPECT_EQ(started.count(report->key), 1u);
      EXPECT_TRUE(exited.insert(report->key).second);
      EXPECT_EQ(WEXITSTATUS(report->wait_status), static_cast<int>(report->key % 100));
    }
  }
}

TEST(LauncherClient, kill_ends_the_process_and_what_moved_to_other_sessions) {
  Launched l;
  l.shell(1,
          "sleep 300 & setsid sleep 300 & (setsid bash -c 'setsid sleep 300 & sleep 300' &) ; "
          "echo ready; wait; sleep 300");
  ASSERT_TRUE(wait_for([&] { return testing::processes_of("MARK=" + l.mark).size() >= 5; }));
  l.client.kill(1);
  const Report exited = l.report_of(1, ReportKind::exited);
  ASSERT_TRUE(WIFSIGNALED(exited.wait_status));
  EXPECT_EQ(WTERMSIG(exited.wait_status), SIGKILL);
  const auto left = testing::processes_of("MARK=" + l.mark);
  EXPECT_TRUE(left.empty()) << testing::describe(left);
}

TEST(LauncherClient, what_an_exited_process_left_is_gone_before_its_report) {
  Launched l;
  for (std::uint32_t key = 1; key <= 10; ++key) {
    const Report exited =
        l.run(key, "sleep 300 & setsid sleep 300 & (setsid bash -c 'setsid sleep 300 & wait' &)");
    EXPECT_EQ(exited.wait_status, 0);
    const auto left = testing::processes_of(l.paths[key].socket_path);
    EXPECT_TRUE(left.empty()) << testing::describe(left);
  }
}

TEST(LauncherClient, leaves_orphans_of_a_living_process_alone) {
  Launched l;
  l.shell(1, "(setsid sleep 301 &); read -t 300 < <(sleep 300)");
  ASSERT_TRUE(wait_for([&] { return testing::processes_of(l.paths[1].socket_path).size() >= 3; }));
  const auto before = testing::processes_of(l.paths[1].socket_path);
  l.run(2, "(setsid sleep 300 &)");
  EXPECT_EQ(testing::processes_of(l.paths[1].socket_path), before);
  l.client.kill(1);
  l.report_of(1, ReportKind::exited);
  EXPECT_TRUE(testing::processes_of(l.paths[1].socket_path).empty());
}

TEST(LauncherClient, kill_of_an_unknown_key_changes_nothing) {
  Launched l;
  l.client.kill(77);
  EXPECT_EQ(l.run(1, "exit 0").wait_status, 0);
  l.client.kill(1);
  EXPECT_EQ(l.run(2, "exit 0").wait_status, 0);
}

TEST(LauncherClient, close_ends_everything_and_removes_the_run_directory) {
  const auto before = open_descriptors();
  {
    Launched l;
    l.shell(1, "mkdir -p a/b/c; chmod 0 a; (setsid env -i MARK=$MARK sleep 300 &); sleep 300");
    ASSERT_TRUE(wait_for([&] { return testing::processes_of("MARK=" + l.mark).size() >= 2; }));
    ASSERT_TRUE(wait_for([&] { return testing::exists(l.paths[1].directory + "/a"); }));
    l.client.close();
    EXPECT_TRUE(l.client.gone());
    const auto left = testing::processes_of(l.mark);
    EXPECT_TRUE(left.empty()) << testing::describe(left);
    EXPECT_FALSE(testing::exists(l.directory));
    l.client.close();
    EXPECT_THROW(l.client.kill(1), tasklib::base::SystemError);
    EXPECT_FALSE(l.client.next_report().has_value());
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(LauncherClient, close_works_where_a_forked_copy_holds_the_socket) {
  Launched l;
  l.shell(1, "sleep 300");
  l.report_of(1, ReportKind::started);
  const pid_t copy = ::fork();
  if (copy == 0) {
    ::pause();
    ::_exit(0);
  }
  l.client.close();
  const auto left = testing::processes_of("MARK=" + l.mark);
  EXPECT_TRUE(left.empty()) << testing::describe(left);
  ::kill(copy, SIGKILL);
  ::waitpid(copy, nullptr, 0);
}

TEST(LauncherClient, a_forked_copy_that_abandons_or_closes_it_disturbs_nothing) {
  Launched l;
  for (const bool abandon : {true, false}) {
    const pid_t copy = ::fork();
    if (copy == 0) {
      abandon ? l.client.abandon_after_fork() : l.client.close();
      ::_exit(l.client.gone() ? 0 : 1);
    }
    int status = -1;
    ::waitpid(copy, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(l.run(1, "exit 0").wait_status, 0);
}

TEST(LauncherClient, says_which_program_could_not_be_started) {
  const auto before = open_descriptors();
  const std::string directory = make_run_directory("/tmp");
  try {
    LauncherClient client("/nowhere/rain-launcher", directory);
    FAIL();
  } catch (const tasklib::base::SystemError& error) {
    EXPECT_EQ(error.error_number(), ENOENT);
    EXPECT_STREQ(error.what(), "execve(/nowhere/rain-launcher): No such file or directory");
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  EXPECT_THROW(LauncherClient(RAIN_LAUNCHER, "relative"), tasklib::base::Error);
  EXPECT_THROW(LauncherClient(RAIN_LAUNCHER, "/"), tasklib::base::Error);
  std::string command = "rm -r " + directory;
  EXPECT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace rain::process
