#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/unique_fd.h"

namespace tasklib::base {

/// Part of a file, mapped writable for this process alone: the kernel copies a page when it is
/// first written, and nobody else sees what is written. Pages that were not written stay the
/// file's, so its owner must not change them as long as the pointer lives. Unmapped with the last
/// copy of the pointer, in any thread. `offset_bytes` need not be a page's.
/// Requires: size_bytes > 0. Throws SystemError naming `what`.
std::shared_ptr<unsigned char> map_private(const UniqueFd& fd, std::uint64_t offset_bytes,
                                           std::uint64_t size_bytes, const std::string& what);

}  // namespace tasklib::base
