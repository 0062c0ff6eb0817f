#include "completions.h"

#include <chrono>
#include <unordered_map>
#include <utility>
#include <vector>

#include "client.h"
#include "errors.h"
#include "governor.h"
#include "objects.h"
#include "session_core.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using graph::TaskRecord;
using graph::TaskRef;
using graph::TaskState;

/// False: nothing will tell when the item is done, for it is a draft, a constant, or an object of
/// which it is not known who makes it.
bool is_watchable(const py::object& item) {
  const TaskRef task = deciding_task(item);
  return task && task->state.load() != TaskState::draft;
}

/// A rain::CompletionQueue that remembers a Python object for each task it watches. Everything but
/// the queue itself: under the GIL.
class Completions {
 public:
  /// True: `token` will come out of take() once the item is done. False: it is not watchable.
  bool watch(const py::object& item, const py::object& token) {
    return watch_all(py::make_tuple(item), py::make_tuple(token)) == 1;
  }

  /// As watch(), for items of one client; returns how many are watched. The others are skipped.
  std::size_t watch_all(const py::sequence& items, const py::sequence& tokens) {
    if (py::len(items) != py::len(tokens)) throw py::value_error("one token for each item");
    std::vector<TaskRef> tasks;
    const SessionCore* any = nullptr;
    std::vector<py::object> owned;
    for (std::size_t i = 0; i < py::len(items); ++i) {
      const py::object item = items[i];
      TaskRef task = deciding_task(item);
      if (!task || task->state.load() == TaskState::draft) continue;
      const SessionCore* core = session_of(item);
      if (any && any->engine != core->engine)
        raise("RainException", "the items belong to different clients: wait for each client's own");
      any = core;
      tasks.push_back(std::move(task));
      owned.push_back(tokens[i]);
    }
    if (!any) return 0;
    // Not governor_of(): what is done can be watched after close(), too.
    if (!any->engine->closed()) {
      any->engine->drain();
      governor_ = any->engine->governor();
    }
    for (std::size_t i = 0; i < tasks.size(); ++i)
      tokens_[tasks[i].get()].push_back(std::move(owned[i]));
    const std::shared_ptr<Governor> governor = governor_.lock();
    if (governor) {
      const py::gil_scoped_release unlocked;
      governor->watch(tasks, queue_);
    } else {  // closed: all are terminal
      for (auto& task : tasks) queue_->push(std::move(task));
      queue_->signal();
    }
    return owned.size();
  }

  py::list take() {
    py::list list;
    const std::vector<TaskRef> tasks = queue_->take();
    for (const auto& task : tasks) {
      const auto node = tokens_.extract(task.get());
      if (!node) continue;  // watched twice when it was over: came with the first
      for (const auto& token : node.mapped()) list.append(token);
    }
    return list;
  }

  /// Returns after 100 ms at the latest. Drives the governor of what was watched last.
  bool wait(double seconds) {
    using tasklib::base::Clock;
    const std::shared_ptr<Governor> governor = governor_.lock();
    if (!governor) return !queue_->empty();
    const auto deadline =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(
                           std::chrono::duration<double>(std::min(std::max(seconds, 0.0), 0.1)));
    Governor::Wait outcome;
    {
      const py::gil_scoped_release unlocked;
      outcome = governor->wait(*queue_, deadline);
    }
    return outcome == Governor::Wait::done;
  }

  int fileno() { return queue_->fd(); }
  void nudge() { queue_->nudge(); }

 private:
  const std::shared_ptr<CompletionQueue> queue_ = std::make_shared<CompletionQueue>();
  std::weak_ptr<Governor> governor_;
  // The queue or the governor holds each task until it is taken out.
  std::unordered_map<const TaskRecord*, std::vector<py::object>> tokens_;
};

}  // namespace

void bind_completions(py::module_& module) {
  py::class_<Completions>(module, "CompletionQueue")
      .def(py::init<>())
      .def("watch", &Completions::watch)
      .def("watch_all", &Completions::watch_all)
      .def("take", &Completions::take)
      .def("wait", &Completions::wait)
      .def("fileno", &Completions::fileno)
      .def("nudge", &Completions::nudge);
  module.def("is_watchable", &is_watchable);
}

}  // namespace rain::bindings
