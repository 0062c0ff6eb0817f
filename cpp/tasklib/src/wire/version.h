#pragma once

// Who has to be rebuilt when the two sides don't understand each other.

#include <string>

namespace tasklib::wire {

/// Of this library: "0.1.0".
const char* own_version();

/// The end of an error about a message that one side doesn't understand: both versions, which is
/// older, and what to do. `executor` and `governor` are what they said of themselves; empty:
/// nothing, as the first versions did.
std::string mismatch_text(const std::string& executor, const std::string& governor);

}  // namespace tasklib::wire
