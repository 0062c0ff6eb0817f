#include "session_core.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <utility>

namespace py = pybind11;

namespace rain::bindings {
namespace {

/// Task types of sessions without client; never shrinks.
struct OfflineMethods {
  std::vector<std::string> names;
  std::unordered_map<std::string, std::uint32_t> numbers;
};
OfflineMethods& offline_methods() {
  static OfflineMethods methods;
  return methods;
}

}  // namespace

SessionCore::SessionCore(std::shared_ptr<Engine> engine_, graph::SessionRef record_,
                         PyObject* client_)
    : engine(std::move(engine_)), record(std::move(record_)), client(client_) {
  Py_XINCREF(client);
  if (engine) engine->cores().emplace(record->id, this);
}

SessionCore::~SessionCore() {
  if (engine) engine->cores().erase(record->id);
  if (engine && !closed) engine->close_later(record);
  mark_closed();
}

Governor::Method SessionCore::intern(PyObject* task_type) {
  if (engine) return engine->intern(task_type);
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(task_type, &size);
  if (!text) throw py::error_already_set();
  auto& methods = offline_methods();
  const auto [found, added] =
      methods.numbers.emplace(std::string(text, static_cast<std::size_t>(size)),
                              static_cast<std::uint32_t>(methods.names.size()));
  if (added) methods.names.push_back(found->first);
  return {0, found->second};
}

const std::string& SessionCore::task_type(std::uint32_t method) const {
  return engine ? engine->task_type(method) : offline_methods().names[method];
}

void SessionCore::note_origin(std::int32_t id, std::uint32_t method) {
  const std::uint32_t origin = origins_.capture();
  if (!creations_.empty()) {
    const Creation& last = creations_.back();
    if (last.origin == origin && last.method == method) return;
  }
  creations_.push_back({id, origin, method});
}

const SessionCore::Creation* SessionCore::creation_of(std::int32_t wanted) const {
  auto after = std::upper_bound(
      creations_.begin(), creations_.end(), wanted,
      [](std::int32_t id, const Creation& creation) { return id < creation.first_id; });
  return after == creations_.begin() ? nullptr : &*std::prev(after);
}

void SessionCore::unkeep_later(graph::ObjectRecord* object) {
  if (!engine || closed) return;
  to_unkeep.emplace_back(object);
  engine->unkeeping().insert(this);
}

void SessionCore::mark_closed() {
  closed = true;
  if (engine) {
    engine->unkeeping().erase(this);
    for (auto& [record, shared] : engine->shared())
      std::erase_if(shared.copies, [this](const auto& copy) { return copy.first == this; });
  }
  to_unkeep.clear();
  draft_tasks.clear();
  draft_objects.clear();
  draft_outputs = 0;
  forget_edited();
  Py_CLEAR(client);
}

void SessionCore::forget_edited() {
  for (PyObject* handle : std::exchange(edited, {})) Py_DECREF(handle);
}

}  // namespace rain::bindings
