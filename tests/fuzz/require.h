#pragma once

#include <cstdio>
#include <cstdlib>

namespace tasklib::wire::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not true: %s\n", what);
  std::abort();
}

}  // namespace tasklib::wire::fuzz
