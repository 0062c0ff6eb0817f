#include "engine.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <utility>

namespace py = pybind11;

namespace rain::bindings {
namespace {

/// Every Engine of this process, for the end of the interpreter and for forks.
std::vector<Engine*>& engines() {
  static std::vector<Engine*> all;
  return all;
}

}  // namespace

Engine::Engine(GovernorOptions options) {
  {
    py::gil_scoped_release unlocked;
    governor_ = std::make_unique<Governor>(std::move(options));
  }
  engines().push_back(this);
}

Engine::~Engine() {
  std::erase(engines(), this);
  Py_XDECREF(last_task_type_);
  py::gil_scoped_release unlocked;
  governor_.reset();
}

Governor::Method Engine::intern(PyObject* task_type) {
  if (task_type == last_task_type_) return last_method_;
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(task_type, &size);
  if (!text) throw py::error_already_set();
  std::string name(text, static_cast<std::size_t>(size));
  auto found = methods_.find(name);
  if (found == methods_.end()) {
    const Governor::Method method = governor_->intern_method(name);
    found = methods_.emplace(std::move(name), method).first;
  }
  last_method_ = found->second;
  Py_INCREF(task_type);
  Py_XSETREF(last_task_type_, task_type);
  return last_method_;
}

void Engine::drain() {
  if (to_unkeep_.empty() && to_close_.empty()) return;
  auto objects = std::exchange(to_unkeep_, {});
  const auto sessions = std::exchange(to_close_, {});
  if (closed()) return;
  py::gil_scoped_release unlocked;
  if (!objects.empty()) governor_->unkeep(std::move(objects));
  for (const auto& session : sessions) governor_->close_session(session);
}

void Engine::close_all() {
  const std::vector<Engine*> all = engines();
  py::gil_scoped_release unlocked;
  for (Engine* engine : all) engine->governor().close();
}

void Engine::after_fork_in_child() {
  for (Engine* engine : engines()) engine->governor().abandon_after_fork();
}

}  // namespace rain::bindings
