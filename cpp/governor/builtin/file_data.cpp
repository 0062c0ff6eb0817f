#include "builtin/file_data.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/errors.h"
#include "base/syscall.h"

namespace rain::builtin {

using tasklib::base::ByteView;
using tasklib::base::checked;
using tasklib::base::Error;
using tasklib::base::UniqueFd;

namespace {

/// The contents if they are small and no program. Looks at the bytes, not at the size that the
/// file claims to have: /proc is full of files of 0 bytes.
std::shared_ptr<Data> small_data(const std::string& path) {
  const UniqueFd fd(checked("open", printable(path), [&] {
    return ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  }));
  struct stat status;
  checked("fstat", printable(path), [&] { return ::fstat(fd.get(), &status); });
  if (!S_ISREG(status.st_mode)) {
    throw Error("Path '" + printable(path) + "' is neither a file nor a directory");
  }
  if (static_cast<std::uint64_t>(status.st_size) >= kSmallFileBytes) return nullptr;
  if (status.st_size > 0 && (status.st_mode & 0111) != 0) return nullptr;
  std::string content(kSmallFileBytes, '\0');
  std::size_t size = 0;
  while (size < content.size()) {
    const ssize_t count = checked("read", printable(path), [&] {
      return ::read(fd.get(), content.data() + size, content.size() - size);
    });
    if (count == 0) {
      return std::make_shared<InlineData>(ByteView(content.data(), size));
    }
    size += static_cast<std::size_t>(count);
  }
  return nullptr;
}

}  // namespace

std::shared_ptr<Data> copy_to_data(const std::string& path, DataDirectory& place,
                                   const StopFlag* stop) {
  if (auto data = small_data(path)) return data;
  const std::string target = place.fresh();
  copy_file(path, target, Copy::read_only, stop);
  return std::make_shared<FileData>(target);
}

std::shared_ptr<Data> share_as_data(const std::string& path, DataDirectory& place,
                                    const StopFlag* stop) {
  if (auto data = small_data(path)) return data;
  const std::string target = place.fresh();
  if (::link(path.c_str(), target.c_str()) != 0) {
    copy_file(path, target, Copy::read_only, stop);
  }
  return std::make_shared<FileData>(target);
}

std::shared_ptr<Data> move_to_data(const std::string& path, DataDirectory& place,
                                   const std::shared_ptr<ReleaseQueue>& releases) {
  struct stat status;
  checked("stat", printable(path), [&] { return ::stat(path.c_str(), &status); });
  if (S_ISREG(status.st_mode)) {
    if (auto data = small_data(path)) return data;
  }
  return take_path(path, place, releases);
}

void write_data(const Data& data, int fd, const std::string& name, const StopFlag* stop) {
  if (data.is_on_disk()) {
    const UniqueFd source(checked(
        "open", data.path(), [&] { return ::open(data.path().c_str(), O_RDONLY | O_CLOEXEC); }));
    copy_bytes(source.get(), data.path(), fd, name, stop);
    return;
  }
  write_bytes(data, fd, name, stop);
}

mode_t executable_bits(const Data& data) {
  struct stat status;
  if (!data.is_on_disk() || ::stat(data.path().c_str(), &status) != 0) return 0;
  return status.st_mode & 0111;
}

}  // namespace rain::builtin
