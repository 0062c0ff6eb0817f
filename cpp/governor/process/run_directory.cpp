#include "process/run_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/syscall.h"
#include "base/unique_fd.h"
#include "launcher/remove_tree.h"

namespace rain::process {
namespace {

using tasklib::base::checked;
using tasklib::base::retry_interrupted;
using tasklib::base::SystemError;
using tasklib::base::UniqueFd;

/// A SystemError whose text goes on with what to do.
class RunDirectoryError : public SystemError {
 public:
  RunDirectoryError(const std::string& call, const std::string& path, int error_number)
      : SystemError(call, path, error_number),
        text_("cannot make a run directory: " + std::string(SystemError::what()) +
              "; name another place by the environment variable TMPDIR or by " +
              "Client(run_directory=...)") {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

bool suits_for_programs(const char* path) {
  struct stat status;
  struct statvfs file_system;
  return path != nullptr && path[0] == '/' && ::stat(path, &status) == 0 &&
         S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() &&
         ::access(path, W_OK | X_OK) == 0 && ::statvfs(path, &file_system) == 0 &&
         (file_system.f_flag & (ST_NOEXEC | ST_RDONLY)) == 0;
}

void make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0) throw RunDirectoryError("mkdir", path, errno);
}

std::string make_unique_directory(std::string pattern) {
  if (::mkdtemp(pattern.data()) == nullptr) throw RunDirectoryError("mkdtemp", pattern, errno);
  return pattern;
}

/// A full file system still makes directories: sees whether a page can be written.
void check_room(const std::string& directory) {
  const std::string path = directory + "/room";
  const UniqueFd file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) throw RunDirectoryError("open", path, errno);
  char page[4096];
  std::memset(page, 'r', sizeof page);
  for (int i = 0; i < 4; ++i) {
    const ssize_t written =
        retry_interrupted([&] { return ::write(file.get(), page, sizeof page); });
    if (written != static_cast<ssize_t>(sizeof page)) {
      throw RunDirectoryError("write", path, written < 0 ? errno : ENOSPC);
    }
  }
  ::unlink(path.c_str());
}

}  // namespace

std::string default_run_directory_parent() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (suits_for_programs(runtime)) return runtime;
  const char* temporary = std::getenv("TMPDIR");
  return temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
}

std::string make_run_directory(const std::string& parent) {
  std::string place = parent.empty() ? default_run_directory_parent() : parent;
  char* absolute = ::realpath(place.c_str(), nullptr);
  if (absolute == nullptr) throw RunDirectoryError("realpath", place, errno);
  place = absolute;
  std::free(absolute);
  const std::string directory = make_unique_directory((place == "/" ? "" : place) + "/rain-XXXXXX");
  try {
    check_room(directory);
    make_directory(directory + "/executors");
    make_directory(directory + "/executors/work");
  } catch (...) {
    launcher::remove_tree(directory.c_str());
    throw;
  }
  return directory;
}

ExecutorPaths make_executor_paths(const std::string& run_directory, std::uint32_t executor_id) {
  const std::string id = std::to_string(executor_id);
  ExecutorPaths paths;
  paths.directory = make_unique_directory(run_directory + "/executors/work/" + id + ".XXXXXX");
  paths.socket_path = paths.directory + "/socket";
  paths.stdout_path = run_directory + "/executors/executor-" + id + ".out";
  paths.stderr_path = run_directory + "/executors/executor-" + id + ".err";
  return paths;
}

}  // namespace rain::process
