// Typed tasks and testing.h, in whatever language version the user compiles with.
#include <tasklib/testing.h>

#include <cstddef>
#include <iostream>
#include <string>
#include <tuple>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
using Doubles = std::span<const double>;
using Text = std::string_view;
#else
using Doubles = tasklib::span<const double>;
using Text = tasklib::string_view;
#endif

namespace shapes {
struct Point {
  double x;
  int n;
};
TASKLIB_STRUCT(Point, x, n);
}  // namespace shapes

int main() {
  tasklib::Executor executor("typed");
  executor.add_task("scale",
                    [](tasklib::Context& ctx, Doubles x, double factor) {
                      auto y = ctx.alloc_array<double>({x.size()});
                      for (std::size_t i = 0; i < x.size(); ++i) y[i] = factor * x[i];
                      return y;
                    },
                    {"x", "factor"});
  executor.add_task("parts", [](Text text, const shapes::Point& point, tasklib::Blob blob) {
    return std::make_tuple(std::string(text.data(), text.size()), point, std::move(blob));
  });

  using tasklib::testing::call;
  const auto scaled = call(executor, "scale", std::vector<double>{1, 2}, 3.0);
  const auto parts =
      call(executor, "parts", "text", shapes::Point{1.5, 2}, scaled.output().share());
  std::cout << scaled.get<std::vector<double>>()[1] << ' ' << parts.get<std::string>() << ' '
            << parts.get<shapes::Point>(1).x << ' ' << parts.get<std::vector<double>>(2).size()
            << ' ' << tasklib::testing::try_call(executor, "scale", 1, 2).error() << '\n';
}
