#include "blob/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "base/errors.h"
#include "base/private_mapping.h"
#include "base/syscall.h"
#include "blob/memfd.h"

namespace tasklib::blob {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kMapAtOnceBytes = 128 << 10;  // below, two system calls cost as much
constexpr int kMadvPopulateRead = 22;                 // MADV_POPULATE_READ, which headers may lack

std::string name_of(base::RegionId id) { return "region " + std::to_string(id.value); }

// A duplicate would share the mode of the one descriptor there is; opening it anew does not.
base::UniqueFd reopen(const base::UniqueFd& fd, int mode) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
  return base::UniqueFd(
      base::checked("open", path, [&] { return ::open(path.c_str(), mode | O_CLOEXEC); }));
}

}  // namespace

Region::Region(base::RegionId id, std::uint64_t size_bytes, base::UniqueFd fd, unsigned char* data,
               Access access)
    : id_(id), size_bytes_(size_bytes), fd_(std::move(fd)), data_(data), access_(access) {}

Region::~Region() { ::munmap(data_, size_bytes_); }

std::shared_ptr<Region> Region::create(base::RegionId id, std::uint64_t size_bytes) {
  base::UniqueFd fd = make_memfd("rain-region", size_bytes);
  unsigned char* data = map_memfd(fd, size_bytes, true, name_of(id));
  (void)::madvise(data, size_bytes, MADV_HUGEPAGE);  // a wish: see huge_pages()
  return std::shared_ptr<Region>(
      new Region(id, size_bytes, std::move(fd), data, Access::read_write));
}

std::shared_ptr<Region> Region::map(base::RegionId id, std::uint64_t size_bytes, base::UniqueFd fd,
                                    Access access) {
  if (size_bytes == 0) throw base::ProtocolError(name_of(id) + ": a region of 0 bytes");
  check_memfd(fd, size_bytes, name_of(id));
  unsigned char* data = map_memfd(fd, size_bytes, access == Access::read_write, name_of(id));
  (void)::madvise(data, size_bytes, MADV_HUGEPAGE);
  return std::shared_ptr<Region>(new Region(id, size_bytes, std::move(fd), data, access));
}

unsigned char* Region::at(const wire::BlobRef& ref) const {
  if (ref.region != id_)
    throw base::ProtocolError("blob of " + name_of(ref.region) + " looked for in " + name_of(id_));
  if (ref.size_bytes > size_bytes_ || ref.offset_bytes > size_bytes_ - ref.size_bytes)
    throw base::ProtocolError("blob of " + std::to_string(ref.size_bytes) + " bytes at offset " +
                              std::to_string(ref.offset_bytes) + " leaves " + name_of(id_) +
                              " of " + std::to_string(size_bytes_) + " bytes");
  return data_ + ref.offset_bytes;
}

std::shared_ptr<unsigned char> Region::map_private(const wire::BlobRef& ref) const {
  (void)at(ref);
  return base::map_private(fd_, ref.offset_bytes, ref.size_bytes, name_of(id_));
}

void Region::map_existing(const wire::BlobRef& ref) noexcept {
  constexpr std::uint64_t kStepPages = 1024;
  if (ref.size_bytes < kMapAtOnceBytes || pages_mapped_.exchange(true)) return;
  const std::uint64_t end = (ref.offset_bytes + ref.size_bytes) / kPageBytes;
  unsigned char exists[kStepPages];
  for (std::uint64_t page = ref.offset_bytes / kPageBytes; page < end;) {
    const std::uint64_t step = std::min(kStepPages, end - page);
    if (::mincore(data_ + page * kPageBytes, step * kPageBytes, exists) != 0) return;
    for (std::uint64_t first = 0, next; first < step; first = next) {
      const bool run_exists = (exists[first] & 1) != 0;
      for (next = first + 1; next < step && ((exists[next] & 1) != 0) == run_exists;) ++next;
      if (run_exists && ::madvise(data_ + (page + first) * kPageBytes, (next - first) * kPageBytes,
                                  kMadvPopulateRead) != 0)
        return;  // before Linux 5.14
    }
    page += step;
  }
}

base::UniqueFd Region::open_read_only() const { return reopen(fd_, O_RDONLY); }

base::UniqueFd Region::open_read_write() const { return reopen(fd_, O_RDWR); }

std::uint64_t Region::resident_bytes() const {
  struct stat status;
  base::checked("fstat", name_of(id_), [&] { return ::fstat(fd_.get(), &status); });
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

void Region::discard() noexcept {
  // Best effort: if the kernel can't now, the pages go with the last mapping.
  (void)punch(0, size_bytes_);
}

void Region::populate(std::uint64_t size_bytes) noexcept {
  constexpr std::uint64_t kStepBytes = 1 << 20;
  std::uint64_t left = size_bytes;
  while (left > 0) {
    const std::uint64_t step = std::min(kStepBytes, left);
    left -= step;
    const std::lock_guard<std::mutex> lock(populating_);
    if (!may_populate_ || ::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(left),
                                      static_cast<off_t>(step)) != 0)
      return;
  }
}

bool Region::punch(std::uint64_t offset_bytes, std::uint64_t size_bytes) noexcept {
  stop_populating();
  const std::lock_guard<std::mutex> lock(populating_);
  return ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     static_cast<off_t>(offset_bytes), static_cast<off_t>(size_bytes)) == 0;
}

}  // namespace tasklib::blob
