#include "launcher/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

namespace rain::launcher {
namespace {

/// Calls `entry(name)` for each entry; adds up what it returns.
template <class Entry>
int for_each_entry(int directory, Entry entry) {
  const int fd = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = fd < 0 ? nullptr : ::fdopendir(fd);
  if (stream == nullptr) {
    if (fd >= 0) ::close(fd);
    return 0;
  }
  int sum = 0;
  while (const dirent* e = ::readdir(stream)) {
    if (::strcmp(e->d_name, ".") != 0 && ::strcmp(e->d_name, "..") != 0) sum += entry(e->d_name);
  }
  ::closedir(stream);
  return sum;
}

/// Removes a file. If it is a directory of the file system `device` instead, opens it up for its
/// owner and sets `is_directory`.
bool unlink_file(int parent, const char* name, dev_t device, bool& is_directory) {
  if (::unlinkat(parent, name, 0) == 0) return true;
  struct stat status;
  is_directory = ::fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                 S_ISDIR(status.st_mode) && status.st_dev == device;
  if (is_directory && (status.st_mode & 0700) != 0700) ::fchmodat(parent, name, 0700, 0);
  return false;
}

/// Empties the directory `name` of `top` by one level: its own directories move up into `top`, so
/// that the depth of a tree costs rounds and not descriptors. Returns how much was done.
int flatten(int top, const char* name, dev_t device) {
  const int directory = ::openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory < 0) return 0;
  int done = for_each_entry(directory, [&](const char* entry) {
    bool is_directory = false;
    if (unlink_file(directory, entry, device, is_directory)) return 1;
    if (!is_directory) return 0;
    if (::unlinkat(directory, entry, AT_REMOVEDIR) == 0) return 1;
    static std::atomic<unsigned> counter{0};
    char moved[24];
    ::snprintf(moved, sizeof moved, "~%u", ++counter);
    return ::renameat(directory, entry, top, moved) == 0 ? 1 : 0;
  });
  ::close(directory);
  if (::unlinkat(top, name, AT_REMOVEDIR) == 0) ++done;
  return done;
}

}  // namespace

void remove_tree(const char* path) noexcept {
  if (path == nullptr || path[0] != '/' || path[1] == '\0') return;
  const int top = ::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat status;
  if (top < 0) {
    ::rmdir(path);
    return;
  }
  if (::fstat(top, &status) == 0) {
    ::fchmod(top, 0700);
    int done;
    do {
      done = for_each_entry(top, [&](const char* name) {
        bool is_directory = false;
        if (unlink_file(top, name, status.st_dev, is_directory)) return 1;
        return is_directory ? flatten(top, name, status.st_dev) : 0;
      });
    } while (done > 0);
  }
  ::close(top);
  ::rmdir(path);
}

}  // namespace rain::launcher
