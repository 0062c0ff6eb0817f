// Executor "cppdata", or another name that it is given: makes large blobs and looks at them.
#include <tasklib/executor.h>

#include <cstdint>
#include <cstring>

namespace {

std::unique_ptr<tasklib::DataInstance> text(std::uint64_t number) {
  return std::make_unique<tasklib::MemDataInstance>(std::to_string(number));
}

}  // namespace

int main(int argc, char** argv) {
  tasklib::Executor executor(argc > 1 ? argv[1] : "cppdata");
  // Config: the size. A blob of it, filled with one value.
  executor.add_task("fill", [](tasklib::Context& ctx, auto&, auto& outputs) {
    auto blob = ctx.alloc(static_cast<std::size_t>(ctx.config().as_int()));
    std::memset(blob.data(), 7, blob.size());
    outputs.push_back(std::move(blob).seal());
  });
  // First byte and size.
  executor.add_task("first", [](tasklib::Context&, auto& inputs, auto& outputs) {
    outputs.push_back(text(inputs[0]->get_ptr()[0] + inputs[0]->get_size()));
  });
  // Size alone: the bytes are not touched.
  executor.add_task("size", [](tasklib::Context&, auto& inputs, auto& outputs) {
    outputs.push_back(text(inputs[0]->get_size()));
  });
  // All but the first byte, which it looks at: a slice of the input.
  executor.add_task("shorter", [](tasklib::Context& ctx, auto& inputs, auto& outputs) {
    if (inputs[0]->get_ptr()[0] != 7) ctx.set_error("the first byte is not 7");
    outputs.push_back(inputs[0]->slice(1, inputs[0]->get_size() - 1));
  });
  executor.add_task("nothing", [](tasklib::Context&, auto&, auto& outputs) {
    outputs.push_back(std::make_unique<tasklib::MemDataInstance>(std::string()));
  });
  // Sum of all bytes.
  executor.add_task("sum", [](tasklib::Context&, auto& inputs, auto& outputs) {
    const unsigned char* bytes = inputs[0]->get_ptr();
    const std::size_t size = inputs[0]->get_size();
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < size; ++i) sum += bytes[i];
    outputs.push_back(text(sum));
  });
  executor.start();
}
