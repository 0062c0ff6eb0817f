// Everything that programs written against the older C++ library use, as they use it.
#include <tasklib/context.h>
#include <tasklib/datainstance.h>
#include <tasklib/executor.h>
#include <tasklib/ids.h>

#include <cstdio>
#include <exception>
#include <memory>

static void copy_bytes(tasklib::Context& ctx, tasklib::DataInstanceVec& inputs,
                       tasklib::DataInstanceVec& outputs) {
  if (inputs.empty()) {
    ctx.set_error("no inputs");
    return;
  }
  const unsigned char* ptr = inputs[0]->get_ptr();
  size_t size = inputs[0]->get_size();
  std::vector<unsigned char> bytes(ptr, ptr + size);
  tasklib::DataInstancePtr output = std::make_unique<tasklib::MemDataInstance>(std::move(bytes));
  outputs.push_back(std::move(output));
  outputs.push_back(std::make_unique<tasklib::FileDataInstance>("/tmp/file"));
  if (ctx.has_error()) std::puts(ctx.get_error_message().c_str());
}

int main() try {
  tasklib::Sid id;
  tasklib::TaskId task_id = id;
  tasklib::DataObjectId object_id(1, 10);
  if (task_id.is_valid() || object_id.get_id() != 10 || object_id.get_session_id() != 1) return 2;

  tasklib::Executor executor("example1");
  executor.add_task("hello", [](tasklib::Context& ctx, auto& inputs, auto& outputs) {
    if (!ctx.check_n_args(1)) return;
    auto& input1 = inputs[0];
    std::string str = "Hello " + input1->read_as_string() + "!";
    outputs.push_back(std::make_unique<tasklib::MemDataInstance>(str));
  });
  tasklib::TaskFunction function = copy_bytes;
  executor.add_task("copy_bytes", function);
  executor.start();
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
