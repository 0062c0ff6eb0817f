#pragma once

#include <cerrno>
#include <string>

#include "base/errors.h"

namespace tasklib::base {

/// Runs `call` (a callable returning an integer, -1 with errno on failure), again after EINTR.
/// Returns the result; -1 and errno are left for the caller to look at.
template <class Call>
auto retry_interrupted(Call&& call) -> decltype(call()) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

/// Like retry_interrupted, but a failure throws SystemError naming the call and the object.
template <class Call>
auto checked(const char* name, const std::string& object, Call&& call) -> decltype(call()) {
  auto result = retry_interrupted(call);
  if (result == -1) throw SystemError(name, object, errno);
  return result;
}

}  // namespace tasklib::base
