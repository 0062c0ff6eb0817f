#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "blob.h"
#include "context.h"
#include "datainstance.h"
#include "ids.h"
#include "signature.h"
#include "typed.h"
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
///     executor.add_task("scale", [](tasklib::span<const double> x, double factor) {
///       std::vector<double> y;
///       for (double each : x) y.push_back(factor * each);
///       return y;
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
  /// A task whose inputs and outputs are the parameters and the result of `function`, which may
  /// take a Context& first. Inputs of other types fail the task with an error that says which and
  /// why; with `parameter_names` it names the parameter. docs/tutorial-cpp.md lists the types.
  /// Throws std::invalid_argument unless there are as many names as parameters, or none.
  template <class F, class Task = typed::TaskOfFunction<F>,
            class = typename std::enable_if<!Task::classic>::type>
  void add_task(const std::string& name, F function,
                const std::vector<std::string>& parameter_names = {}) {
    const auto shared = std::make_shared<F>(std::move(function));
    const auto signature =
        std::make_shared<const Signature>(named(name, Task::signature(), parameter_names));
    add_typed_task(
        name,
        [shared, signature](Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
          Task::call(*shared, *signature, ctx, inputs, outputs);
        },
        *signature);
  }

  /// Serves calls, up to `threads` at a time (the calling thread is one of them; default: as many
  /// as the executor's registration says, else one), and returns when the governor has no more or
  /// is gone. Throws std::runtime_error with the reason if the program
  /// was not started by a governor, or the connection fails or carries nonsense. Never exits.
  /// With RAIN_REPRODUCE in the environment (the client's Task.reproduce() says how) it runs the
  /// one call that was written there, connects nowhere, and throws the task's error if that fails.
  void start();
  void start(unsigned threads);

 private:
  friend struct executor::Access;
  static Signature named(const std::string& task, Signature signature,
                         const std::vector<std::string>& parameter_names);
  void add_typed_task(const std::string& name, const TaskFunction& function,
                      const Signature& signature);
  void serve(unsigned threads);  // 0: as registered
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tasklib
