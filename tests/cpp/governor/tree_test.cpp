#include "builtin/tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/errors.h"
#include "launcher/remove_tree.h"

namespace rain::builtin {
namespace {

namespace fs = std::filesystem;
using tasklib::base::Error;

mode_t mode_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

ino_t inode_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_ino;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t count_of_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

class Tree : public testing::Test {
 protected:
  Tree() {
    char pattern[] = "/tmp/rain-tree-XXXXXX";
    place = fs::canonical(::mkdtemp(pattern));
    source = place / "source";
    target = place / "target";
    fs::create_directory(source);
    descriptors_ = count_of_descriptors();
  }
  ~Tree() override {
    launcher::remove_tree(place.c_str());
    EXPECT_EQ(count_of_descriptors(), descriptors_);
  }

  void write(const fs::path& path, const std::string& content, mode_t mode = 0644) {
    std::ofstream(path, std::ios::binary) << content;
    ::chmod(path.c_str(), mode);
  }
  TreeSize copy() { return copy_tree(source, target); }
  /// The text of the error; the target must be gone.
  std::string refusal() {
    try {
      copy();
    } catch (const Error& error) {
      EXPECT_FALSE(fs::exists(fs::symlink_status(target)));
      return error.what();
    }
    ADD_FAILURE() << "was copied";
    return "";
  }

  fs::path place, source, target;

