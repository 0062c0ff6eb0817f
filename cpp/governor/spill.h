#pragma once

// Blobs that nobody views become files when memory is short.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "builtin/pool.h"
#include "object_data.h"

namespace rain {

/// Where spilled blobs go: the run directory, if that is on a disk; else a directory of its own in
/// `named`, or in $TMPDIR or /var/tmp, whichever is on a disk. The launcher removes it with the run
/// directory, from which the symbolic link `spill` leads there. Owned by the Runtime. Thread: token
/// holder.
class SpillPlace {
 public:
  /// `named`: empty: choose.
  SpillPlace(bool wanted, const std::string& named, const std::string& run_directory);

  /// Makes the directory in `named` before it is needed, since it may be wrong. Throws SystemError.
  void check();

  bool on() const { return on_; }
  /// Empty until the first fresh() if it is not in the run directory; why there is none, if !on().
  const std::string& directory() const { return directory_; }
  /// A path that was never given out before. Throws SystemError; Error when there is no place.
  std::string fresh();

 private:
  void choose();
  void make_in(const std::string& parent);

  bool on_;
  const std::string named_, run_directory_;
  std::string directory_;
  std::uint64_t last_ = 0;
};

/// Writes one blob into a file, in the pool.
class SpillWork final : public builtin::Pool::Work {
 public:
  using Finish = std::function<void(SpillWork&)>;  // under the token

  SpillWork(std::shared_ptr<BlobData> data, std::string path, Finish finish)
      : data(std::move(data)), path(std::move(path)), finish_(std::move(finish)) {}

  void run() noexcept override;
  void finish() override { finish_(*this); }

  const std::shared_ptr<BlobData> data;
  const std::string path;
  std::string error;                  // empty: the file is there, whole
  std::shared_ptr<FileData> spilled;  // then

 private:
  const Finish finish_;
};

}  // namespace rain
