#include "process/death_report.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>

namespace rain::process {
namespace {

using namespace std::chrono_literals;
using launcher::Report;
using launcher::ReportKind;
using launcher::SpawnStep;

constexpr int exit_status(int code) { return code << 8; }

ExecutorDeath crashed(int wait_status) {
  ExecutorDeath death;
  death.executor_type = "imgproc";
  death.executor_id = 3;
  death.phase = ExecutorDeath::Phase::running;
  death.tasks = {"imgproc/resize"};
  death.exit = Report{ReportKind::exited, 3, 812, 0, wait_status, SpawnStep::none, 3'328'599'654u,
                      12'340'000'000u};
  death.stderr_tail = "loading\nassertion failed";
  return death;
}

TEST(DeathReport, crash_in_a_task_says_signal_task_time_memory_and_stderr) {
  const ExecutorDeath death = crashed(SIGSEGV);
  EXPECT_EQ(death_headline(death),
            "Lost connection to executor 'imgproc' (process 812): killed by SIGSEGV "
            "(segmentation fault) while running 'imgproc/resize'");
  EXPECT_EQ(death_details(death),
            "run time 12.3 s, peak memory 3.1 GiB\n"
            "last lines of stderr:\nloading\nassertion failed");
}

TEST(DeathReport, exit_in_a_task_says_that_tasks_must_not) {
  const ExecutorDeath death = crashed(exit_status(0));
  EXPECT_EQ(death_headline(death),
            "Lost connection to executor 'imgproc' (process 812): it ended with exit code: 0 "
            "while running 'imgproc/resize'");
  EXPECT_NE(death_details(death).find("must not end its process"), std::string::npos);
}

TEST(DeathReport, end_before_registration_keeps_rains_phrase) {
  ExecutorDeath death = crashed(exit_status(1));
  death.phase = ExecutorDeath::Phase::starting;
  death.tasks.clear();
  death.stderr_tail.clear();
  EXPECT_EQ(death_headline(death),
            "Executor unexpectedly terminated with exit code: 1 before it registered: executor "
            "'imgproc' (process 812)");
  EXPECT_NE(death_details(death).find("by hand"), std::string::npos);
  EXPECT_NE(death_details(death).find("stderr is empty"), std::string::npos);
}

TEST(DeathReport, governors_own_reason_comes_first_and_its_kill_is_not_guessed_about) {
  ExecutorDeath death = crashed(SIGKILL);
  death.trouble = "registered with invalid type";
  death.phase = ExecutorDeath::Phase::starting;
  EXPECT_EQ(death_headline(death),
            "Executor error: registered with invalid type (executor 'imgproc' (process 812))");
  EXPECT_EQ(death_details(death).find("want of memory"), std::string::npos);
  death.trouble.clear();
  EXPECT_NE(death_details(death).find("want of memory"), std::string::npos);
}

TEST(DeathReport, works_without_the_launchers_report) {
  ExecutorDeath death = crashed(0);
  death.exit.reset();
  death.tasks = {"a/1", "a/2", "a/3", "a/4", "a/5"};
  EXPECT_EQ(death_headline(death),
            "Lost connection to executor 'imgproc': it closed its socket while running 'a/1', "
            "'a/2', 'a/3' and 2 more");
}

TEST(DeathReport, failed_spawn_says_what_to_do) {
  Report report{ReportKind::spawn_failed, 1, 0, ENOENT, 0, SpawnStep::execute, 0, 0};
  EXPECT_EQ(spawn_failure_text(report, "hello", "/run"),
            "Executor command 'hello' failed: \"No such file or directory\"; it is not in the "
            "PATH");
  report.error_number = EACCES;
  EXPECT_NE(spawn_failure_text(report, "/x/hello", "/run").find("chmod +x"), std::string::npos);
  report.failed_step = SpawnStep::working_directory;
  EXPECT_EQ(spawn_failure_text(report, "/x/hello", "/run"),
            "Executor command '/x/hello' failed: cannot enter its working directory '/run': "
            "Permission denied");
}

TEST(DeathReport, names_signals) {
  EXPECT_EQ(signal_text(SIGSEGV), "SIGSEGV (segmentation fault)");
  EXPECT_EQ(signal_text(SIGKILL), "SIGKILL (killed)");
  EXPECT_EQ(signal_text(40), "signal 40");
}

TEST(DeathReport, quantities_are_readable) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1024), "1.0 KiB");
  EXPECT_EQ(bytes_text(812 * 1024), "812 KiB");
  EXPECT_EQ(bytes_text(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(bytes_text(std::uint64_t{5} << 40), "5.0 TiB");
  EXPECT_EQ(duration_text(800us), "0.8 ms");
  EXPECT_EQ(duration_text(12'340ms), "12.3 s");
  EXPECT_EQ(duration_text(125s), "2 min 05 s");
  EXPECT_EQ(duration_text(125min), "2 h 05 min");
}

}  // namespace
}  // namespace rain::process
