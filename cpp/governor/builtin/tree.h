#pragma once

// Directory trees as data: copied, measured, made read-only; and the paths that lead into them.
//
// All of it works relative to descriptors, keeps at most a handful of them open however deep or
// wide the tree is, follows no symbolic link that it finds inside a tree, and takes names as
// bytes. Thread-safe; every function throws tasklib::base::Error, whose text names the path.
//
// Which trees are data: directories, regular files, and symbolic links that are relative and stay
// inside the tree, both as written and when followed (a link to nothing stays, too). Sockets,
// fifos, devices and all other links are refused by name. Of the modes the x bits are kept.

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rain::builtin {

/// `path` fit for a message: bytes that are no text (control characters, invalid UTF-8) as \xNN.
std::string printable(std::string_view path);

/// The components of a path, without empty ones and `.`.
std::vector<std::string> path_components(const std::string& path);

/// Throws "Path '{path}' is not relative" for absolute and empty paths, and an error that names the
/// path when a component of it is `..` or it contains a NUL.
void check_relative(const std::string& path);

/// Where `relative` leads in the directory `root`, all links followed: a canonical path. Nothing if
/// there is nothing. Throws if it leads outside of `root`.
std::optional<std::string> resolve_inside(const std::string& root, const std::string& relative);

struct TreeSize {
  std::uint64_t bytes = 0;  // sum of the sizes of the files
  std::uint64_t files = 0;  // without directories and links
};

enum class Copy {
  read_only,  // data: no write bits on files and directories
  writable,   // for a user: as the umask has it
  linked,     // of data, for data to be: files are further names of the source's; adopt_tree next
};

/// Thrown by a copy whose stop flag was set; what it had made is gone.
struct Stopped {};
using StopFlag = std::atomic<bool>;

/// Copies the directory `source` (itself possibly behind a link) to `target`, which must not exist
/// and has a parent. Throws also for what changes or vanishes while it is read; nothing of `target`
/// is left then.
TreeSize copy_tree(const std::string& source, const std::string& target,
                   Copy mode = Copy::read_only, const StopFlag* stop = nullptr);

/// Copies the regular file `source` likewise. Returns its size.
std::uint64_t copy_file(const std::string& source, const std::string& target,
                        Copy mode = Copy::read_only, const StopFlag* stop = nullptr);

/// Writes all that can be read from `source` to `target` (shared extents where the file system has
/// them, else inside the kernel where it can); the names are for messages. Returns the bytes.
std::uint64_t copy_bytes(int source, const std::string& source_name, int target,
                         const std::string& target_name, const StopFlag* stop = nullptr);

/// Makes the directory `path`, which is ours alone, data: checks it and removes write bits. Links
/// into `data_directory` (a program left its input in its output) are replaced by what they lead
/// to. A file that has other names and could be written is replaced by a copy.
TreeSize adopt_tree(const std::string& path, const std::string& data_directory);

/// Moves the file or directory `from` to `to`, on the same file system, and makes it data.
/// Requires: `from` is no link.
TreeSize adopt(const std::string& from, const std::string& to, const std::string& data_directory);

}  // namespace rain::builtin
