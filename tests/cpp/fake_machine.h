#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace tasklib {

/// The files of a machine under a directory of their own: what reads /proc and /sys takes root()
/// before every path. Removed with the test.
class FakeMachine : public testing::Test {
 protected:
  FakeMachine() {
    std::string name = (std::filesystem::temp_directory_path() / "rain-machine-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
  }
  ~FakeMachine() override { std::filesystem::remove_all(root_); }

  const std::string& root() const { return root_; }

  void file(const std::string& path, const std::string& content) {
    const std::filesystem::path whole = root_ + path;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << content;
  }

  void v1(const std::string& controllers, const std::string& cgroup,
          const std::string& mounted = "/") {
    lines_ += "4:" + controllers + ":" + cgroup + "\n";
    mount(mounted, "/sys/fs/cgroup/" + controllers, "cgroup cgroup rw," + controllers);
  }
  void v2(const std::string& cgroup, const std::string& mounted = "/",
          const std::string& at = "/sys/fs/cgroup") {
    lines_ += "0::" + cgroup + "\n";
    mount(mounted, at, "cgroup2 cgroup2 rw,nsdelegate");
  }

 private:
  void mount(const std::string& mounted, const std::string& at, const std::string& rest) {
    mounts_ += "32 31 0:29 " + mounted + " " + at + " rw,nosuid shared:7 master:1 - " + rest + "\n";
    file("/proc/self/cgroup", "1:name=systemd:/init.scope\n" + lines_);
    file("/proc/self/mountinfo", "22 27 0:21 / /proc rw,relatime - proc proc rw\n" + mounts_);
  }

  std::string root_, lines_, mounts_;
};

}  // namespace tasklib
