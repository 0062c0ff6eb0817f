#include "builtin/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/syscall.h"
#include "base/unique_fd.h"
#include "launcher/remove_tree.h"

namespace rain::builtin {
namespace {

using tasklib::base::Error;
using tasklib::base::retry_interrupted;
using tasklib::base::SystemError;
using tasklib::base::UniqueFd;

constexpr int kFollowedLinks = 40;  // as the kernel
constexpr std::size_t kChunkBytes = 64 * 1024;
constexpr std::size_t kRangeBytes = 16 << 20;  // between two looks at a stop flag

void check(const StopFlag* stop) {
  if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw Stopped{};
}

template <class Call>
auto checked(const char* name, const std::string& path, Call&& call) -> decltype(call()) {
  auto result = retry_interrupted(call);
  if (result == -1) throw SystemError(name, printable(path), errno);
  return result;
}

bool is_inside(const std::string& path, const std::string& directory) {
  return path.size() > directory.size() && path.compare(0, directory.size(), directory) == 0 &&
         path[directory.size()] == '/';
}

std::optional<std::string> canonical(const std::string& path) {
  const std::unique_ptr<char, decltype(&::free)> resolved(::realpath(path.c_str(), nullptr),
                                                          ::free);
  if (resolved) return std::string(resolved.get());
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  throw SystemError("realpath", printable(path), errno);
}

/// The symbolic links of a tree: path in the tree -> what it says.
using Links = std::unordered_map<std::string, std::string>;

/// Whether the way from the directory `from` (in the tree) by `target` leaves the tree. With
/// `links`, those on the way are followed.
bool leaves(const Links* links, const std::string& from, const std::string& target) {
  std::vector<std::string> ahead = path_components(target);  // the next one last
  std::reverse(ahead.begin(), ahead.end());
  std::string at = from;  // without a slash at either end
  for (int followed = 0; !ahead.empty();) {
    const std::string component = std::move(ahead.back());
    ahead.pop_back();
    if (component == "..") {
      if (at.empty()) return true;
      const std::size_t slash = at.rfind('/');
      at.resize(slash == std::string::npos ? 0 : slash);
      continue;
    }
    const std::string next = at.empty() ? component : at + "/" + component;
    if (links != nullptr) {
      const auto found = links->find(next);
      if (found != links->end()) {
        if (++followed > kFollowedLinks) return false;  // a loop: it leads nowhere
        const auto more = path_components(found->second);
        ahead.insert(ahead.end(), more.rbegin(), more.rend());
        continue;
      }
    }
    at = next;
  }
  return false;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool unchanged(const struct stat& before, const struct stat& now) {
  return same_file(before, now) && before.st_size == now.st_size &&
         same_time(before.st_mtim, now.st_mtim);
}

Error changed_error(const std::string& path) {
  return Error("'" + printable(path) +
               "' changed or vanished while it was read; it must be left alone until it is copied");
}

std::string kind_name(mode_t mode) {
  if (S_ISFIFO(mode)) return "a fifo";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "neither file, directory nor link";
}

/// A regular file opened for reading, never waiting for anybody.
UniqueFd open_regular(int directory, const char* name, const std::string& path,
                      struct stat& status) {
  UniqueFd fd(retry_interrupted([&] {
    return ::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  }));
  if (!fd) {
    if (errno == ENOENT || errno == ELOOP || errno == ENXIO) throw changed_error(path);
    throw SystemError("open", printable(path), errno);
  }
  checked("fstat", path, [&] { return ::fstat(fd.get(), &status); });
  return fd;
}

/// Copies an open file and sees that it held still.
std::uint64_t copy_open_file(int source, const struct stat& before, const std::string& path,
                             int target_directory, const char* target_name,
                             const std::string& target_path, Copy mode, const StopFlag* stop) {
  const mode_t executable = before.st_mode & 0111;
  const mode_t bits = mode == Copy::writable ? 0666 | executable : 0400;
  const UniqueFd target(checked("open", target_path, [&] {
    return ::openat(target_directory, target_name,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, bits);
  }));
  const std::uint64_t copied = copy_bytes(source, path, target.get(), target_path, stop);
  struct stat after;
  checked("fstat", path, [&] { return ::fstat(source, &after); });
  // Files like those in /proc say that they are empty.
  const bool complete = copied == static_cast<std::uint64_t>(before.st_size) || before.st_size == 0;
  if (!complete || !unchanged(before, after)) throw changed_error(path);
  if (mode != Copy::writable) {
    checked("fchmod", target_path, [&] { return ::fchmod(target.get(), 0444 | executable); });
  }
  return copied;
}

std::string read_link(int directory, const char* name, const std::string& path) {
  char target[4096];
  const ssize_t size = ::readlinkat(directory, name, target, sizeof target);
  if (size < 0) {
    if (errno == EINVAL || errno == ENOENT) throw changed_error(path);
    throw SystemError("readlink", printable(path), errno);
  }
  if (size == sizeof target) throw SystemError("readlink", printable(path), ENAMETOOLONG);
  return std::string(target, static_cast<std::size_t>(size));
}

/// One pass over a tree, depth first. It stands in one directory at a time and goes up by "..", so
/// that it needs a descriptor for each tree and no recursion.
class Pass {
 public:
  /// Copies to a second tree: `target` is open and empty.
  Pass(std::string source_path, UniqueFd source, std::string target_path, UniqueFd target,
       Copy mode, const StopFlag* stop)
      : source_path_(std::move(source_path)),
        target_path_(std::move(target_path)),
        mode_(mode),
        stop_(stop),
        source_(std::move(source)),
        target_(std::move(target)) {
    checked("fstat", target_path_, [&] { return ::fstat(target_.get(), &target_top_); });
  }
  /// Makes the tree data where it is.
  Pass(std::string path, UniqueFd directory, std::string data_directory)
      : source_path_(std::move(path)),
        data_directory_(std::move(data_directory)),
        source_(std::move(directory)) {}

  TreeSize run() {
    enter("");
    while (true) {
      Level& level = levels_.back();
      if (!level.directories.empty()) {
        const std::string name = std::move(level.directories.back());
        level.directories.pop_back();
        descend(name);
        continue;
      }
      leave();
      if (levels_.empty()) break;
    }
    check_links();
    replace_links();
    return size_;
  }

 private:
  struct Level {
    std::string path;                      // in the tree; empty: the top
    struct stat source, target;            // to find back, and to see changes
    std::vector<std::string> directories;  // still to visit
  };

  bool copies() const { return static_cast<bool>(target_); }
  std::string path_of(const std::string& inside) const {
    return inside.empty() ? source_path_ : source_path_ + "/" + inside;
  }
  std::string target_path_of(const std::string& inside) const {
    return inside.empty() ? target_path_ : target_path_ + "/" + inside;
  }
  static std::string join(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
  }

  /// Does the files of the directory that source_ and target_ are open on.
  void enter(const std::string& inside) {
    Level level;
    level.path = inside;
    const std::string path = path_of(inside);
    checked("fstat", path, [&] { return ::fstat(source_.get(), &level.source); });
    if (copies()) {
      checked("fstat", path, [&] { return ::fstat(target_.get(), &level.target); });
      if (same_file(level.source, target_top_)) {
        throw Error("'" + printable(source_path_) +
                    "' cannot be copied: it contains the place where Rain keeps its data, '" +
                    printable(target_path_) + "'");
      }
    }
    for (const std::string& name : names(path)) entry(level, name);
    levels_.push_back(std::move(level));
  }

  std::vector<std::string> names(const std::string& path) {
    UniqueFd fd(checked("open", path, [&] {
      return ::openat(source_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }));
    const auto close = [](DIR* stream) { ::closedir(stream); };
    const std::unique_ptr<DIR, decltype(close)> stream(::fdopendir(fd.get()), close);
    if (!stream) throw SystemError("opendir", printable(path), errno);
    (void)fd.release();
    std::vector<std::string> names;
    while (true) {
      errno = 0;
      const dirent* e = ::readdir(stream.get());
      if (e == nullptr) break;
      if (std::strcmp(e->d_name, ".") != 0 && std::strcmp(e->d_name, "..") != 0) {
        names.emplace_back(e->d_name);
      }
    }
    if (errno != 0) throw SystemError("readdir", printable(path), errno);
    return names;
  }

  void entry(Level& level, const std::string& name) {
    check(stop_);
    const std::string inside = join(level.path, name);
    struct stat status;
    if (::fstatat(source_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) throw changed_error(path_of(inside));
      throw SystemError("stat", printable(path_of(inside)), errno);
    }
    if (S_ISDIR(status.st_mode)) {
      level.directories.push_back(name);
    } else if (S_ISLNK(status.st_mode)) {
      link(inside, name);
    } else if (S_ISREG(status.st_mode)) {
      if (copies()) {
        copy_one(inside, name);
      } else {
        adopt_one(inside, name, status);
      }
    } else {
      throw Error("'" + printable(path_of(inside)) + "' is " + kind_name(status.st_mode) +
                  "; a directory can be data only with files, directories and links in it");
    }
  }

  void link(const std::string& inside, const std::string& name) {
    const std::string path = path_of(inside);
    std::string target = read_link(source_.get(), name.c_str(), path);
    if (!data_directory_.empty() && is_inside(target, data_directory_)) {
      data_links_.push_back(inside);
      return;
    }
    if (target.empty() || target[0] == '/' || leaves(nullptr, parent_of(inside), target)) {
      throw link_error(inside, target);
    }
    if (copies()) {
      checked("symlink", target_path_of(inside),
              [&] { return ::symlinkat(target.c_str(), target_.get(), name.c_str()); });
    }
    links_.emplace(inside, std::move(target));
  }

  Error link_error(const std::string& inside, const std::string& target) const {
    return Error("'" + printable(path_of(inside)) + "' is a symbolic link to '" +
                 printable(target) +
                 "': in a directory that is data a link must be relative and stay inside of it");
  }

  void copy_one(const std::string& inside, const std::string& name) {
    const std::string path = path_of(inside);
    struct stat status;
    const UniqueFd source = open_regular(source_.get(), name.c_str(), path, status);
    if (!S_ISREG(status.st_mode)) throw changed_error(path);
    ++size_.files;
    if (mode_ == Copy::linked &&
        ::linkat(source_.get(), name.c_str(), target_.get(), name.c_str(), 0) == 0) {
      size_.bytes += static_cast<std::uint64_t>(status.st_size);
      return;
    }
    size_.bytes += copy_open_file(source.get(), status, path, target_.get(), name.c_str(),
                                  target_path_of(inside), mode_, stop_);
  }

  void adopt_one(const std::string& inside, const std::string& name, const struct stat& status) {
    const std::string path = path_of(inside);
    const mode_t bits = (status.st_mode & 0555) | 0400;
    if (status.st_nlink > 1 && (status.st_mode & 0222) != 0) {
      // Somebody has it under another name, and must neither lose its bits nor change ours.
      struct stat before;
      const UniqueFd source = open_regular(source_.get(), name.c_str(), path, before);
      checked("unlink", path, [&] { return ::unlinkat(source_.get(), name.c_str(), 0); });
      copy_open_file(source.get(), before, path, source_.get(), name.c_str(), path, Copy::read_only,
                     nullptr);
    } else if ((status.st_mode & 07777) != bits) {
      checked("chmod", path, [&] { return ::fchmodat(source_.get(), name.c_str(), bits, 0); });
    }
    size_.bytes += static_cast<std::uint64_t>(status.st_size);
    ++size_.files;
  }

  void descend(const std::string& name) {
    const std::string inside = join(levels_.back().path, name);
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd source(
        retry_interrupted([&] { return ::openat(source_.get(), name.c_str(), kFlags); }));
    if (!source) {
      if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) {
        throw changed_error(path_of(inside));
      }
      throw SystemError("open", printable(path_of(inside)), errno);
    }
    if (copies()) {
      const std::string path = target_path_of(inside);
      const mode_t bits = mode_ == Copy::writable ? 0777 : 0700;
      checked("mkdir", path, [&] { return ::mkdirat(target_.get(), name.c_str(), bits); });
      target_ = UniqueFd(
          checked("open", path, [&] { return ::openat(target_.get(), name.c_str(), kFlags); }));
    }
    source_ = std::move(source);
    enter(inside);
  }

  void leave() {
    const Level level = std::move(levels_.back());
    levels_.pop_back();
    const std::string path = path_of(level.path);
    if (copies()) {
      struct stat now;
      checked("fstat", path, [&] { return ::fstat(source_.get(), &now); });
      if (!unchanged(level.source, now)) throw changed_error(path);
    }
    if (mode_ == Copy::read_only) {
      const mode_t bits = (level.source.st_mode & 0555) | 0500;
      checked("fchmod", path,
              [&] { return ::fchmod(copies() ? target_.get() : source_.get(), bits); });
    }
    if (levels_.empty()) return;
    source_ = up(source_.get(), levels_.back().source, path_of(levels_.back().path));
    if (copies()) {
      target_ = up(target_.get(), levels_.back().target, target_path_of(levels_.back().path));
    }
  }

  static UniqueFd up(int from, const struct stat& to, const std::string& path) {
    UniqueFd fd(retry_interrupted(
        [&] { return ::openat(from, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    struct stat status;
    if (!fd || ::fstat(fd.get(), &status) != 0 || !same_file(status, to)) {
      throw changed_error(path);
    }
    return fd;
  }

  /// Each link stays inside as written; now with the links on its way followed.
  void check_links() const {
    for (const auto& [inside, target] : links_) {
      if (leaves(&links_, parent_of(inside), target)) throw link_error(inside, target);
    }
  }

  void replace_links() {
    for (const std::string& inside : data_links_) {
      const std::string path = path_of(inside);
      const std::string target = read_link(AT_FDCWD, path.c_str(), path);
      const auto source = canonical(target);
      if (!source || !is_inside(*source, data_directory_)) throw link_error(inside, target);
      const std::string directory = path_of(parent_of(inside));
      struct stat parent, status;
      checked("stat", directory, [&] { return ::stat(directory.c_str(), &parent); });
      checked("stat", *source, [&] { return ::stat(source->c_str(), &status); });
      checked("chmod", directory, [&] { return ::chmod(directory.c_str(), 0700); });
      checked("unlink", path, [&] { return ::unlink(path.c_str()); });
      if (S_ISDIR(status.st_mode)) {
        const TreeSize added = copy_tree(*source, path);
        size_.bytes += added.bytes;
        size_.files += added.files;
      } else {
        // Read-only both: one file under two names.
        checked("link", path, [&] { return ::link(source->c_str(), path.c_str()); });
        size_.bytes += static_cast<std::uint64_t>(status.st_size);
        ++size_.files;
      }
      checked("chmod", directory,
              [&] { return ::chmod(directory.c_str(), parent.st_mode & 0777); });
    }
  }

  const std::string source_path_, target_path_, data_directory_;
  const Copy mode_ = Copy::read_only;
  const StopFlag* const stop_ = nullptr;
  UniqueFd source_, target_;
  struct stat target_top_ {};
  std::vector<Level> levels_;
  Links links_;
  std::vector<std::string> data_links_;
  TreeSize size_;
};

UniqueFd open_directory(const std::string& path, int flags) {
  return UniqueFd(checked("open", path, [&] {
    return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
  }));
}

std::string absolute(const std::string& path) {
  if (!path.empty() && path[0] == '/') return path;
  const std::unique_ptr<char, decltype(&::free)> here(::getcwd(nullptr, 0), ::free);
  return here ? std::string(here.get()) + "/" + path : path;
}

}  // namespace

std::string printable(std::string_view path) {
  std::string text;
  for (std::size_t at = 0; at < path.size();) {
    const auto first = static_cast<unsigned char>(path[at]);
    std::size_t length = 1;
    bool valid = first >= 0x20 && first < 0x7f;
    if (first >= 0xc2 && first <= 0xf4) {
      length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
      valid = at + length <= path.size();
      for (std::size_t i = 1; valid && i < length; ++i) {
        valid = (static_cast<unsigned char>(path[at + i]) & 0xc0) == 0x80;
      }
      if (valid && length > 2) {
        const auto second = static_cast<unsigned char>(path[at + 1]);
        valid = !(first == 0xe0 && second < 0xa0) && !(first == 0xed && second > 0x9f) &&
                !(first == 0xf0 && second < 0x90) && !(first == 0xf4 && second > 0x8f);
      }
    }
    if (valid) {
      text += path.substr(at, length);
      at += length;
    } else {
      char escaped[8];
      ::snprintf(escaped, sizeof escaped, "\\x%02x", first);
      text += escaped;
      ++at;
    }
  }
  return text;
}

std::vector<std::string> path_components(const std::string& path) {
  std::vector<std::string> components;
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    std::string component = path.substr(at, end - at);
    if (!component.empty() && component != ".") components.push_back(std::move(component));
    at = end + 1;
  }
  return components;
}

void check_relative(const std::string& path) {
  if (path.empty() || path[0] == '/') {
    throw Error("Path '" + printable(path) + "' is not relative");
  }
  if (path.find('\0') != std::string::npos) {
    throw Error("Path '" + printable(path) + "' contains a NUL byte");
  }
  const auto components = path_components(path);
  if (std::find(components.begin(), components.end(), "..") != components.end()) {
    throw Error("Path '" + printable(path) +
                "' contains '..': it must name something inside the directory");
  }
}

std::optional<std::string> resolve_inside(const std::string& root, const std::string& relative) {
  check_relative(relative);
  const auto top = canonical(root);
  const auto found = canonical(root + "/" + relative);
  if (!top || !found) return std::nullopt;
  if (*found != *top && !is_inside(*found, *top)) {
    throw Error("Path '" + printable(relative) + "' leads outside of the directory, to '" +
                printable(*found) + "'");
  }
  return found;
}

std::uint64_t copy_bytes(int source, const std::string& source_name, int target,
                         const std::string& target_name, const StopFlag* stop) {
  std::uint64_t copied = 0;
  while (true) {
    check(stop);
    const ssize_t count = retry_interrupted(
        [&] { return ::copy_file_range(source, nullptr, target, nullptr, kRangeBytes, 0); });
    if (count <= 0) {
      // The end; or not for these files, or not by this kernel, or with these rights: the loop
      // below finds out what is true. Some file systems say 0 for files that are not empty.
      if (count < 0 && (errno == ENOSPC || errno == EIO || errno == EDQUOT || errno == EFBIG)) {
        throw SystemError("copy_file_range", printable(target_name), errno);
      }
      break;
    }
    copied += static_cast<std::uint64_t>(count);
  }
  char buffer[kChunkBytes];
  while (true) {
    check(stop);
    const ssize_t got =
        checked("read", source_name, [&] { return ::read(source, buffer, sizeof buffer); });
    if (got == 0) return copied;
    for (ssize_t done = 0; done < got;) {
      const ssize_t count = checked("write", target_name, [&] {
        return ::write(target, buffer + done, static_cast<std::size_t>(got - done));
      });
      if (count == 0) throw SystemError("write", printable(target_name), ENOSPC);
      done += count;
    }
    copied += static_cast<std::uint64_t>(got);
  }
}

std::uint64_t copy_file(const std::string& source, const std::string& target, Copy mode,
                        const StopFlag* stop) {
  struct stat status;
  const UniqueFd fd(checked("open", source, [&] {
    return ::open(source.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  }));
  checked("fstat", source, [&] { return ::fstat(fd.get(), &status); });
  if (!S_ISREG(status.st_mode)) {
    throw Error("'" + printable(source) + "' is " +
                (S_ISDIR(status.st_mode) ? "a directory" : kind_name(status.st_mode)) +
                ", not a regular file");
  }
  try {
    return copy_open_file(fd.get(), status, source, AT_FDCWD, target.c_str(), target, mode, stop);
  } catch (const SystemError& failed) {
    if (failed.error_number() != EEXIST) ::unlink(target.c_str());
    throw;
  } catch (...) {
    ::unlink(target.c_str());
    throw;
  }
}

TreeSize copy_tree(const std::string& source, const std::string& target, Copy mode,
                   const StopFlag* stop) {
  UniqueFd from = open_directory(source, 0);
  const mode_t bits = mode == Copy::writable ? 0777 : 0700;
  checked("mkdir", target, [&] { return ::mkdir(target.c_str(), bits); });
  try {
    return Pass(source, std::move(from), target, open_directory(target, O_NOFOLLOW), mode, stop)
        .run();
  } catch (...) {
    launcher::remove_tree(absolute(target).c_str());
    throw;
  }
}

TreeSize adopt_tree(const std::string& path, const std::string& data_directory) {
  return Pass(path, open_directory(path, O_NOFOLLOW), data_directory).run();
}

TreeSize adopt(const std::string& from, const std::string& to, const std::string& data_directory) {
  struct stat status;
  checked("stat", from, [&] { return ::lstat(from.c_str(), &status); });
  if (S_ISDIR(status.st_mode)) {
    const TreeSize size = adopt_tree(from, data_directory);  // there, where its errors make sense
    // To be moved, a directory must be writable: its ".." changes.
    const mode_t bits = (status.st_mode & 0555) | 0500;
    checked("chmod", from, [&] { return ::chmod(from.c_str(), 0700); });
    checked("rename", from, [&] { return ::rename(from.c_str(), to.c_str()); });
    checked("chmod", to, [&] { return ::chmod(to.c_str(), bits); });
    return size;
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error("'" + printable(from) + "' is " + kind_name(status.st_mode) +
                ", not a file or directory");
  }
  if (status.st_nlink > 1 && (status.st_mode & 0222) != 0) {
    copy_file(from, to);
    ::unlink(from.c_str());
  } else {
    checked("rename", from, [&] { return ::rename(from.c_str(), to.c_str()); });
    checked("chmod", to, [&] { return ::chmod(to.c_str(), (status.st_mode & 0555) | 0400); });
  }
  return {static_cast<std::uint64_t>(status.st_size), 1};
}

}  // namespace rain::builtin
