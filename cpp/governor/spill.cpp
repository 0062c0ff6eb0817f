#include "spill.h"

#include <sys/statfs.h>
#include <unistd.h>

#include <cstdlib>

#include "base/errors.h"

namespace rain {

using tasklib::base::SystemError;

namespace {

/// What is written there does not stay in memory.
bool is_on_disk(const std::string& path) {
  constexpr long kTmpfs = 0x01021994, kRamfs = 0x858458f6;
  struct statfs status;
  return ::statfs(path.c_str(), &status) == 0 && status.f_type != kTmpfs && status.f_type != kRamfs;
}

}  // namespace

SpillPlace::SpillPlace(bool wanted, const std::string& named, const std::string& run_directory)
    : on_(wanted), named_(named), run_directory_(run_directory) {
  if (!wanted) {
    directory_ = "spill=False";
  } else if (named.empty() && is_on_disk(run_directory)) {
    directory_ = run_directory + "/data";
  }
}

void SpillPlace::check() {
  if (on_ && !named_.empty()) make_in(named_);
}

void SpillPlace::make_in(const std::string& parent) {
  std::string pattern = parent + "/rain-spill-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) throw SystemError("mkdtemp", pattern, errno);
  const std::string link = run_directory_ + "/spill";
  if (::symlink(pattern.c_str(), link.c_str()) != 0) {
    const int error = errno;
    ::rmdir(pattern.c_str());
    throw SystemError("symlink", link, error);
  }
  directory_ = std::move(pattern);
}

void SpillPlace::choose() {
  const char* temporary = std::getenv("TMPDIR");
  for (const std::string parent : {temporary != nullptr ? temporary : "", "/var/tmp", "/tmp"}) {
    if (parent.empty() || parent[0] != '/' || !is_on_disk(parent)) continue;
    if (::access(parent.c_str(), W_OK | X_OK) == 0) return make_in(parent);
  }
  on_ = false;
  directory_ = "none of TMPDIR, /var/tmp and /tmp is on a disk: name a place, Client(spill=...)";
  throw tasklib::base::Error(directory_);
}

std::string SpillPlace::fresh() {
  if (directory_.empty()) choose();
  return directory_ + "/spilled-" + std::to_string(++last_);
}

void SpillWork::run() noexcept {
  try {
    spilled = write_spilled(data->bytes(), path);
  } catch (const std::exception& failed) {
    error = failed.what();
  }
}

}  // namespace rain
