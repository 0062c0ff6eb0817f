#include "process/log_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/syscall.h"
#include "base/unique_fd.h"

namespace rain::process {
namespace {

using tasklib::base::retry_interrupted;
using tasklib::base::UniqueFd;

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

/// Length of the well-formed character at the start of `bytes`, 0 if there is none (Unicode,
/// table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
std::size_t character_length(std::string_view bytes) {
  auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  const std::size_t length = first < 0xC2   ? 0
                             : first < 0xE0 ? 2
                             : first < 0xF0 ? 3
                             : first < 0xF5 ? 4
                                            : 0;
  if (length == 0 || bytes.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if (!is_continuation(at(i))) return 0;
  }
  const unsigned char second = at(1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) {
    return 0;
  }
  return length;
}

struct Tail {
  std::string bytes;
  bool cut = false;  // the file is longer
};

Tail read_tail(const std::string& path, std::size_t max_bytes) {
  Tail tail;
  // Not blocking: a task may have put a FIFO where the log was.
  UniqueFd file(
      retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return tail;
  const auto size = static_cast<std::size_t>(status.st_size);
  std::size_t offset = size > max_bytes ? size - max_bytes : 0;
  tail.cut = offset > 0;
  tail.bytes.resize(size - offset);
  std::size_t filled = 0;
  while (filled < tail.bytes.size()) {
    const ssize_t got = retry_interrupted([&] {
      return ::pread(file.get(), tail.bytes.data() + filled, tail.bytes.size() - filled,
                     static_cast<off_t>(offset + filled));
    });
    if (got <= 0) break;  // truncated meanwhile
    filled += static_cast<std::size_t>(got);
  }
  tail.bytes.resize(filled);
  if (tail.cut) {  // what is left of a character that the cut fell into
    std::size_t skip = 0;
    while (skip < std::min<std::size_t>(3, filled) &&
           is_continuation(static_cast<unsigned char>(tail.bytes[skip]))) {
      ++skip;
    }
    tail.bytes.erase(0, skip);
  }
  return tail;
}

}  // namespace

std::string to_valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const std::size_t length = character_length(bytes);
    if (length == 0) {
      text += "\xEF\xBF\xBD";
      bytes.remove_prefix(1);
    } else {
      text += bytes.substr(0, length);
      bytes.remove_prefix(length);
    }
  }
  return text;
}

std::string tail_bytes(const std::string& path, std::size_t max_bytes) {
  return to_valid_utf8(read_tail(path, max_bytes).bytes);
}

std::string tail_lines(const std::string& path, std::size_t max_lines, std::size_t max_bytes) {
  Tail tail = read_tail(path, max_bytes);
  std::string_view lines = tail.bytes;
  while (!lines.empty() && (lines.back() == '\n' || lines.back() == '\r')) lines.remove_suffix(1);
  std::size_t start = lines.size(), wanted = max_lines;
  while (start > 0 && wanted > 0) {
    --wanted;
    const std::size_t newline = lines.rfind('\n', start - 1);
    if (newline == std::string_view::npos) {
      start = 0;
    } else {
      start = wanted > 0 ? newline : newline + 1;
    }
  }
  return to_valid_utf8(lines.substr(start));
}

}  // namespace rain::process
