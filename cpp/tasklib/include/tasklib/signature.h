#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tasklib {

/// What an input or output of a typed task is. Announced to the governor, so that who calls the
/// task sees it, and named in errors.
struct ValueType {
  enum class Kind : std::uint8_t {
    any,      ///< whatever it is
    bytes,    ///< as they are
    text,     ///< UTF-8
    ndarray,  ///< content type "user/ndarray"
    value,    ///< null, bool, number, text, list or map; content type "cbor"
  };
  Kind kind = Kind::any;
  // Of ndarray. In Python a parameter may leave open what C++ always says.
  static constexpr std::size_t any_dimensions = static_cast<std::size_t>(-1);
  std::string dtype;             ///< as in .npy files ("<f8"); empty: any
  std::size_t n_dimensions = 0;  ///< 0: a scalar
  std::string name;              ///< of the parameter; empty: not given

  /// "float64 scalar", "ndarray float64 of 2 dimensions", "text", ...
  std::string to_string() const;
};

struct Signature {
  std::vector<ValueType> inputs, outputs;
};

}  // namespace tasklib
