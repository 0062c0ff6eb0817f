// The built-in tasks that read and write the user's files: open, open_dir, export.

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <utility>

#include "base/syscall.h"
#include "builtin/builtin.h"
#include "builtin/file_data.h"
#include "launcher/remove_tree.h"

namespace rain::builtin {

using tasklib::base::checked;
using tasklib::base::retry_interrupted;
using tasklib::base::SystemError;
using tasklib::base::UniqueFd;

namespace {

std::string absolute_path(const Call& call) {
  std::string path = call.parse_path();
  if (path.empty() || path[0] != '/') {
    throw TaskError("Path \"" + printable(path) + "\" is not absolute");
  }
  return path;
}

// ---- open, open_dir --------------------------------------------------------------------------

/// Copies a file or directory of the user's, and makes it data.
class OpenJob final : public PoolJob {
 public:
  OpenJob(const Call& call, std::string path, bool directory_only)
      : PoolJob(call),
        path_(std::move(path)),
        directory_only_(directory_only),
        output_(call.task.outputs.empty() ? graph::ObjectRef() : call.task.outputs[0]),
        place_(call.host.data_directory()),
        releases_(call.host.releases()) {}

 private:
  Outcome work() override {
    struct stat status;
    if (::stat(path_.c_str(), &status) != 0) {
      if (errno == ENOENT) throw TaskError("Path '" + printable(path_) + "' not found");
      throw SystemError("stat", printable(path_), errno);
    }
    const bool is_directory = S_ISDIR(status.st_mode);
    if (directory_only_ && !is_directory) {
      throw TaskError("Path '" + printable(path_) + "' is not a directory");
    }
    if (output_) {
      const std::string mismatch = mismatch_text(*output_, is_directory);
      if (!mismatch.empty()) throw TaskError(mismatch);
    }
    if (!is_directory) return Outcome::of(copy_to_data(path_, place_, stop_flag()));
    const std::string target = place_.fresh();
    const TreeSize size = copy_tree(path_, target, Copy::read_only, stop_flag());
    return Outcome::of(std::make_shared<DirectoryData>(releases_, target, size.bytes));
  }

  const std::string path_;
  const bool directory_only_;
  const graph::ObjectRef output_;
  DataDirectory& place_;
  const std::shared_ptr<ReleaseQueue> releases_;
};

// ---- export ----------------------------------------------------------------------------------

std::string parent_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// A name beside `target`, so that what is made under it can be renamed to `target`. Removed with
/// this unless renamed.
class Beside {
 public:
  explicit Beside(const std::string& target) {
    static std::atomic<unsigned> last{0};
    const std::string parent = parent_of(target);
    path_ = (parent == "/" ? "" : parent) + "/.rain-export-" + std::to_string(::getpid()) + "-" +
            std::to_string(++last);
  }
  ~Beside() {
    if (path_.empty() || ::unlink(path_.c_str()) == 0 || errno == ENOENT) return;
    launcher::remove_tree(path_.c_str());
  }
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

  const std::string& path() const { return path_; }
  void rename_to(const std::string& target) {
    checked("rename", printable(target), [&] { return ::rename(path_.c_str(), target.c_str()); });
    path_.clear();
  }

 private:
  std::string path_;
};

/// Writes data to the user's file or directory.
class ExportJob final : public PoolJob {
 public:
  ExportJob(const Call& call, std::string path)
      : PoolJob(call), path_(std::move(path)), data_(call.task.inputs[0]->data) {}

 private:
  Outcome work() override {
    const auto& data = static_cast<const Data&>(*data_);
    if (data.is_directory()) {
      write_directory(data);
    } else {
      write_file(data);
    }
    return {};
  }

  void write_directory(const Data& data) {
    while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
    struct stat status;
    if (::lstat(path_.c_str(), &status) == 0) {
      throw TaskError("A directory can't be exported to '" + printable(path_) +
                      "': there is something already; remove it or choose another path");
    }
    // A tree that is half there is worse than none: it gets its name when it is complete.
    checked("access", printable(parent_of(path_)),
            [&] { return ::access(parent_of(path_).c_str(), W_OK | X_OK); });
    Beside beside(path_);
    copy_tree(data.path(), beside.path(), Copy::writable, stop_flag());
    beside.rename_to(path_);
  }

  void write_file(const Data& data) {
    struct stat before;
    const bool exists = ::stat(path_.c_str(), &before) == 0;
    if (exists && S_ISDIR(before.st_mode)) throw SystemError("open", printable(path_), EISDIR);
    if (exists && !S_ISREG(before.st_mode) && !S_ISCHR(before.st_mode)) {
      throw TaskError("'" + printable(path_) + "' is neither a file nor a directory");
    }
    // Devices, files with other names and files of others are written where they are; so are
    // links that lead to nothing yet.
    struct stat link;
    const bool in_place =
        exists ? !S_ISREG(before.st_mode) || before.st_nlink > 1 || before.st_uid != ::geteuid()
               : ::lstat(path_.c_str(), &link) == 0;
    if (in_place || !replace_file(data, exists ? &before : nullptr)) overwrite_file(data);
  }

  /// Writes it under another name first, so that nobody ever sees half of it. False: no file can
  /// be made there.
  bool replace_file(const Data& data, const struct stat* before) {
    const std::string target = before ? real_path(path_) : path_;
    Beside beside(target);
    const UniqueFd fd(retry_interrupted([&] {
      return ::open(beside.path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                    0666 | executable_bits(data));
    }));
    if (!fd) {
      if (before && (errno == EACCES || errno == EPERM)) return false;
      throw SystemError("open", printable(path_), errno);
    }
    if (before) {
      checked("fchmod", printable(path_), [&] { return ::fchmod(fd.get(), before->st_mode); });
    }
    write_data(data, fd.get(), printable(path_), stop_flag());
    check_stop();
    beside.rename_to(target);
    return true;
  }

  void overwrite_file(const Data& data) {
    const UniqueFd fd(checked("open", printable(path_), [&] {
      return ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_CLOEXEC,
                    0666 | executable_bits(data));
    }));
    write_data(data, fd.get(), printable(path_), stop_flag());
  }

  static std::string real_path(const std::string& path) {
    char* resolved = ::realpath(path.c_str(), nullptr);
    if (!resolved) throw SystemError("realpath", printable(path), errno);
    std::string result(resolved);
    ::free(resolved);
    return result;
  }

  std::string path_;
  const std::shared_ptr<graph::ObjectData> data_;
};

}  // namespace

Begun open(const Call& call) {
  call.expect_inputs(0);
  return in_pool(call, std::make_shared<OpenJob>(call, absolute_path(call), false));
}

Begun open_directory(const Call& call) {
  call.expect_inputs(0);
  return in_pool(call, std::make_shared<OpenJob>(call, absolute_path(call), true));
}

Begun export_to(const Call& call) {
  call.expect_inputs(1);
  return in_pool(call, std::make_shared<ExportJob>(call, absolute_path(call)));
}

}  // namespace rain::builtin
