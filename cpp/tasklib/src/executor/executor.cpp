#include "tasklib/executor.h"

#include <cstdio>
#include <stdexcept>

#include "base/errors.h"
#include "executor/access.h"
#include "executor/environment.h"
#include "executor/loop.h"
#include "executor/reproduce.h"

namespace tasklib {

struct Executor::State {
  std::string type;
  executor::Methods methods;
};

Executor::Executor(const std::string& type_name) : state_(new State) {
  if (type_name.empty() || type_name.find('/') != std::string::npos)
    throw std::invalid_argument("'" + type_name +
                                "' is no executor type: it must not be empty or contain a '/'");
  state_->type = type_name;
}

Executor::~Executor() = default;

void Executor::add_task(const std::string& name, const TaskFunction& function) {
  if (!function) throw std::invalid_argument("add_task(\"" + name + "\"): the function is empty");
  executor::Method& method = state_->methods[state_->type + "/" + name];
  method.function = function;
  method.typed = nullptr;
}

Signature Executor::named(const std::string& task, Signature signature,
                          const std::vector<std::string>& parameter_names) {
  const std::size_t n = signature.inputs.size();
  if (!parameter_names.empty() && parameter_names.size() != n)
    throw std::invalid_argument("add_task(\"" + task +
                                "\"): " + std::to_string(parameter_names.size()) + " names for " +
                                std::to_string(n) + " parameters (a Context& has none)");
  for (std::size_t i = 0; i < parameter_names.size(); ++i)
    signature.inputs[i].name = parameter_names[i];
  return signature;
}

void Executor::add_typed_task(const std::string& name, const TaskFunction& function,
                              const Signature& signature) {
  add_task(name, function);
  state_->methods[state_->type + "/" + name].typed.reset(new Signature(signature));
}

const std::string& executor::Access::type(const Executor& executor) {
  return executor.state_->type;
}
executor::Methods& executor::Access::methods(Executor& executor) {
  return executor.state_->methods;
}

void Executor::start() { serve(0); }

void Executor::start(unsigned threads) {
  if (threads == 0) throw std::invalid_argument("start(0): at least one thread is needed");
  serve(threads);
}

void Executor::serve(unsigned threads) {
  if (const auto directory = executor::reproduce_directory()) {
    try {
      return executor::reproduce(state_->type, state_->methods, *directory);
    } catch (const base::Error& error) {
      std::fprintf(stderr, "tasklib: %s\n", error.what());
      throw std::runtime_error(error.what());
    }
  }
  executor::Environment environment = executor::read_environment();
  if (threads == 0) threads = environment.threads;
  try {
    executor::Loop(state_->type, state_->methods, environment, threads).run();
  } catch (const std::exception& error) {
    // The governor keeps the last lines of stderr, whatever main() does with the exception.
    const std::string text = "executor '" + state_->type + "' (id " +
                             std::to_string(environment.executor_id) + "): " + error.what();
    std::fprintf(stderr, "tasklib: %s\n", text.c_str());
    throw std::runtime_error(text);
  }
}

}  // namespace tasklib
