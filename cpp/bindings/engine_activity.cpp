#include "engine_activity.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "governor.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

py::str lenient_text(const std::string& text) {
  PyObject* decoded =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (!decoded) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

py::tuple id_pair(const tasklib::base::TaskId& id) { return py::make_tuple(id.session, id.id); }

py::list counts_list(const StateCounts& counts) {
  py::list list;
  for (const auto count : counts) list.append(count);
  return list;
}

py::list names_list(const std::vector<std::pair<std::string, StateCounts>>& names) {
  py::list list;
  for (const auto& [name, counts] : names)
    list.append(py::make_tuple(lenient_text(name), counts_list(counts)));
  return list;
}

/// {"now", "lag", "tasks": counts by state, "closed_sessions", "names": [(name, counts)],
///  "sessions": [(id, name, failed, counts, number of names, [(name, counts)])],
///  "executors": [(id, type, pid, state, calls, calls done, [(id of a task, name, since)])]}
py::dict activity(Engine& engine, std::size_t names) {
  engine.drain();
  const auto governor = engine.governor();
  Snapshot snapshot;
  {
    const py::gil_scoped_release unlocked;
    snapshot = governor->snapshot(names);
  }
  py::list sessions, executors;
  for (const auto& session : snapshot.sessions)
    sessions.append(py::make_tuple(session.id, lenient_text(session.name), session.failed,
                                   counts_list(session.progress.total), session.progress.names,
                                   names_list(session.progress.by_name)));
  for (const auto& executor : snapshot.executors) {
    py::list at_work;
    for (const auto& call : executor.at_work)
      at_work.append(py::make_tuple(id_pair(call.id), lenient_text(call.name), call.since));
    executors.append(py::make_tuple(executor.id.value, executor.type, executor.pid, executor.state,
                                    executor.calls, executor.calls_done, std::move(at_work)));
  }
  py::dict dict;
  dict["now"] = snapshot.now;
  dict["lag"] = snapshot.lag_seconds;
  dict["tasks"] = counts_list(snapshot.tasks);
  dict["closed_sessions"] = snapshot.closed_sessions;
  dict["names"] = names_list(snapshot.by_name);
  dict["sessions"] = std::move(sessions);
  dict["executors"] = std::move(executors);
  return dict;
}

/// [(number, id, name, task type, executor type, pid, when, run time, attempts, text)]
py::list failures(Engine& engine, std::uint64_t after) {
  const auto governor = engine.governor();
  std::vector<TaskFailure> lines;
  {
    const py::gil_scoped_release unlocked;
    lines = governor->failures(after);
  }
  py::list list;
  for (const auto& line : lines) {
    const TaskReport& report = line.report;
    list.append(py::make_tuple(line.number, id_pair(report.id), lenient_text(report.name),
                               report.task_type, report.executor_type, report.pid, line.when,
                               report.run_seconds, report.attempts, lenient_text(line.text)));
  }
  return list;
}

/// (new names, [(session, id, index of its name, executor, state, start, run time)], left out)
py::tuple take_runs(Engine& engine, std::size_t most, std::size_t first_name) {
  const auto governor = engine.governor();
  Runs taken;
  {
    const py::gil_scoped_release unlocked;
    taken = governor->take_runs(most, first_name);
  }
  py::list names, runs;
  for (const auto& name : taken.names) names.append(lenient_text(name));
  for (const auto& run : taken.runs)
    runs.append(py::make_tuple(run.id.session, run.id.id, run.name, run.executor,
                               static_cast<int>(run.state), run.start_seconds, run.run_seconds));
  return py::make_tuple(std::move(names), std::move(runs), taken.left_out);
}

}  // namespace

void def_activity(py::class_<Engine, std::shared_ptr<Engine>>& engine) {
  engine.def("activity", &activity, py::arg("names"))
      .def("keep_failures",
           [](Engine& self, bool on) {
             const auto governor = self.governor();
             const py::gil_scoped_release unlocked;
             governor->keep_failures(on);
           })
      .def("failures", &failures, py::arg("after"))
      .def("keep_runs",
           [](Engine& self, bool on) {
             const auto governor = self.governor();
             const py::gil_scoped_release unlocked;
             governor->keep_runs(on);
           })
      .def("start_event_log",
           [](Engine& self, const std::string& path) {
             const auto governor = self.governor();
             const py::gil_scoped_release unlocked;
             return governor->start_event_log(path);
           })
      .def("take_runs", &take_runs, py::arg("most"), py::arg("first_name"));
}

}  // namespace rain::bindings
