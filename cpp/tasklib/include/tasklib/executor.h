#pragma once

#include <functional>
#include <memory>
#include <string>

#include "blob.h"
#include "context.h"
#include "datainstance.h"
#include "ids.h"
#include "value.h"

/// Tasks in C++. A program registers functions under names and serves them:
///
///   int main() {
///     tasklib::Executor executor("example1");
///     executor.add_task("hello", [](tasklib::Context &ctx, auto &inputs, auto &outputs) {
///       if (!ctx.check_n_args(1)) return;
///       std::string text = "Hello " + inputs[0]->read_as_string() + "!";
///       outputs.push_back(std::make_unique<tasklib::MemDataInstance>(text));
///     });
///     executor.start();
///   }
///
/// A governor starts the program when tasks of its type need it.
namespace tasklib {

/// Context, inputs, outputs. Inputs may be moved into outputs (the data are not copied). Outputs
/// are empty at first; on return there must be as many as the task declares, unless an error was
/// set. An exception that leaves the function is the task's error. Called from several threads at
/// once if the executor was started with several.
using TaskFunction = std::function<void(Context&, DataInstanceVec&, DataInstanceVec&)>;

/// One executor process: its functions, and the connection to the governor that started it.
/// Not thread-safe.
class Executor {
 public:
  /// `type_name`: the part of task types before the "/"; the same as in the governor's
  /// configuration.
  explicit Executor(const std::string& type_name);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// `name`: without the type. A second function of the same name replaces the first.
  void add_task(const std::string& name, const TaskFunction& function);

  /// Serves calls, up to `threads` at a time (the calling thread is one of them; default: as many
  /// as the executor's registration says, else one), and returns when the governor has no more or
  /// is gone. Throws std::runtime_error with the reason if the program
  /// was not started by a governor, or the connection fails or carries nonsense. Never exits.
  void start();
  void start(unsigned threads);

 private:
  void serve(unsigned threads);  // 0: as registered
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tasklib
