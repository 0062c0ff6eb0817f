#include "base/errors.h"

#include <cstring>

namespace tasklib::base {

SystemError::SystemError(const std::string& call, const std::string& object, int error_number)
    : Error(call + "(" + object + "): " + std::strerror(error_number)),
      error_number_(error_number) {}

ProtocolError::ProtocolError(const std::string& what, std::size_t offset_bytes)
    : Error(offset_bytes == kNoOffset ? what
                                      : what + " (at byte " + std::to_string(offset_bytes) + ")"),
      offset_bytes_(offset_bytes) {}

}  // namespace tasklib::base
