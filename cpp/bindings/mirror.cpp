#include "mirror.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "buffer.h"
#include "client.h"
#include "engine.h"
#include "governor.h"
#include "remote/outgoing.h"
#include "remote/update.h"
#include "upload.h"
#include "values.h"

namespace py = pybind11;

namespace rain::bindings {

SubmissionHandle::~SubmissionHandle() {
  const py::gil_scoped_release unlocked;
  submission.reset();
}

namespace {

struct ToTuple {
  py::object operator()(remote::Opened& note) const {
    return py::make_tuple("open", note.session, note.name, note.continue_on_error);
  }
  py::object operator()(remote::Submitted& note) const {
    return py::make_tuple("submit", std::make_unique<SubmissionHandle>(std::move(note.submission)));
  }
  py::object operator()(remote::Cancelled& note) const {
    return py::make_tuple("cancel", note.session, note.tasks);
  }
  py::object operator()(remote::Unkept& note) const {
    return py::make_tuple("unkeep", note.session, note.objects);
  }
  py::object operator()(remote::Closed& note) const {
    return py::make_tuple("close", note.session);
  }
};

py::list take(remote::Outgoing& outgoing) {
  py::list list;
  std::vector<remote::Note> notes = outgoing.take();
  for (auto& note : notes) list.append(std::visit(ToTuple(), note));
  return list;
}

void apply_updates(Engine& engine, std::int32_t session, const py::object& updates) {
  if (engine.closed()) return;
  const auto governor = engine.governor();
  const Buffer buffer(updates.ptr());
  const py::gil_scoped_release unlocked;
  governor->apply_updates(session, remote::decode_updates(buffer.bytes()));
}

/// As an update would: for who finds out that tasks can't run where they should.
void fail_tasks(Engine& engine, std::int32_t session, const std::vector<std::int32_t>& tasks,
                const std::string& message, bool died) {
  if (engine.closed()) return;
  const auto governor = engine.governor();
  const py::gil_scoped_release unlocked;
  std::vector<remote::TaskUpdate> ends;
  for (const std::int32_t id : tasks) {
    graph::Failure failure;
    failure.kind = died ? graph::FailureKind::executor : graph::FailureKind::task;
    failure.origin = {session, id};
    failure.message = message;
    failure.attempts = {{failure.kind, message, {}, 0, {}}};
    remote::TaskUpdate& end = ends.emplace_back();
    end.id = id;
    end.state = graph::TaskState::failed;
    end.failure = std::make_shared<const graph::Failure>(std::move(failure));
  }
  governor->apply_updates(session, {std::move(ends), {}});
}

void supply(const std::shared_ptr<Engine>& engine, std::int32_t session, std::int32_t object,
            const py::object& data) {
  const auto governor = engine->governor();
  std::shared_ptr<graph::ObjectData> taken;
  if (py::isinstance<py::str>(data)) {
    const std::string path = path_text(data.ptr());
    const py::gil_scoped_release unlocked;
    taken = governor->take_directory(path);
  } else {
    taken = upload(engine, data.ptr());
  }
  const py::gil_scoped_release unlocked;
  governor->supply({session, object}, taken);
}

void add_offer(Engine& engine, const std::vector<std::string>& executors, std::uint32_t cpus,
               const std::vector<ResourceTuple>& resources) {
  if (engine.closed()) return;
  engine.add_offer(executors, cpus, to_resources(resources));
}

void lose(Engine& engine, const std::string& message) {
  if (engine.closed()) return;
  const auto governor = engine.governor();
  const py::gil_scoped_release unlocked;
  governor->lose(message);
}

std::uint64_t late_updates(Engine& engine) {
  const auto governor = engine.governor();
  const py::gil_scoped_release unlocked;
  return governor->late_updates();
}

}  // namespace

void bind_mirror(py::module_& module) {
  py::class_<remote::Outgoing, std::shared_ptr<remote::Outgoing>>(module, "Outgoing")
      .def("fd", &remote::Outgoing::fd)
      .def("take", &take);
  py::class_<SubmissionHandle>(module, "Submission")
      .def_property_readonly(
          "session_id",
          [](const SubmissionHandle& handle) { return handle.submission->session->id; })
      .def_property_readonly("n_tasks", [](const SubmissionHandle& handle) {
        return handle.submission->tasks.size();
      });
  py::reinterpret_borrow<py::class_<Engine, std::shared_ptr<Engine>>>(module.attr("Engine"))
      .def("outgoing", [](Engine& engine) { return engine.governor()->outgoing(); })
      .def("apply_updates", &apply_updates)
      .def("fail_tasks", &fail_tasks)
      .def("supply", &supply)
      .def("make_room", &make_room)
      .def("lose", &lose)
      .def("add_offer", &add_offer)
      .def("learn_offers", [](Engine&) { return false; })
      .def("take_recomputations", [](Engine&) { return py::list(); })
      .def_property_readonly("late_updates", &late_updates)
      .def("fetch_remote", [](Engine&, std::int32_t, const py::object&) {
        throw UsageError("this engine has nowhere to fetch data from");
      });
}

}  // namespace rain::bindings
