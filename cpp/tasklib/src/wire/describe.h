#pragma once

#include <string>

#include "wire/messages.h"

namespace tasklib::wire {

/// The message as JSON, for logs, error messages and tests: `["result", {"task": [1, 12], ...}]`
/// as it stands on the wire, with byte strings as {"bytes": "hex"}. In the form of cbor-1; what
/// only cbor-2 has (a message, a sequence, a region) in the form of that.
std::string describe(const ToGovernor& message);
std::string describe(const ToExecutor& message);

}  // namespace tasklib::wire
