#include "base/private_mapping.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/errors.h"

namespace tasklib::base {

std::shared_ptr<unsigned char> map_private(const UniqueFd& fd, std::uint64_t offset_bytes,
                                           std::uint64_t size_bytes, const std::string& what) {
  const std::uint64_t before = offset_bytes % static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t mapped_bytes = before + size_bytes;
  void* mapped = ::mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                        fd.get(), static_cast<off_t>(offset_bytes - before));
  if (mapped == MAP_FAILED) throw SystemError("mmap", what, errno);
  return std::shared_ptr<unsigned char>(
      static_cast<unsigned char*>(mapped) + before,
      [mapped, mapped_bytes](unsigned char*) { ::munmap(mapped, mapped_bytes); });
}

}  // namespace tasklib::base
