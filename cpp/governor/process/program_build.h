#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rain::process {

/// Which build of a program lies on disk: its files' device, inode, size and time of change.
/// A value; two that differ mean that somebody built it again.
struct ProgramBuild {
  struct File {
    std::uint64_t device, inode, size_bytes;
    std::int64_t modified_ns;
    bool operator==(const File&) const = default;
  };
  std::vector<File> files;
  bool operator==(const ProgramBuild&) const = default;
};

/// The files that tell one build of a command from another: the program, and its first argument
/// that is the absolute path of a file (the script, where an interpreter is the program).
/// Immutable.
class ProgramFiles {
 public:
  explicit ProgramFiles(const std::vector<std::string>& argv);

  /// Nothing while one of them is missing, as in the middle of a build.
  std::optional<ProgramBuild> build() const;

 private:
  std::vector<std::string> paths_;
};

}  // namespace rain::process
