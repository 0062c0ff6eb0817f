#include "hosted.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "blob.h"
#include "buffer.h"
#include "client.h"
#include "engine.h"
#include "governor.h"
#include "mirror.h"
#include "remote/batch.h"
#include "remote/hosted_session.h"
#include "remote/parts.h"
#include "upload.h"
#include "values.h"

namespace py = pybind11;

namespace rain::bindings {
namespace {

using remote::HostedSession;
using remote::Part;

// ---- parts --------------------------------------------------------------------------------------

Part whole(const SubmissionHandle& handle) {
  const py::gil_scoped_release unlocked;
  std::vector<std::uint32_t> all(handle.submission->tasks.size());
  std::iota(all.begin(), all.end(), 0u);
  return remote::encode_part(*handle.submission, all, {});
}

std::vector<Part> cut(const SubmissionHandle& handle, std::uint32_t slots, std::uint32_t max_tasks,
                      double max_seconds, const std::vector<std::set<std::string>>& offers) {
  const py::gil_scoped_release unlocked;
  return remote::cut_submission(*handle.submission, {slots, max_tasks, max_seconds}, offers);
}

/// [(object's id, Blob)]
py::list uploads(const Part& part) {
  py::list list;
  for (const auto& [id, data] : part.uploads)
    list.append(py::make_tuple(id, data->is_directory()
                                       ? make_directory(data, data->path(), data->size_bytes)
                                       : make_blob(data, data->bytes())));
  return list;
}

py::dict resources(const Part& part) {
  py::dict amounts;
  for (const auto& [name, amount] : part.resources)
    amounts[py::str(name)] =
        static_cast<double>(amount) / (name == graph::kMemoryResource ? 1.0 : graph::kResourceUnit);
  return amounts;
}

// ---- hosted sessions ----------------------------------------------------------------------------

/// Its end closes the session: without the GIL.
struct HostedHandle {
  HostedHandle(const std::shared_ptr<Engine>& its_engine, std::unique_ptr<HostedSession> its)
      : engine(its_engine), session(std::move(its)) {}
  ~HostedHandle() {
    const py::gil_scoped_release unlocked;
    session.reset();
  }
  HostedHandle(const HostedHandle&) = delete;
  HostedHandle& operator=(const HostedHandle&) = delete;

