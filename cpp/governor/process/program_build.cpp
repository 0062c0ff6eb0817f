#include "process/program_build.h"

#include <sys/stat.h>

namespace rain::process {
namespace {

bool regular_file(const std::string& path, struct stat& status) {
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

ProgramFiles::ProgramFiles(const std::vector<std::string>& argv) {
  struct stat status;
  // A name without "/" is looked up by the launcher: which file that is may change by itself.
  if (!argv.empty() && argv[0].find('/') != std::string::npos) paths_.push_back(argv[0]);
  for (std::size_t i = 1; i < argv.size(); ++i) {
    if (argv[i].rfind('/', 0) != 0 || !regular_file(argv[i], status)) continue;
    paths_.push_back(argv[i]);
    break;
  }
}

std::optional<ProgramBuild> ProgramFiles::build() const {
  ProgramBuild build;
  for (const std::string& path : paths_) {
    struct stat status;
    if (!regular_file(path, status)) return {};
    build.files.push_back({status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size),
                           status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec});
  }
  return build;
}

}  // namespace rain::process
