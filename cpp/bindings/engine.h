#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "governor.h"

namespace rain::bindings {

class SessionCore;

/// One embedded governor and what the bindings keep beside it. Shared by the Python Client and by
/// the cores of its sessions. Everything but the governor itself: under the GIL.
class Engine {
 public:
  explicit Engine(GovernorOptions options);
  /// Ends the governor if nobody closed it; releases the GIL meanwhile.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Throws UsageError after close(). Hold what it returns during the call: close() drops the
  /// governor, with everything that it has, as soon as no call is inside.
  std::shared_ptr<Governor> governor() const;
  bool closed() const { return !governor_; }
  /// Releases the GIL. Idempotent.
  void close();

  const std::string& run_directory() const { return run_directory_; }
  std::uint32_t cpus() const { return cpus_; }
  /// Of a mirror; see Governor. Releases the GIL.
  void add_offer(const std::vector<std::string>& executors, std::uint32_t cpus,
                 std::vector<graph::Resource> resources);
  /// Asks the Python object, if it is a mirror, whether more is offered by now.
  bool learn_offers();
  /// Also after close(). Release the GIL.
  std::vector<TaskReport> take_reports();
  std::vector<std::string> take_warnings();

  /// `hook` is called, without arguments, before the first submit. Throws what it throws.
  void on_first_submit(PyObject* hook);
  void note_submit() {
    if (first_submit_) call_first_submit();
  }

  /// Requires: `task_type` is a str. Throws UsageError. May ask others, without the GIL.
  Governor::Method intern(PyObject* task_type);
  /// Valid as long as the Engine.
  const std::string& task_type(std::uint32_t method) const { return *names_.at(method); }

  /// What died with a Python object is noted, without waiting for anything (a destructor may run
  /// anywhere), and told to the governor with the next call.
  void close_later(graph::SessionRef session) { to_close_.push_back(std::move(session)); }
  /// Sessions that have something in their `to_unkeep`; they leave when they close.
  std::unordered_set<SessionCore*>& unkeeping() { return unkeeping_; }
  /// Cheap when there is nothing. Releases the GIL else.
  void drain();

  /// The living cores of its sessions, by session id.
  std::unordered_map<std::int32_t, SessionCore*>& cores() { return cores_; }

  /// What Client.put() made: one upload, and one record on it in each session that uses it. Keys
  /// are the records of living handles; under the GIL.
  struct Shared {
    std::shared_ptr<graph::ObjectData> data;
    std::vector<std::pair<SessionCore*, graph::ObjectRef>> copies;
  };
  std::unordered_map<graph::ObjectRecord*, Shared>& shared() { return shared_; }

  static void close_all();
  static void after_fork_in_child();

 private:
  std::uint32_t cpus_;
  std::shared_ptr<Governor> governor_;  // null after close()
  std::string run_directory_;
  std::vector<TaskReport> last_reports_;  // of the closed governor
  std::vector<std::string> last_warnings_;
  std::unordered_set<SessionCore*> unkeeping_;
  std::unordered_map<std::int32_t, SessionCore*> cores_;
  std::vector<graph::SessionRef> to_close_;
  std::unordered_map<graph::ObjectRecord*, Shared> shared_;
  void call_first_submit();

  PyObject* first_submit_ = nullptr;    // owned
  PyObject* last_task_type_ = nullptr;  // owned: the same str object means the same method
  Governor::Method last_method_{};
  std::unordered_map<std::string, Governor::Method> methods_;
  std::unordered_map<std::uint32_t, const std::string*> names_;  // keys of methods_
};

}  // namespace rain::bindings