  std::weak_ptr<Engine> engine;
  std::unique_ptr<HostedSession> session;
};

std::unique_ptr<HostedHandle> host_session(const std::shared_ptr<Engine>& engine,
                                           std::string name) {
  const auto governor = engine->governor();
  std::unique_ptr<HostedSession> session;
  {
    const py::gil_scoped_release unlocked;
    session = std::make_unique<HostedSession>(governor, std::move(name));
  }
  return std::make_unique<HostedHandle>(engine, std::move(session));
}

/// Of a Blob of this engine its own data; all else is copied, but for a directory given by path,
/// which is taken over.
std::shared_ptr<graph::ObjectData> to_data(const std::shared_ptr<Engine>& engine,
                                           const py::handle& value) {
  const auto governor = engine->governor();
  if (py::isinstance<py::str>(value) || py::hasattr(value, "__fspath__")) {
    const std::string path = path_text(value.ptr());
    const py::gil_scoped_release unlocked;
    return governor->take_directory(path);
  }
  const std::shared_ptr<const Data> viewed = data_of_blob(value.ptr());
  if (!viewed) return upload(engine, value.ptr());
  if (governor->owns(*viewed)) return std::const_pointer_cast<Data>(viewed);
  const py::gil_scoped_release unlocked;
  if (viewed->is_directory()) return governor->put_directory(viewed->path());
  return governor->put(viewed->bytes());
}

/// None: the data will never come. (value, info): with what HostedSession.info() said of it.
HostedSession::Supplied to_supplied(const std::shared_ptr<Engine>& engine,
                                    const py::handle& value) {
  if (value.is_none()) return {};
  if (!py::isinstance<py::tuple>(value)) return {to_data(engine, value), {}};
  const auto pair = py::reinterpret_borrow<py::tuple>(value);
  if (pair.size() != 2)
    throw py::type_error("data with an info must be a tuple (data, info), not of " +
                         std::to_string(pair.size()) + " items");
  const Buffer info(pair[1].ptr());
  auto known = remote::decode_info(info.bytes());
  return {to_data(engine, pair[0]), std::move(known)};
}

std::uint64_t submit(HostedHandle& handle, const py::object& batch, const py::dict& data) {
  const auto engine = handle.engine.lock();
  if (!engine) throw UsageError("the engine of this session is closed");
  std::unordered_map<std::int32_t, HostedSession::Supplied> supplied;
  for (const auto& [id, value] : data)
    supplied[id.cast<std::int32_t>()] = to_supplied(engine, value);
  const Buffer buffer(batch.ptr());
  const py::gil_scoped_release unlocked;
  return handle.session->submit(buffer.bytes(), std::move(supplied));
}

py::object view(HostedHandle& handle, std::int32_t object) {
  std::optional<DataView> data;
  {
    const py::gil_scoped_release unlocked;
    data = handle.session->view(object);
  }
  return to_python(data);
}

py::bytes info(HostedHandle& handle, std::int32_t object) {
  std::string bytes;
  {
    const py::gil_scoped_release unlocked;
    bytes = remote::encode_info(handle.session->info(object));
  }
  return bytes;
}

py::tuple take_updates(HostedHandle& handle) {
  HostedSession::Updates updates;
  {
    const py::gil_scoped_release unlocked;
    updates = handle.session->take_updates();
  }
  return py::make_tuple(py::bytes(updates.bytes), updates.ended);
}

/// As Task._printed().
py::object log(HostedHandle& handle, std::int32_t task) {
  std::optional<HostedSession::Log> log;
  {
    const py::gil_scoped_release unlocked;
    log = handle.session->log(task);
  }
  if (!log) return py::none();
  return py::make_tuple(log->stdout_path, log->printed.out_begin, log->printed.out_end,
                        log->stderr_path, log->printed.err_begin, log->printed.err_end);
}

template <auto method>
auto unlocked_ids() {
  return [](HostedHandle& handle, const std::vector<std::int32_t>& ids) {
    const py::gil_scoped_release unlocked;
    ((*handle.session).*method)(ids);
  };
}

template <auto method>
auto unlocked() {
  return [](HostedHandle& handle) {
    const py::gil_scoped_release unlocked;
    return ((*handle.session).*method)();
  };
}

}  // namespace

void bind_hosted(py::module_& module) {
  py::class_<Part>(module, "Part")
      .def_property_readonly("batch", [](const Part& part) { return py::bytes(part.batch); })
      .def_property_readonly("n_tasks", [](const Part& part) { return part.task_ids.size(); })
      .def_readonly("task_ids", &Part::task_ids)
      .def_property_readonly("uploads", &uploads)
      .def_readonly("inputs", &Part::inputs)
      .def_readonly("outputs", &Part::outputs)
      .def_readonly("executors", &Part::executors)
      .def_readonly("max_cpus", &Part::max_cpus)
      .def_property_readonly("resources", &resources)
      .def_readonly("seconds", &Part::seconds);
  py::reinterpret_borrow<py::class_<SubmissionHandle>>(module.attr("Submission"))
      .def("whole", &whole)
      .def("cut", &cut, py::kw_only(), py::arg("slots"), py::arg("max_tasks") = 4096,
           py::arg("max_seconds") = 1.0, py::arg("offers") = std::vector<std::set<std::string>>());

  py::class_<HostedHandle>(module, "HostedSession")
      .def_property_readonly("session_id",
                             [](const HostedHandle& handle) { return handle.session->id(); })
      .def_property_readonly("closed", unlocked<&HostedSession::closed>())
      .def("submit", &submit)
      .def("cancel", unlocked_ids<&HostedSession::cancel>())
      .def("cancel_all", unlocked<&HostedSession::cancel_all>())
      .def("unkeep", unlocked_ids<&HostedSession::unkeep>())
      .def("close", unlocked<&HostedSession::close>())
      .def("view", &view)
      .def("info", &info)
      .def("fd", [](HostedHandle& handle) { return handle.session->fd(); })
      .def("take_updates", &take_updates)
      .def("logs", &log)
      .def("states", unlocked<&HostedSession::states>());
  py::reinterpret_borrow<py::class_<Engine, std::shared_ptr<Engine>>>(module.attr("Engine"))
      .def("host_session", &host_session);
}

}  // namespace rain::bindings
