// Word for word as users of the older tasklib have it, blanks included.
// clang-format off
#include <tasklib/executor.h>
int main() {
  tasklib::Executor executor("example1");
  executor.add_task("hello", [](tasklib::Context &ctx, auto &inputs, auto &outputs) {
    if (!ctx.check_n_args(1)) return;
    auto& input1 = inputs[0];
    std::string str = "Hello " + input1->read_as_string() + "!";
    outputs.push_back(std::make_unique<tasklib::MemDataInstance>(str));
  });
  executor.start();
}
