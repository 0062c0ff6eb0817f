#pragma once

namespace rain::launcher {

/// Removes the directory `path` and all that is in it, as far as it can: what can't be removed is
/// left. Works at any depth with three descriptors, opens what it has to by chmod, follows no
/// symbolic link and leaves other file systems mounted in it alone. Requires: an absolute path
/// other than "/". Never throws.
void remove_tree(const char* path) noexcept;

}  // namespace rain::launcher