 private:
  std::size_t descriptors_;
};

TEST_F(Tree, copy_keeps_content_x_bits_and_empty_ones_and_takes_write_bits) {
  write(source / "text", "hello");
  write(source / "tool", "#!/bin/sh\n", 0755);
  write(source / "empty", "");
  fs::create_directories(source / "a" / "b");
  fs::create_directory(source / "nothing");
  write(source / "a" / "b" / "deep", std::string(3 << 20, 'x'));

  const TreeSize size = copy();

  EXPECT_EQ(size.files, 4u);
  EXPECT_EQ(size.bytes, 5u + 10 + (3 << 20));
  EXPECT_EQ(read(target / "text"), "hello");
  EXPECT_EQ(read(target / "a" / "b" / "deep"), std::string(3 << 20, 'x'));
  EXPECT_EQ(mode_of(target / "text"), 0444u);
  EXPECT_EQ(mode_of(target / "tool"), 0555u);
  EXPECT_EQ(mode_of(target / "a"), 0555u);
  EXPECT_EQ(fs::file_size(target / "empty"), 0u);
  EXPECT_TRUE(fs::is_empty(target / "nothing"));
}

TEST_F(Tree, writable_copy_of_a_read_only_tree_can_be_changed) {
  fs::create_directory(source / "d");
  write(source / "d" / "f", "1");
  copy();
  const fs::path mine = place / "mine";
  copy_tree(target, mine, Copy::writable);
  EXPECT_EQ(mode_of(mine / "d") & 0700, 0700u);
  EXPECT_EQ(mode_of(mine / "d" / "f") & 0600, 0600u);
  write(mine / "d" / "f", "2");
  EXPECT_EQ(read(target / "d" / "f"), "1");
}

TEST_F(Tree, names_are_bytes) {
  const std::string longest(255, 'n');
  const std::vector<std::string> names = {
      "new\nline", "\xff\xfe", "\xc3\xa9t\xc3\xa9", longest, " ", "-rf", "...", "\\"};
  for (const auto& name : names) write(source / name, name);
  copy();
  for (const auto& name : names) EXPECT_EQ(read(target / name), name);
}

TEST_F(Tree, copies_itself_behind_a_link_and_an_empty_directory) {
  fs::create_directory_symlink(source, place / "link");
  EXPECT_EQ(copy_tree(place / "link", target).files, 0u);
  EXPECT_TRUE(fs::is_directory(fs::symlink_status(target)));
  EXPECT_TRUE(fs::is_empty(target));
}

TEST_F(Tree, links_that_stay_inside_are_kept) {
  fs::create_directories(source / "a" / "b");
  write(source / "file", "x");
  fs::create_symlink("../../file", source / "a" / "b" / "up");
  fs::create_symlink("b", source / "a" / "directory");
  fs::create_symlink("directory/up", source / "a" / "through");
  fs::create_symlink("gone", source / "to_nothing");
  fs::create_symlink("loop", source / "loop");
  fs::create_symlink(".", source / "self");
  copy();
  EXPECT_EQ(fs::read_symlink(target / "a" / "b" / "up"), "../../file");
  EXPECT_EQ(read(target / "a" / "through"), "x");
  EXPECT_EQ(fs::read_symlink(target / "to_nothing"), "gone");
  EXPECT_EQ(fs::read_symlink(target / "loop"), "loop");
}

TEST_F(Tree, links_that_lead_outside_are_refused_by_name) {
  fs::create_directories(source / "a" / "b");
  const fs::path link = source / "a" / "bad";
  for (const char* to : {"/etc", "../../x", "b/../../../x", "..//./../source/a", "/"}) {
    fs::create_symlink(to, link);
    EXPECT_EQ(refusal(), "'" + link.string() + "' is a symbolic link to '" + to +
                             "': in a directory that is data a link must be relative and stay "
                             "inside of it");
    fs::remove(link);
  }
}

TEST_F(Tree, link_that_leads_outside_only_through_another_is_refused) {
  fs::create_directories(source / "a" / "b");
  fs::create_symlink("../..", source / "a" / "b" / "top");  // inside: the top itself
  fs::create_symlink("a/b/top/..", source / "out");         // as written: a/b
  EXPECT_NE(refusal().find("/source/out' is a symbolic link to 'a/b/top/..'"), std::string::npos);
}

TEST_F(Tree, special_files_are_refused_by_name_and_never_waited_for) {
  ASSERT_EQ(::mkfifo((source / "pipe").c_str(), 0600), 0);
  EXPECT_NE(refusal().find("/source/pipe' is a fifo"), std::string::npos);
  fs::remove(source / "pipe");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{AF_UNIX, {}};
  (source / "sock").string().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  EXPECT_NE(refusal().find("/source/sock' is a socket"), std::string::npos);
}

TEST_F(Tree, source_that_is_missing_or_a_file_is_named) {
  write(place / "file", "");
  for (const char* name : {"missing", "file"}) {
    try {
      copy_tree(place / name, target);
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find((place / name).string()), std::string::npos);
    }
  }
}

TEST_F(Tree, a_tree_is_not_copied_into_itself) {
  target = source / "inner";
  EXPECT_NE(refusal().find("it contains the place where Rain keeps its data"), std::string::npos);
}

TEST_F(Tree, depth_costs_no_descriptors_and_no_stack) {
  constexpr int kDepth = 3000;  // far beyond PATH_MAX
  {
    int at = ::open(source.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < kDepth; ++i) {
      ASSERT_EQ(::mkdirat(at, "dd", 0700), 0);
      const int next = ::openat(at, "dd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      ::close(at);
      at = next;
    }
    const int file = ::openat(at, "leaf", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_EQ(::write(file, "leaf", 4), 4);
    ::close(file);
    ::close(at);
  }
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit few{count_of_descriptors() + 16, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &few);
  const TreeSize size = copy();
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(size.files, 1u);
  EXPECT_EQ(size.bytes, 4u);
}

TEST_F(Tree, many_files_are_copied_and_removed) {
  constexpr int kFiles = 10'000, kDirectories = 50;
  for (int d = 0; d < kDirectories; ++d) {
    const fs::path directory = source / std::to_string(d);
    fs::create_directory(directory);
    for (int i = 0; i < kFiles / kDirectories; ++i) {
      const int fd =
          ::open((directory / std::to_string(i)).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
      ASSERT_EQ(::write(fd, "x", 1), 1);
      ::close(fd);
    }
  }
  EXPECT_EQ(copy().files, static_cast<std::uint64_t>(kFiles));
  launcher::remove_tree(target.c_str());  // which is read-only
  EXPECT_FALSE(fs::exists(target));
}

TEST_F(Tree, whatever_changes_during_a_copy_is_an_error_or_a_true_copy) {
  // Beside the tree lies what must never get into a copy.
  fs::create_directory(place / "secret");
  write(place / "secret" / "file", "secret");
  for (int i = 0; i < 20; ++i) write(source / ("f" + std::to_string(i)), "fine");
  fs::create_directory(source / "d");
  write(source / "d" / "file", "fine");
  write(source / "z", "fine");
  std::atomic<bool> stop{false};
  std::thread other([&] {
    const fs::path d = source / "d", z = source / "z";
    while (!stop) {
      std::error_code ignored;
      fs::rename(d, source / "d2", ignored);
      fs::create_symlink("../secret", d, ignored);
      fs::remove(z, ignored);
      fs::create_symlink("../secret/file", z, ignored);
      fs::remove(d, ignored);
      fs::rename(source / "d2", d, ignored);
      fs::remove(z, ignored);
      write(z, "fine");
    }
  });
  int copied = 0, refused = 0;
  for (int i = 0; i < 3000 && (copied == 0 || refused < 20); ++i) {
    try {
      copy();
      ++copied;
      for (const auto& entry : fs::recursive_directory_iterator(target)) {
        ASSERT_FALSE(entry.is_symlink() && fs::read_symlink(entry).string()[0] == '.') << entry;
        ASSERT_FALSE(entry.is_regular_file() && read(entry) == "secret") << entry;
      }
    } catch (const Error&) {
      ++refused;
    }
    launcher::remove_tree(target.c_str());
  }
  stop = true;
  other.join();
  EXPECT_GT(refused, 0);
}

TEST_F(Tree, file_that_grows_during_a_copy_is_an_error_that_names_it) {
  write(source / "log", "");
  std::atomic<bool> stop{false};
  std::thread other([&] {
    std::ofstream log(source / "log", std::ios::app);
    while (!stop) log << std::string(1000, 'x') << std::flush;
  });
  std::string text;
  for (int i = 0; i < 10'000 && text.empty(); ++i) {
    try {
      copy();
    } catch (const Error& error) {
      text = error.what();
    }
    launcher::remove_tree(target.c_str());
  }
  stop = true;
  other.join();
  EXPECT_EQ(text, "'" + (source / "log").string() +
                      "' changed or vanished while it was read; it must be left alone until it is "
                      "copied");
}

TEST_F(Tree, copy_file_copies_modes_and_refuses_what_is_no_file) {
  write(source / "tool", "x", 0750);
  EXPECT_EQ(builtin::copy_file(source / "tool", target), 1u);
  EXPECT_EQ(mode_of(target), 0554u);
  builtin::copy_file(target, place / "mine", Copy::writable);
  EXPECT_EQ(mode_of(place / "mine") & 0700, 0700u);
  ASSERT_EQ(::mkfifo((source / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(builtin::copy_file(source / "pipe", place / "other"), Error);
  EXPECT_THROW(builtin::copy_file(source, place / "other"), Error);
  EXPECT_THROW(builtin::copy_file(source / "tool", target), Error);  // occupied: left alone
  EXPECT_EQ(read(target), "x");
}

TEST_F(Tree, adopt_makes_a_tree_data_where_it_is) {
  const fs::path data = place / "data";
  fs::create_directory(data);
  fs::create_directory(source / "d");
  write(source / "d" / "f", "12345", 0700);
  fs::create_symlink("d/f", source / "l");
  const ino_t inode = inode_of(source / "d" / "f");

  const TreeSize size = adopt(source, data / "1", data);

  EXPECT_EQ(size.bytes, 5u);
  EXPECT_FALSE(fs::exists(source));
  EXPECT_EQ(inode_of(data / "1" / "d" / "f"), inode);
  EXPECT_EQ(mode_of(data / "1" / "d" / "f"), 0500u);
  EXPECT_EQ(mode_of(data / "1"), 0555u);
}

TEST_F(Tree, adopt_replaces_links_to_data_by_what_they_lead_to) {
  const fs::path data = place / "data";
  fs::create_directory(data);
  write(data / "7", "seven", 0444);
  fs::create_directories(data / "8" / "d");
  write(data / "8" / "d" / "f", "eight", 0444);
  fs::create_directory(source / "sub");
  fs::create_symlink(data / "7", source / "sub" / "file");
  fs::create_symlink(data / "8", source / "directory");

  EXPECT_EQ(adopt(source, data / "9", data).bytes, 10u);

  fs::remove(data / "7");
  launcher::remove_tree((data / "8").c_str());
  EXPECT_EQ(read(data / "9" / "sub" / "file"), "seven");
  EXPECT_EQ(read(data / "9" / "directory" / "d" / "f"), "eight");
  EXPECT_EQ(mode_of(data / "9" / "sub"), 0555u);
}

TEST_F(Tree, adopt_refuses_links_that_lead_outside_and_leaves_nothing) {
  const fs::path data = place / "data";
  fs::create_directory(data);
  fs::create_symlink("/etc", source / "bad");
  EXPECT_THROW(adopt(source, data / "1", data), Error);
  EXPECT_TRUE(fs::is_empty(data));
  fs::remove(source / "bad");
  fs::create_symlink(data / ".." / "secret", source / "bad");
  write(place / "secret", "s");
  EXPECT_THROW(adopt(source, data / "1", data), Error);
  EXPECT_TRUE(fs::is_empty(data));
}

TEST_F(Tree, adopt_leaves_the_other_names_of_a_file_alone) {
  const fs::path data = place / "data";
  fs::create_directory(data);
  write(place / "precious", "1", 0644);
  fs::create_hard_link(place / "precious", source / "f");
  fs::create_hard_link(place / "precious", place / "g");
  adopt(source, data / "1", data);
  adopt(place / "g", data / "2", data);
  write(place / "precious", "2");
  EXPECT_EQ(mode_of(place / "precious"), 0644u);
  EXPECT_EQ(read(data / "1" / "f"), "1");
  EXPECT_EQ(read(data / "2"), "1");
}

TEST_F(Tree, relative_paths_are_checked) {
  EXPECT_NO_THROW(check_relative("a/b"));
  EXPECT_NO_THROW(check_relative("./a..b/..."));
  const auto text = [](const std::string& path) {
    try {
      check_relative(path);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(text("/etc"), "Path '/etc' is not relative");
  EXPECT_EQ(text(""), "Path '' is not relative");
  EXPECT_EQ(text("a/../../b"),
            "Path 'a/../../b' contains '..': it must name something inside the directory");
  EXPECT_NE(text(std::string("a\0b", 3)), "");
}

TEST_F(Tree, resolve_inside_follows_links_and_stays) {
  fs::create_directory(source / "d");
  write(source / "d" / "f", "x");
  fs::create_symlink("d/f", source / "l");
  fs::create_symlink("/etc", source / "out");
  EXPECT_EQ(resolve_inside(source, "l"), (source / "d" / "f").string());
  EXPECT_EQ(resolve_inside(source, "d/"), (source / "d").string());
  EXPECT_EQ(resolve_inside(source, "gone"), std::nullopt);
  EXPECT_EQ(resolve_inside(source, "d/f/x"), std::nullopt);
  EXPECT_THROW(resolve_inside(source, "out"), Error);
  EXPECT_THROW(resolve_inside(source, "out/passwd"), Error);
  EXPECT_THROW(resolve_inside(source, "../target"), Error);
}

TEST_F(Tree, printable_shows_text_and_escapes_the_rest) {
  EXPECT_EQ(printable("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
            "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(printable("a\n\xff\xc3"), "a\\x0a\\xff\\xc3");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
}

}  // namespace
}  // namespace rain::builtin
