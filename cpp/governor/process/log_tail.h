#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace rain::process {

/// `bytes` as valid UTF-8: each byte that belongs to no well-formed character becomes U+FFFD.
std::string to_valid_utf8(std::string_view bytes);

/// The last `max_bytes` of a file as valid UTF-8; a cut never falls inside a character. A file
/// that is missing or unreadable is empty: logs are shown, never relied on.
std::string tail_bytes(const std::string& path, std::size_t max_bytes);

/// The last `max_lines` lines, of at most `max_bytes` altogether, without the final newline.
std::string tail_lines(const std::string& path, std::size_t max_lines,
                       std::size_t max_bytes = 16 * 1024);

}  // namespace rain::process
