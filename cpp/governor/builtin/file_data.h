#pragma once

// Files and data, one into the other. Thread-safe; for threads that may wait for a disk.

#include <sys/types.h>

#include <memory>
#include <string>

#include "builtin/tree.h"
#include "object_data.h"

namespace rain::builtin {

/// The contents of the regular file `path` as data of their own: in memory if they are small and
/// no program, else a file in `place`. Throws Error that names the path, Stopped.
std::shared_ptr<Data> copy_to_data(const std::string& path, DataDirectory& place,
                                   const StopFlag* stop);

/// The same for a file that is data: a large one gets a second name instead of a copy.
std::shared_ptr<Data> share_as_data(const std::string& path, DataDirectory& place,
                                    const StopFlag* stop);

/// The file or directory `path` as data: a small blob into memory, all else is moved (take_path()).
std::shared_ptr<Data> move_to_data(const std::string& path, DataDirectory& place,
                                   const std::shared_ptr<ReleaseQueue>& releases);

/// Writes all of a blob to `fd`; `name` is for messages. Throws SystemError, Stopped.
void write_data(const Data& data, int fd, const std::string& name, const StopFlag* stop);

/// The x bits that a file with these data should have.
mode_t executable_bits(const Data& data);

}  // namespace rain::builtin
