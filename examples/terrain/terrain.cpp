// Executor "terrain": slope and hillshade of an elevation grid, one band of rows per task.
//
// Input: the whole grid, doubles in metres, row by row. Every task sees the same pages of shared
// memory and reads its own rows and one more on either side (the halo), where there is one.
// Output: the band's rows as doubles, written in place into shared memory.
//
// Config of a task: rows, columns (of the grid), first_row, last_row (of the band; last_row is
// the first row after it), dx, dy (metres between columns and between rows); hillshade also
// azimuth and altitude of the sun, in radians.

#include <tasklib/executor.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace {

struct Band {
  std::size_t rows, columns, first_row, last_row;
  double dx, dy;

  explicit Band(const tasklib::Value& config)
      : rows(config.at("rows").as_uint()),
        columns(config.at("columns").as_uint()),
        first_row(config.at("first_row").as_uint()),
        last_row(config.at("last_row").as_uint()),
        dx(config.at("dx").as_double()),
        dy(config.at("dy").as_double()) {
    if (rows < 2 || columns < 2 || first_row >= last_row || last_row > rows) {
      throw std::invalid_argument(
          "the band's rows " + std::to_string(first_row) + ".." + std::to_string(last_row) +
          " do not lie in a grid of at least 2 x 2 points with " + std::to_string(rows) + " rows");
    }
  }
};

// Difference quotient along one axis: central inside, one-sided at the two ends.
double gradient(const double* at, std::size_t index, std::size_t count, std::size_t stride,
                double spacing) {
  if (index == 0) return (at[stride] - at[0]) / spacing;
  const double* before = at - stride;
  if (index == count - 1) return (at[0] - *before) / spacing;
  return (at[stride] - *before) / (2 * spacing);
}

// Writes point(dz/dx, dz/dy) for each point of the band into a new output.
template <class Point>
void for_each_point(tasklib::Context& ctx, tasklib::DataInstanceVec& inputs,
                    tasklib::DataInstanceVec& outputs, const Point& point) {
  const Band band(ctx.config());
  const double* grid = inputs[0]->as<double>();
  if (inputs[0]->count<double>() != band.rows * band.columns) {
    throw std::invalid_argument("the grid has " + std::to_string(inputs[0]->count<double>()) +
                                " points, but its rows and columns make " +
                                std::to_string(band.rows * band.columns));
  }

  auto output = ctx.alloc<double>((band.last_row - band.first_row) * band.columns);
  double* out = output.as<double>();
  for (std::size_t row = band.first_row; row < band.last_row; ++row) {
    for (std::size_t column = 0; column < band.columns; ++column) {
      const double* at = grid + row * band.columns + column;
      *out++ = point(gradient(at, column, band.columns, 1, band.dx),
                     gradient(at, row, band.rows, band.columns, band.dy));
    }
  }
  outputs.push_back(std::move(output).seal());
}

// Steepness in radians.
void slope(tasklib::Context& ctx, tasklib::DataInstanceVec& inputs,
           tasklib::DataInstanceVec& outputs) {
  if (!ctx.check_n_args(1)) return;
  for_each_point(ctx, inputs, outputs, [](double dzdx, double dzdy) {
    return std::atan(std::sqrt(dzdx * dzdx + dzdy * dzdy));
  });
}

// Light that falls on the ground, 0 to 1: cosine between the surface normal and the sun.
void hillshade(tasklib::Context& ctx, tasklib::DataInstanceVec& inputs,
               tasklib::DataInstanceVec& outputs) {
  if (!ctx.check_n_args(1)) return;
  const double azimuth = ctx.config().at("azimuth").as_double();
  const double altitude = ctx.config().at("altitude").as_double();
  // x points east, y south (rows go south), z up; azimuth counts from north over east.
  const double east = std::sin(azimuth) * std::cos(altitude);
  const double south = -std::cos(azimuth) * std::cos(altitude);
  const double up = std::sin(altitude);
  for_each_point(ctx, inputs, outputs, [=](double dzdx, double dzdy) {
    const double cosine =
        (up - dzdx * east - dzdy * south) / std::sqrt(1 + dzdx * dzdx + dzdy * dzdy);
    return std::max(cosine, 0.0);
  });
}

}  // namespace

int main() {
  tasklib::Executor executor("terrain");
  executor.add_task("slope", slope);
  executor.add_task("hillshade", hillshade);
  executor.start();
}
