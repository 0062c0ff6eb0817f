#include "typed.h"

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace {

struct Point {
  double x, y;
  std::vector<std::string> tags;
};
TASKLIB_STRUCT(Point, x, y, tags);

tasklib::MutableArray<double, 1> typed_scale(tasklib::Context& ctx, tasklib::span<const double> x,
                                             double factor) {
  auto y = ctx.alloc_array<double>({x.size()});
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = factor * x[i];
  return y;
}

tasklib::MutableArray<std::int32_t, 2> typed_transpose(
    tasklib::Context& ctx, tasklib::ndview<const std::int32_t, 2> matrix) {
  auto t = ctx.alloc_array<std::int32_t>({matrix.extent(1), matrix.extent(0)});
  for (std::size_t i = 0; i < matrix.extent(0); ++i)
    for (std::size_t k = 0; k < matrix.extent(1); ++k) t(k, i) = matrix(i, k);
  return t;
}

Point typed_move(Point point, const std::string& tag) {
  ++point.x;
  point.tags.push_back(tag);
  return point;
}

std::tuple<std::string, std::int64_t, tasklib::Blob> typed_parts(tasklib::string_view text,
                                                                 tasklib::Blob anything) {
  return std::make_tuple(text.to_string() + "!", static_cast<std::int64_t>(text.size()),
                         std::move(anything));
}

}  // namespace

void add_typed_tasks(tasklib::Executor& executor) {
  executor.add_task("typed_scale", typed_scale, {"x", "factor"});
  executor.add_task("typed_transpose", typed_transpose, {"matrix"});
  executor.add_task("typed_move", typed_move, {"point", "tag"});
  executor.add_task("typed_parts", typed_parts, {"text", "anything"});
  executor.add_task("typed_nothing", [](bool) {}, {"flag"});
}
