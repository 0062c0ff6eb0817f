#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "governor.h"

namespace rain::bindings {

/// One embedded governor and what the bindings keep beside it. Shared by the Python Client and by
/// the cores of its sessions. Everything but the governor itself: under the GIL.
class Engine {
 public:
  explicit Engine(GovernorOptions options);
  /// Ends the governor if nobody closed it; releases the GIL meanwhile.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Governor& governor() { return *governor_; }
  bool closed() const { return governor_->closed(); }

  /// Requires: `task_type` is a str. Throws UsageError.
  Governor::Method intern(PyObject* task_type);

  /// What died with a Python object is noted here, without waiting for anything (a destructor may
  /// run anywhere), and told to the governor with the next call.
  void unkeep_later(graph::ObjectRef object) { to_unkeep_.push_back(std::move(object)); }
  void close_later(graph::SessionRef session) { to_close_.push_back(std::move(session)); }
  /// Cheap when there is nothing. Releases the GIL else.
  void drain();

  static void close_all();
  static void after_fork_in_child();

 private:
  std::unique_ptr<Governor> governor_;
  std::vector<graph::ObjectRef> to_unkeep_;
  std::vector<graph::SessionRef> to_close_;
  PyObject* last_task_type_ = nullptr;  // owned: the same str object means the same method
  Governor::Method last_method_{};
  std::unordered_map<std::string, Governor::Method> methods_;
};

}  // namespace rain::bindings
