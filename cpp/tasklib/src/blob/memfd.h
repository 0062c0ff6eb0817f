#pragma once

#include <cstdint>
#include <string>

#include "base/unique_fd.h"

namespace tasklib::blob {

/// Shared memory without a name: the kernel frees it with its last descriptor and mapping,
/// whatever dies. `label` shows up in /proc/<pid>/maps and nowhere else. The size is sealed for
/// good (F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL), so that a page that was mapped can't vanish.
/// No page is populated yet. Throws SystemError.
base::UniqueFd make_memfd(const char* label, std::uint64_t size_bytes);

/// Throws ProtocolError naming `what` when `fd` is not a memfd of exactly this size with both
/// size seals; SystemError when it can't be looked at.
void check_memfd(const base::UniqueFd& fd, std::uint64_t size_bytes, const std::string& what);

/// Maps all of it, shared; read-only unless `writable`. Throws SystemError.
unsigned char* map_memfd(const base::UniqueFd& fd, std::uint64_t size_bytes, bool writable,
                         const std::string& what);

}  // namespace tasklib::blob
