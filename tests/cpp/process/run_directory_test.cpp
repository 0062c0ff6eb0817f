#include "process/run_directory.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "base/errors.h"
#include "launcher/remove_tree.h"

namespace rain::process {
namespace {

bool exists(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0;
}

class RunDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/run-directory-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    place_ = name;
  }
  void TearDown() override { launcher::remove_tree(place_.c_str()); }
  std::string place_;
};

/// Sets an environment variable (null: unsets) as long as it lives.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST_F(RunDirectory, is_private_and_unique_and_absolute) {
  const std::string a = make_run_directory(place_), b = make_run_directory(place_);
  EXPECT_NE(a, b);
  EXPECT_EQ(a.rfind(place_ + "/rain-", 0), 0u);
  struct stat status;
  ASSERT_EQ(::stat(a.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  ASSERT_EQ(::chdir(place_.c_str()), 0);
  EXPECT_EQ(make_run_directory(".")[0], '/');
  ASSERT_EQ(::chdir("/"), 0);
}

TEST_F(RunDirectory, executor_paths_are_short_and_lie_inside) {
  const std::string run = make_run_directory("/tmp");
  const ExecutorPaths paths = make_executor_paths(run, 4'000'000'000u);
  const ExecutorPaths again = make_executor_paths(run, 4'000'000'000u);
  EXPECT_TRUE(exists(paths.directory));
  EXPECT_NE(paths.directory, again.directory);
  EXPECT_EQ(paths.socket_path, paths.directory + "/socket");
  EXPECT_LE(paths.socket_path.size(), kMaxSocketPathBytes);
  EXPECT_EQ(paths.stderr_path, run + "/executors/executor-4000000000.err");
  std::ofstream(paths.stdout_path) << "x";
  EXPECT_TRUE(exists(paths.stdout_path));
  launcher::remove_tree(run.c_str());
  EXPECT_FALSE(exists(run));
}

TEST_F(RunDirectory, goes_to_the_runtime_directory_else_to_tmpdir_else_to_tmp) {
  const std::string missing = place_ + "/missing";
  {
    Variable runtime("XDG_RUNTIME_DIR", place_.c_str()), temporary("TMPDIR", "/var/tmp");
    EXPECT_EQ(default_run_directory_parent(), place_);
  }
  {
    Variable runtime("XDG_RUNTIME_DIR", missing.c_str()), temporary("TMPDIR", "/var/tmp");
    EXPECT_EQ(default_run_directory_parent(), "/var/tmp");
  }
  {
    Variable runtime("XDG_RUNTIME_DIR", "relative"), temporary("TMPDIR", nullptr);
    EXPECT_EQ(default_run_directory_parent(), "/tmp");
  }
}

TEST_F(RunDirectory, says_which_parent_is_missing_and_what_to_do) {
  try {
    make_run_directory(place_ + "/missing");
    FAIL();
  } catch (const tasklib::base::SystemError& error) {
    EXPECT_EQ(error.error_number(), ENOENT);
    EXPECT_EQ(std::string(error.what()),
              "cannot make a run directory: realpath(" + place_ +
                  "/missing): No such file or directory; name another place by the environment "
                  "variable TMPDIR or by Client(run_directory=...)");
  }
}

TEST_F(RunDirectory, refuses_a_full_file_system_and_a_read_only_one_and_leaves_nothing) {
  const std::string mount = place_ + "/mount";
  ASSERT_EQ(::mkdir(mount.c_str(), 0700), 0);
  if (::mount("tmpfs", mount.c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "mounting needs root";
  }
  {
    std::ofstream filler(mount + "/filler", std::ios::binary);
    const std::string block(65'536, 'f');
    while (filler << block << std::flush) {
    }
  }
  auto error_number = [&] {
    try {
      make_run_directory(mount);
    } catch (const tasklib::base::SystemError& error) {
      EXPECT_NE(std::string(error.what()).find(mount + "/rain-"), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("TMPDIR"), std::string::npos);
      return error.error_number();
    }
    return 0;
  };
  EXPECT_EQ(error_number(), ENOSPC);
  EXPECT_EQ(::unlink((mount + "/filler").c_str()), 0);
  EXPECT_EQ(::mount("tmpfs", mount.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=4m"), 0);
  EXPECT_EQ(error_number(), EROFS);
  EXPECT_EQ(::mount("tmpfs", mount.c_str(), "tmpfs", MS_REMOUNT, "size=4m"), 0);
  EXPECT_EQ(::rmdir((mount + "/x").c_str()), -1);
  EXPECT_EQ(::umount(mount.c_str()), 0);
  EXPECT_EQ(::rmdir(mount.c_str()), 0);
}

TEST_F(RunDirectory, removal_follows_no_link_and_opens_what_is_closed) {
  const std::string tree = place_ + "/tree", outside = place_ + "/outside";
  ASSERT_EQ(::mkdir(outside.c_str(), 0700), 0);
  std::ofstream(outside + "/kept") << "x";
  ASSERT_EQ(::mkdir(tree.c_str(), 0700), 0);
  ASSERT_EQ(::mkdir((tree + "/closed").c_str(), 0700), 0);
  std::ofstream(tree + "/closed/file") << "x";
  ASSERT_EQ(::symlink(outside.c_str(), (tree + "/closed/link").c_str()), 0);
  ASSERT_EQ(::symlink(outside.c_str(), (tree + "/link").c_str()), 0);
  ASSERT_EQ(::chmod((tree + "/closed").c_str(), 0), 0);
  launcher::remove_tree(tree.c_str());
  EXPECT_FALSE(exists(tree));
  EXPECT_TRUE(exists(outside + "/kept"));
  const std::string link = place_ + "/link-to-outside";
  ASSERT_EQ(::symlink(outside.c_str(), link.c_str()), 0);
  launcher::remove_tree(link.c_str());
  EXPECT_TRUE(exists(outside + "/kept"));
}

TEST_F(RunDirectory, removal_needs_few_descriptors_for_a_deep_tree) {
  const std::string tree = place_ + "/deep";
  ASSERT_EQ(::mkdir(tree.c_str(), 0700), 0);
  ASSERT_EQ(::chdir(tree.c_str()), 0);
  rlimit before, few{32, 32};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  few.rlim_max = before.rlim_max;
  for (int i = 0; i < 100; ++i) {
    std::ofstream("file") << i;
    ASSERT_EQ(::mkdir("directory", 0700), 0);
    ASSERT_EQ(::chdir("directory"), 0);
  }
  ASSERT_EQ(::chdir("/"), 0);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  launcher::remove_tree(tree.c_str());
  EXPECT_FALSE(exists(tree));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(RunDirectory, removal_of_many_files_and_directories) {
  const std::string tree = place_ + "/wide";
  ASSERT_EQ(::mkdir(tree.c_str(), 0700), 0);
  for (int i = 0; i < 60; ++i) {
    const std::string directory = tree + "/" + std::to_string(i);
    ASSERT_EQ(::mkdir(directory.c_str(), 0700), 0);
    ASSERT_EQ(::mkdir((directory + "/~1").c_str(), 0700), 0);  // the name that removal uses
    for (int j = 0; j < 5; ++j) std::ofstream(directory + "/~1/" + std::to_string(j)) << j;
  }
  launcher::remove_tree(tree.c_str());
  EXPECT_FALSE(exists(tree));
}

}  // namespace
}  // namespace rain::process
