#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "graph/core.h"

namespace rain {

/// A program that offers the tasks of one executor type.
struct ExecutorSpec {
  std::string name;
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "NAME=value", added to the governor's own environment
  tasklib::base::Duration start_deadline = std::chrono::seconds(30);
  std::uint32_t prestart = 0;       // processes started with the governor and kept
  std::uint32_t max_processes = 0;  // 0: as many as the cpus allow
  std::uint32_t threads = 0;        // calls that a process runs at once; 0: as the program says
  tasklib::base::Duration idle_time = std::chrono::seconds(60);  // then it ends; 0: never
  std::string cwd;     // where it starts; empty: in a directory of its own, where its socket is
  bool reload = true;  // a changed program replaces the processes of the old one
  std::string gdb;     // path: it runs in this gdb; empty: in none
};

struct GovernorOptions {
  std::vector<ExecutorSpec> executors;
  std::uint32_t cpus = 1;
  std::uint64_t memory_bytes = 0;  // budget of the blob store; 0: blob::default_budget_bytes()
  bool spill = true;               // blobs that nobody views go to a disk when memory is short
  std::string spill_directory;     // there; empty: SpillPlace chooses
  std::uint64_t inline_limit_bytes = 0;    // 0: kInlineLimitBytes; another one: for benchmarks
  std::uint64_t task_memory_bytes = 0;     // for tasks with a memory limit; 0: all there is
  std::vector<graph::Resource> resources;  // not "memory"
  std::string launcher_program;            // path
  std::string run_directory_parent;  // a private 0700 directory is made in it; empty: the default
  std::string events_file;           // the event log goes there; empty: none
  bool mirror = false;               // the tasks run elsewhere (mirror.h): executors need no argv
};

/// A task as a holder of data.
struct TaskName {
  tasklib::base::TaskId id;
  std::string task_type;
};

/// One blob, file or directory that is data: a line of Client.store().
struct BlobLine {
  tasklib::base::DataObjectId id;
  std::string label, task_type;  // of the producer; empty: a constant, or the task is forgotten
  std::uint64_t size_bytes = 0;
  std::string place;  // "inline", "region", "spilled", "file", "directory"
  std::string where;  // a path; "region 3 +4096"
  bool kept = false;
  std::vector<std::int32_t> viewers;      // pids
  std::vector<std::string> viewer_types;  // parallel: executor types
  std::uint32_t views = 0;                // of executors, with multiplicity
  bool shared = false;                    // the same bytes as a line before: another object's
  std::optional<tasklib::base::TaskId> producer;  // if it is known still
  static constexpr std::size_t kNamedTasks = 3;
  std::vector<TaskName> tasks;                      // that need it and have not ended; some
  std::uint64_t n_tasks = 0;                        // how many there are, with multiplicity
  std::vector<tasklib::base::TaskId> failed_tasks;  // kept for their reproduce()
};

/// What memory there is and what became of it: part of Client.info().
struct MemoryState {
  bool spills = true;
  std::string spill_directory;                         // or why it is off; empty: not needed so far
  std::uint64_t spilled_bytes = 0, spilled_blobs = 0;  // on disk now
  std::uint64_t written_bytes = 0, written_blobs = 0;  // so far
  std::uint32_t waiting = 0;                           // executors that wait for room
  std::string huge_pages;  // "always", "within_size", "advise", "never", …; empty: unknown
  std::optional<std::uint64_t> headroom_bytes;  // what the cgroup still allows
};

/// What became of a ping: a line of Client.ping().
struct Pinged {
  tasklib::base::ExecutorId executor;
  std::string executor_type;
  std::int32_t pid = 0;
  bool can_answer = false;        // else it is of Rain 0.4, or of a tasklib before pings
  std::optional<double> seconds;  // until the answer; nothing: none came in time
};

/// One line of the report: a task that ended while recording was on.
struct TaskReport {
  tasklib::base::TaskId id;
  std::string task_type, executor_type, name;
  graph::TaskState state = graph::TaskState::draft;
  std::uint32_t executor = 0;
  std::int32_t pid = 0;
  double start_seconds = 0, run_seconds = 0;  // start: since the governor began
  std::uint64_t input_bytes = 0, output_bytes = 0, copied_bytes = 0;
  std::uint32_t attempts = 0;  // calls, the last one included; 0: it was never sent
  std::string error;           // first line of the failure's message; empty: finished
};

}  // namespace rain
