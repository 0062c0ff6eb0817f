#pragma once

#include <Python.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace rain::bindings {

/// Where tasks were created: the innermost frames outside of the rain package, as code objects
/// and positions. Equal places are kept once; the text is made when somebody asks. Under the GIL.
class Origins {
 public:
  static constexpr int kMaxFrames = 6;

  struct Frame {
    PyCodeObject* code;  // owned by the table
    int position;        // of the instruction, for PyCode_Addr2Line
    friend bool operator==(const Frame&, const Frame&) = default;
  };

  Origins() = default;
  ~Origins();
  Origins(const Origins&) = delete;
  Origins& operator=(const Origins&) = delete;

  /// The place that is calling now; a number for frames().
  std::uint32_t capture();
  /// Innermost first.
  const std::vector<Frame>& frames(std::uint32_t origin) const { return places_[origin]; }

  /// Frames of files below this directory are left out.
  static void set_own_directory(std::string path);

 private:
  std::vector<std::vector<Frame>> places_;
  std::unordered_multimap<std::size_t, std::uint32_t> by_hash_;
  std::uint32_t last_ = 0;
};

}  // namespace rain::bindings
