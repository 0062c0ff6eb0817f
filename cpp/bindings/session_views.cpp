#include "session_views.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "annex.h"
#include "client.h"
#include "governor.h"
#include "objects.h"
#include "session_core.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using graph::ObjectRecord;
using graph::ObjectRef;
using graph::TaskRecord;
using graph::TaskRef;

py::str lenient_text(const std::string& text) {
  PyObject* decoded =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (!decoded) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

py::list to_list(const StateCounts& counts) {
  py::list list;
  for (const auto count : counts) list.append(count);
  return list;
}

/// (counts by state, number of names, [(name, counts by state)], [failure]). Releases the GIL.
py::tuple session_progress(const py::object& session, std::size_t names) {
  const SessionCore* core = core_of(session.ptr());
  const auto governor = governor_of(core);
  const graph::SessionRef record = core->record;
  Progress progress;
  {
    const py::gil_scoped_release unlocked;
    progress = governor->progress(record, names);
  }
  py::list by_name, failures;
  for (const auto& [name, counts] : progress.by_name)
    by_name.append(py::make_tuple(name, to_list(counts)));
  for (const auto& line : progress.failures) failures.append(lenient_text(line));
  return py::make_tuple(to_list(progress.total), progress.names, by_name, failures);
}

/// By id: drafts, what runs, and what has a living handle.
struct Graph {
  std::map<std::int32_t, TaskRef> tasks;
  std::map<std::int32_t, ObjectRef> objects;

  void add(TaskRecord* task) { tasks.emplace(task->id.id, task); }
  void add(ObjectRecord* object) { objects.emplace(object->id.id, object); }
};

Graph collect(const SessionCore* core) {
  Graph graph;
  if (core->engine && core->usable()) {
    const auto governor = governor_of(core);
    const graph::SessionRef record = core->record;
    std::vector<TaskRef> live;
    {
      const py::gil_scoped_release unlocked;
      live = governor->live_tasks(record);
    }
    for (const auto& task : live) graph.add(task.get());
  }
  for (const auto& task : core->draft_tasks) graph.add(task.get());
  for (const auto& object : core->draft_objects) graph.add(object.get());
  for (const TaskHandle* handle = core->tasks; handle; handle = handle->next)
    graph.add(handle->record);
  for (const auto& [record, handle] : core->objects) {
    graph.add(record);
    if (handle->producer) graph.add(handle->producer);
  }
  for (const auto& [id, task] : graph.tasks) {
    for (const auto& input : task->inputs) graph.add(input.get());
    for (const auto& output : task->outputs) graph.add(output.get());
  }
  return graph;
}

/// ([(id, type, name, state, [input's id], [its label], [output's id])],
///  [(id, label, state, is it a directory)]), in the order of ids.
py::tuple session_graph(const py::object& session) {
  const SessionCore* core = core_of(session.ptr());
  const Graph graph = collect(core);
  py::list tasks, objects;
  for (const auto& [id, task] : graph.tasks) {
    const TaskAnnex* annex = annex_of(*task);
    py::list inputs, labels, outputs;
    for (std::size_t i = 0; i < task->inputs.size(); ++i) {
      inputs.append(task->inputs[i]->id.id);
      const bool labelled = annex && i < annex->input_labels.size();
      labels.append(labelled ? annex->input_labels[i] : std::string());
    }
    for (const auto& output : task->outputs) outputs.append(output->id.id);
    tasks.append(py::make_tuple(id, core->task_type(task->method), annex ? annex->name : "",
                                static_cast<int>(task->state.load()), inputs, labels, outputs));
  }
  for (const auto& [id, object] : graph.objects) {
    const ObjectAnnex* annex = annex_of(*object);
    objects.append(py::make_tuple(id, annex ? annex->label : "",
                                  static_cast<int>(object->state.load()),
                                  annex && annex->data_type == tasklib::wire::DataType::directory));
  }
  return py::make_tuple(tasks, objects);
}

}  // namespace

void bind_session_views(py::module_& module) {
  module.def("session_progress", &session_progress);
  module.def("session_graph", &session_graph);
}

}  // namespace rain::bindings
