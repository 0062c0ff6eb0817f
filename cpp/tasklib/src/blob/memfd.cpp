#include "blob/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/errors.h"
#include "base/syscall.h"

namespace tasklib::blob {
namespace {

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;
// Linux 6.3. Where vm.memfd_noexec is 2, descriptors without it are refused.
constexpr unsigned kMemfdNoexecSeal = 0x0008u;

int create(const char* label) {
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const int fd = memfd_create(label, flags | kMemfdNoexecSeal);
  return fd == -1 && errno == EINVAL ? memfd_create(label, flags) : fd;
}

}  // namespace

base::UniqueFd make_memfd(const char* label, std::uint64_t size_bytes) {
  base::UniqueFd fd(base::checked("memfd_create", label, [&] { return create(label); }));
  base::checked("ftruncate", label,
                [&] { return ::ftruncate(fd.get(), static_cast<off_t>(size_bytes)); });
  base::checked("fcntl(F_ADD_SEALS)", label,
                [&] { return ::fcntl(fd.get(), F_ADD_SEALS, kSizeSeals | F_SEAL_SEAL); });
  return fd;
}

void check_memfd(const base::UniqueFd& fd, std::uint64_t size_bytes, const std::string& what) {
  struct stat status;
  base::checked("fstat", what, [&] { return ::fstat(fd.get(), &status); });
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals == -1 || (seals & kSizeSeals) != kSizeSeals)
    throw base::ProtocolError(what + ": the descriptor is no shared memory of sealed size");
  if (static_cast<std::uint64_t>(status.st_size) != size_bytes)
    throw base::ProtocolError(what + ": the descriptor has " + std::to_string(status.st_size) +
                              " bytes, not the announced " + std::to_string(size_bytes));
}

unsigned char* map_memfd(const base::UniqueFd& fd, std::uint64_t size_bytes, bool writable,
                         const std::string& what) {
  void* data = ::mmap(nullptr, size_bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                      MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) throw base::SystemError("mmap", what, errno);
  return static_cast<unsigned char*>(data);
}

}  // namespace tasklib::blob
