#include "object_data.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/private_mapping.h"
#include "base/syscall.h"
#include "base/unique_fd.h"
#include "builtin/tree.h"

namespace rain {

using tasklib::base::ByteView;
using tasklib::base::checked;
using tasklib::base::Error;
using tasklib::base::SystemError;
using tasklib::base::UniqueFd;

namespace {

void write_all(int fd, ByteView left, const std::string& path) {
  while (left.size > 0) {
    const ssize_t count =
        tasklib::base::retry_interrupted([&] { return ::write(fd, left.data, left.size); });
    if (count <= 0) throw SystemError("write", path, count < 0 ? errno : ENOSPC);
    left = ByteView(left.data + count, left.size - static_cast<std::size_t>(count));
  }
}

constexpr std::size_t kAtOnceBytes = 4 << 20;  // between two looks at the stop flag

void check(const std::atomic<bool>* stop) {
  if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw builtin::Stopped{};
}

}  // namespace

void write_bytes(const Data& data, int fd, const std::string& name, const std::atomic<bool>* stop) {
  ByteView left = data.bytes();
  // A region can't be linked into a file system, nor do files share its pages: it is copied, but
  // without mapping pages that this process may never have touched.
  if (const Data::Source source = data.source(); source.fd && left.size > 0) {
    auto offset = static_cast<off_t>(source.offset_bytes);
    while (left.size > 0) {
      check(stop);
      const ssize_t count = tasklib::base::retry_interrupted([&] {
        return ::sendfile(fd, source.fd.get(), &offset, std::min(left.size, kAtOnceBytes));
      });
      if (count <= 0) break;  // not between these two, or an error that write() will name
      left = ByteView(left.data + count, left.size - static_cast<std::size_t>(count));
    }
  }
  while (left.size > 0) {
    check(stop);
    const ByteView part(left.data, std::min(left.size, kAtOnceBytes));
    write_all(fd, part, name);
    left = ByteView(left.data + part.size, left.size - part.size);
  }
}

void ReleaseQueue::push(const tasklib::wire::BlobRef& ref) {
  if (closed_) return;
  std::lock_guard lock(mutex_);
  if (closed_) return;
  released_.refs.push_back(ref);
  if (released_.refs.size() + released_.directories.size() == 1) wake();
}

void ReleaseQueue::push(std::string directory) {
  if (closed_) return;
  std::lock_guard lock(mutex_);
  if (closed_) return;
  released_.directories.push_back(std::move(directory));
  if (released_.refs.size() + released_.directories.size() == 1) wake();
}

void ReleaseQueue::wake() {
  const std::uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof one);
}

Data::~Data() {
  if (owns_file && !path_.empty()) ::unlink(path_.c_str());
}

const std::string& Data::path() const {
  static const std::string none;
  return has_path_.load(std::memory_order_acquire) ? path_ : none;
}

void Data::set_path(std::string path) {
  path_ = std::move(path);
  has_path_.store(true, std::memory_order_release);
}

const std::string& Data::path(DataDirectory& place) {
  if (has_path_.load(std::memory_order_acquire)) return path_;
  std::call_once(making_path_, [&] {
    std::string path = place.fresh();
    const UniqueFd fd(checked("open", path, [&] {
      return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    }));
    try {
      write_bytes(*this, fd.get(), path);
    } catch (...) {
      ::unlink(path.c_str());
      throw;
    }
    set_path(std::move(path));
  });
  return path_;
}

FileData::FileData(std::string path) {
  UniqueFd fd(checked("open", path, [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  struct stat status;
  checked("fstat", path, [&] { return ::fstat(fd.get(), &status); });
  size_bytes = static_cast<std::uint64_t>(status.st_size);
  if (size_bytes > 0) {
    mapping_ = ::mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (mapping_ == MAP_FAILED) throw SystemError("mmap", path, errno);
  }
  set_path(std::move(path));
}

FileData::~FileData() {
  if (mapping_ != nullptr) ::munmap(mapping_, size_bytes);
}

namespace {

std::shared_ptr<unsigned char> map_file(const std::string& path, std::uint64_t offset_bytes,
                                        std::uint64_t size_bytes) {
  const UniqueFd fd(
      checked("open", path, [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  return tasklib::base::map_private(fd, offset_bytes, size_bytes, path);
}

}  // namespace

std::shared_ptr<unsigned char> FileData::map_private() const {
  return map_file(path(), 0, size_bytes);
}

std::shared_ptr<unsigned char> SliceData::map_private() const {
  if (const auto* blob = dynamic_cast<const BlobData*>(whole.get()))
    return blob->region->map_private(ref_in(*blob));
  return map_file(whole->path(), offset_bytes, size_bytes);
}

std::shared_ptr<Data> slice_of(const std::shared_ptr<Data>& data, std::uint64_t offset_bytes,
                               std::uint64_t size_bytes) {
  if (size_bytes == data->size_bytes) return data;
  if (size_bytes < kInlineLimitBytes)
    return std::make_shared<InlineData>(ByteView(data->bytes().data + offset_bytes, size_bytes));
  if (const auto* slice = dynamic_cast<const SliceData*>(data.get()))
    return std::make_shared<SliceData>(slice->whole, slice->offset_bytes + offset_bytes,
                                       size_bytes);
  return std::make_shared<SliceData>(data, offset_bytes, size_bytes);
}

Data& whole_of(graph::ObjectData& data) {
  if (auto* slice = dynamic_cast<SliceData*>(&data)) return *slice->whole;
  return static_cast<Data&>(data);
}

std::shared_ptr<FileData> write_spilled(ByteView bytes, std::string path) {
  const UniqueFd fd(checked("open", path, [&] {
    return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
  }));
  try {
    write_all(fd.get(), bytes, path);
    auto data = std::make_shared<FileData>(path);
    data->is_spilled = true;
    return data;
  } catch (...) {
    ::unlink(path.c_str());
    throw;
  }
}

std::shared_ptr<Data> take_path(const std::string& path, DataDirectory& place,
                                const std::shared_ptr<ReleaseQueue>& releases) {
  struct stat status;
  checked("stat", path, [&] { return ::stat(path.c_str(), &status); });
  const bool is_data = path.compare(0, place.path().size() + 1, place.path() + "/") == 0;
  std::string target = place.fresh();
  if (S_ISDIR(status.st_mode)) {
    const auto size =
        is_data ? builtin::copy_tree(path, target) : builtin::adopt(path, target, place.path());
    return std::make_shared<DirectoryData>(releases, std::move(target), size.bytes);
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error("'" + builtin::printable(path) + "' is neither a file nor a directory");
  }
  if (status.st_size == 0) {
    // The C++ and Rust libraries of Rain 0.4 die of an empty file as input: they map it (Q33).
    if (!is_data) ::unlink(path.c_str());
    return std::make_shared<InlineData>(ByteView{});
  }
  if (is_data) {
    checked("link", path, [&] { return ::link(path.c_str(), target.c_str()); });
  } else {
    builtin::adopt(path, target, place.path());
  }
  return std::make_shared<FileData>(std::move(target));
}

}  // namespace rain
