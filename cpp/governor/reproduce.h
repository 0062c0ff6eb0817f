#pragma once

#include <memory>
#include <string>
#include <vector>

#include "object_data.h"
#include "wire/messages.h"

namespace rain {

/// Writes a call and its inputs into the empty directory, in the form that executors run alone
/// (tasklib's executor/reproduce.h): files `call` and `inputs/N`. All are copies, to be changed at
/// will. Any thread. Throws SystemError, Error.
void write_reproduced(tasklib::wire::Call call, const std::vector<std::shared_ptr<Data>>& inputs,
                      const std::string& directory);

}  // namespace rain
