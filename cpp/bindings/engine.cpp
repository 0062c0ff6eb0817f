#include "engine.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "session_core.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

/// Every Engine of this process, for the end of the interpreter and for forks.
std::vector<Engine*>& engines() {
  static std::vector<Engine*> all;
  return all;
}

}  // namespace

Engine::Engine(GovernorOptions options) : cpus_(options.cpus) {
  {
    py::gil_scoped_release unlocked;
    governor_ = std::make_shared<Governor>(std::move(options));
  }
  run_directory_ = governor_->run_directory();
  engines().push_back(this);
}

Engine::~Engine() {
  std::erase(engines(), this);
  Py_XDECREF(last_task_type_);
  Py_XDECREF(first_submit_);
  py::gil_scoped_release unlocked;
  governor_.reset();
}

std::shared_ptr<Governor> Engine::governor() const {
  if (!governor_) throw UsageError("the Client is closed: create a new Client");
  return governor_;
}

void Engine::close() {
  std::shared_ptr<Governor> governor = governor_;
  if (!governor) return;
  std::vector<TaskReport> reports;
  std::vector<std::string> warnings;
  {
    py::gil_scoped_release unlocked;
    governor->close();
    reports = governor->take_reports();
    warnings = governor->take_warnings();
  }
  std::ranges::move(reports, std::back_inserter(last_reports_));
  std::ranges::move(warnings, std::back_inserter(last_warnings_));
  if (governor->closed()) governor_.reset();  // not in a forked child
  const auto shared = std::exchange(shared_, {});
  py::gil_scoped_release unlocked;
  governor.reset();
}

std::vector<TaskReport> Engine::take_reports() {
  std::vector<TaskReport> reports = std::exchange(last_reports_, {});
  if (const auto governor = governor_) {
    py::gil_scoped_release unlocked;
    std::ranges::move(governor->take_reports(), std::back_inserter(reports));
  }
  return reports;
}

std::vector<std::string> Engine::take_warnings() {
  std::vector<std::string> warnings = std::exchange(last_warnings_, {});
  if (const auto governor = governor_) {
    py::gil_scoped_release unlocked;
    std::ranges::move(governor->take_warnings(), std::back_inserter(warnings));
  }
  return warnings;
}

void Engine::on_first_submit(PyObject* hook) {
  Py_INCREF(hook);
  Py_XSETREF(first_submit_, hook);
}

void Engine::call_first_submit() {
  const auto hook = py::reinterpret_steal<py::object>(std::exchange(first_submit_, nullptr));
  hook();
}

Governor::Method Engine::intern(PyObject* task_type) {
  if (task_type == last_task_type_) return last_method_;
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(task_type, &size);
  if (!text) throw py::error_already_set();
  std::string name(text, static_cast<std::size_t>(size));
  auto found = methods_.find(name);
  if (found == methods_.end()) {
    const Governor::Method method = [&] {
      try {
        return governor()->intern_method(name);
      } catch (const UsageError&) {
        if (!learn_offers()) throw;
      }
      return governor()->intern_method(name);
    }();
    found = methods_.emplace(std::move(name), method).first;
    names_.emplace(method.method, &found->first);
  }
  last_method_ = found->second;
  Py_INCREF(task_type);
  Py_XSETREF(last_task_type_, task_type);
  return last_method_;
}

void Engine::add_offer(const std::vector<std::string>& executors, std::uint32_t cpus,
                       std::vector<graph::Resource> resources) {
  const auto governor = this->governor();
  cpus_ = std::max(cpus_, cpus);
  const py::gil_scoped_release unlocked;
  governor->add_offer(executors, cpus, std::move(resources));
}

bool Engine::learn_offers() {
  return py::cast(this, py::return_value_policy::reference).attr("learn_offers")().cast<bool>();
}

void Engine::drain() {
  if (unkeeping_.empty() && to_close_.empty()) return;
  std::vector<graph::ObjectRef> objects;
  std::erase_if(unkeeping_, [&](SessionCore* session) {
    if (session->has_drafts()) return false;
    std::ranges::move(std::exchange(session->to_unkeep, {}), std::back_inserter(objects));
    return true;
  });
  const auto sessions = std::exchange(to_close_, {});
  const auto governor = governor_;
  if (!governor) return;
  py::gil_scoped_release unlocked;
  if (!objects.empty()) governor->unkeep(std::move(objects));
  for (const auto& session : sessions) governor->close_session(session);
}

void Engine::close_all() {
  const std::vector<Engine*> all = engines();
  for (Engine* engine : all)
    if (const auto governor = engine->governor_) {
      py::gil_scoped_release unlocked;
      governor->close();
    }
}

void Engine::after_fork_in_child() {
  for (Engine* engine : engines())
    if (engine->governor_) engine->governor_->abandon_after_fork();
}

}  // namespace rain::bindings
