#include "object_data.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/syscall.h"
#include "base/unique_fd.h"

namespace rain {

using tasklib::base::checked;
using tasklib::base::SystemError;
using tasklib::base::UniqueFd;

void ReleaseQueue::push(const tasklib::wire::BlobRef& ref) {
  if (closed_) return;
  std::lock_guard lock(mutex_);
  if (closed_) return;
  refs_.push_back(ref);
  if (refs_.size() > 1) return;
  const std::uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof one);
}

Data::~Data() {
  if (!file.empty()) ::unlink(file.c_str());
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
  file = std::move(path);
}

FileData::~FileData() {
  if (mapping_ != nullptr) ::munmap(mapping_, size_bytes);
}

}  // namespace rain
