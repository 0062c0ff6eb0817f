// Executor "noop": the cheapest task there is, with one empty output.
#include <tasklib/executor.h>

int main() {
  tasklib::Executor executor("noop");
  executor.add_task("noop", [](tasklib::Context&, auto&, auto& outputs) {
    outputs.push_back(std::make_unique<tasklib::MemDataInstance>(std::string()));
  });
  executor.start();
}
