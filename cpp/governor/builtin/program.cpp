#include "builtin/program.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "base/errors.h"
#include "base/syscall.h"
#include "builtin/builtin.h"
#include "builtin/file_data.h"
#include "builtin/tree.h"
#include "launcher/remove_tree.h"
#include "process/death_report.h"
#include "process/environment.h"
#include "process/launcher_client.h"
#include "process/log_tail.h"

namespace rain::builtin {

using launcher::ReportKind;
using process::LauncherClient;
using tasklib::base::checked;
using tasklib::base::UniqueFd;
using tasklib::wire::Reader;

namespace {

constexpr std::size_t kStderrBytes = 16 * 1024;  // of the tail in an error
constexpr off_t kKeptLogBytes = 64 * 1024;       // what an idle sandbox may keep on the disk
constexpr const char* kStdin = "+in";
constexpr const char* kStdout = "+out";
constexpr const char* kStderr = "+err";

constexpr const char* kOwner = "RAIN_PROGRAM=";
constexpr const char* kNotInherited[] = {
    "RAIN_EXECUTOR_SOCKET=", "RAIN_EXECUTOR_ID=", "RAIN_EXECUTOR_PROTOCOLS=", kOwner};

/// Reference 4.8: {"args": [..], "in_paths": [{"path": p, "write": b}..], "out_paths": [p..]}.
struct Config {
  struct In {
    std::string path;
    bool write = false;
  };
  std::vector<std::string> args;
  std::vector<In> in_paths;
  std::vector<std::string> out_paths;
};

Config::In read_in(Reader& reader) {
  Config::In in;
  bool has_path = false;
  auto map = reader.enter_map();
  while (reader.more(map)) {
    const std::string key = reader.read_text();
    if (key == "path") {
      in.path = reader.read_text();
      has_path = true;
    } else if (key == "write") {
      in.write = reader.read_bool();
    } else {
      reader.fail("unknown field '" + key + "', expected 'path' or 'write'");
    }
  }
  if (!has_path) reader.fail("missing field 'path'");
  return in;
}

Config read_config(Reader& reader) {
  Config config;
  bool has_args = false;
  reader.set_place("config", "");
  auto map = reader.enter_map();
  while (reader.more(map)) {
    const std::string key = reader.read_text();
    if (key == "args") {
      reader.set_place("config", "args");
      auto array = reader.enter_array();
      while (reader.more(array)) config.args.push_back(reader.read_text());
      has_args = true;
    } else if (key == "in_paths") {
      reader.set_place("config", "in_paths");
      auto array = reader.enter_array();
      while (reader.more(array)) config.in_paths.push_back(read_in(reader));
    } else if (key == "out_paths") {
      reader.set_place("config", "out_paths");
      auto array = reader.enter_array();
      while (reader.more(array)) config.out_paths.push_back(reader.read_text());
    } else {
      reader.fail("unknown field '" + key + "', expected 'args', 'in_paths' or 'out_paths'");
    }
    reader.set_place("config", "");
  }
  if (!has_args) reader.fail("missing field 'args'");
  return config;
}

struct Input {
  std::string path;  // as given
  std::string label;
  std::vector<std::string> components;
  bool write = false;
  std::shared_ptr<graph::ObjectData> data;

  Data& content() const { return static_cast<Data&>(*data); }
  std::string name() const {
    return "'" + printable(path) + "'" +
           (label.empty() ? std::string() : " of input '" + printable(label) + "'");
  }
};

/// Throws TaskError if one is where another is, or where a directory on the way to it has to be.
void check_collisions(const std::vector<Input>& inputs) {
  std::vector<const Input*> sorted;
  for (const auto& input : inputs) sorted.push_back(&input);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Input* a, const Input* b) { return a->components < b->components; });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    const auto &first = *sorted[i - 1], &second = *sorted[i];
    if (first.components.size() <= second.components.size() &&
        std::equal(first.components.begin(), first.components.end(), second.components.begin())) {
      throw TaskError("Path " + second.name() + " collides with path " + first.name() +
                      ": give each input a path of its own");
    }
  }
}

bool is_empty_directory(const std::string& path) {
  DIR* stream = ::opendir(path.c_str());
  if (stream == nullptr) return errno == ENOENT;
  struct stat status;
  bool empty = ::fstat(::dirfd(stream), &status) == 0 && (status.st_mode & 07777) == 0700;
  while (empty) {
    const dirent* entry = ::readdir(stream);
    if (entry == nullptr) break;
    empty = std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0;
  }
  ::closedir(stream);
  return empty;
}

void write_file(const Data& data, const std::string& path, mode_t mode, const StopFlag* stop) {
  const UniqueFd fd(checked("open", printable(path), [&] {
    return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  }));
  write_data(data, fd.get(), printable(path), stop);
}

/// Prepares the sandbox, starts the program, and collects what it made. The first and the last are
/// done in the pool unless there is nothing to them.
class RunJob final : public Job, public Pool::Work, public std::enable_shared_from_this<RunJob> {
 public:
  RunJob(const Call& call, Config config, std::vector<Input> inputs)
      : builtin_(call.builtin),
        host_(call.host),
        executor_(call.executor),
        cpus_(call.task.cpus),
        visible_devices_(call.host.visible_devices(call.task)),
        args_(std::move(config.args)),
        outputs_(call.task.outputs.begin(), call.task.outputs.end()),
        out_paths_(std::move(config.out_paths)),
        inputs_(std::move(inputs)),
        sandbox_(builtin_.programs().take()),
        stdout_path_("/dev/null") {
    if (std::count(out_paths_.begin(), out_paths_.end(), kStdout) > 0) {
      stdout_path_ = sandbox_ + "/out";
    }
    is_tiny_ = inputs_.empty() &&
               std::all_of(out_paths_.begin(), out_paths_.end(), [](const std::string& path) {
                 return path == kStdout || path == kStderr;
               });
  }

  /// Null: it has ended at once.
  std::shared_ptr<Job> begin() {
    if (is_tiny_) {
      run();
      finish();
    } else {
      builtin_.pool().submit(shared_from_this());
    }
    begun_ = true;
    return ended_ ? nullptr : shared_from_this();
  }
  Outcome take_outcome() { return std::move(outcome_); }

  // Job.
  void stop() override {
    stop_.store(true, std::memory_order_relaxed);
    if (phase_ == Phase::running && !host_.kill_program(executor_)) {
      // The launcher is gone, and the program with it: no report will come.
      outcome_.cancelled = true;
      end();
    }
  }
  void on_report(const launcher::Report& report) override {
    if (phase_ != Phase::running || report.kind == ReportKind::started) return;
    if (report.kind == ReportKind::spawn_failed) {
      outcome_.error = process::spawn_failure_text(report, printable(args_[0]),
                                                   printable(work_path()), "Program");
    } else {
      outcome_.error = exit_error(report.wait_status);
    }
    collect();
  }

  // Pool::Work.
  void run() noexcept override {
    try {
      if (phase_ == Phase::preparing) {
        prepare();
        return;
      }
      if (outcome_.error.empty() && !stop_) collect_outputs();
    } catch (const Stopped&) {
    } catch (...) {
      outcome_ = failed_outcome();
    }
    phase_ = Phase::collecting;
    clean();
  }
  void finish() override {
    if (stop_) outcome_.cancelled = true;
    if (phase_ == Phase::collecting) return end();
    if (!stop_) {
      try {
        start();
        phase_ = Phase::running;
        return;
      } catch (const std::exception& error) {
        outcome_.error = error.what();
      }
    }
    collect();
  }

 private:
  enum class Phase { preparing, running, collecting };

  std::string work_path() const { return sandbox_ + "/work"; }
  std::string stderr_path() const { return sandbox_ + "/err"; }

  void prepare() {
    if (::mkdir(work_path().c_str(), 0700) != 0 && errno != EEXIST) {
      throw tasklib::base::SystemError("mkdir", work_path(), errno);
    }
    for (const Input& input : inputs_) {
      if (stop_) throw Stopped{};
      place(input);
    }
  }

  void place(const Input& input) {
    Data& data = input.content();
    if (input.path == kStdin) {
      if (data.is_directory()) throw TaskError("Stdin is a directory; it must be a blob");
      stdin_path_ = data.path(host_.data_directory());
      return;
    }
    std::string path = work_path();
    for (std::size_t i = 0; i + 1 < input.components.size(); ++i) {
      path += "/" + input.components[i];
      if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
        throw tasklib::base::SystemError("mkdir", printable(path), errno);
      }
    }
    path += "/" + input.components.back();
    if (data.is_directory()) {
      copy_tree(data.path(), path, input.write ? Copy::writable : Copy::linked, &stop_);
      return;
    }
    const bool small = data.size_bytes < kSmallFileBytes && !data.is_on_disk();
    if (input.write || small) {
      return write_file(data, path, (input.write ? 0600 : 0400) | executable_bits(data), &stop_);
    }
    // A further name of a read-only file.
    const std::string& file = data.path(host_.data_directory());
    if (::link(file.c_str(), path.c_str()) != 0) copy_file(file, path, Copy::read_only, &stop_);
  }

  void start() {
    LauncherClient::SpawnRequest request;
    auto& programs = builtin_.programs();
    request.key = executor_.value;
    request.argv = args_;
    request.owner = programs.next_owner();
    request.env = programs.environment();
    request.env.push_back(request.owner);
    process::set_thread_counts(request.env, cpus_);
    if (visible_devices_) process::set_variable(request.env, *visible_devices_);
    request.working_directory = work_path();
    if (!stdin_path_.empty()) request.stdin_path = stdin_path_;
    request.stdout_path = stdout_path_;
    request.stderr_path = stderr_path();
    host_.spawn_program(request);
  }

  /// Empty: it succeeded. Reference 5.5.
  std::string exit_error(int status) const {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    const std::string tail = "\nStderr: " + process::tail_bytes(stderr_path(), kStderrBytes) + "\n";
    if (WIFEXITED(status)) {
      return "Program exit with exit code " + std::to_string(WEXITSTATUS(status)) + tail;
    }
    return "Program terminated by signal" + tail +
           "Signal: " + process::signal_text(WTERMSIG(status)) + "\n";
  }

  void collect() {
    phase_ = Phase::collecting;
    if (is_tiny_ && is_small(stdout_path_) && is_small(stderr_path()) &&
        is_empty_directory(work_path())) {
      run();
      finish();
    } else {
      builtin_.pool().submit(shared_from_this());
    }
  }

  static bool is_small(const std::string& path) {
    struct stat status;
    return ::stat(path.c_str(), &status) != 0 || status.st_size < kKeptLogBytes;
  }

  void collect_outputs() {
    auto& place = host_.data_directory();
    const std::size_t count = std::min(outputs_.size(), out_paths_.size());
    for (std::size_t i = 0; i < count; ++i) {
      const std::string& path = out_paths_[i];
      const auto found = path == kStdout   ? std::optional(stdout_path_)
                         : path == kStderr ? std::optional(stderr_path())
                                           : resolve_inside(work_path(), path);
      struct stat status;
      if (!found || ::stat(found->c_str(), &status) != 0) {
        throw TaskError("Path '" + printable(path) + "' now found.");
      }
      const std::string mismatch = mismatch_text(*outputs_[i], S_ISDIR(status.st_mode));
      if (!mismatch.empty()) throw TaskError(mismatch);
      if (*found == work_path()) {
        throw TaskError("Path '" + printable(path) +
                        "' is the directory of the program itself, which cannot be an output");
      }
      outcome_.outputs.push_back(move_to_data(*found, place, host_.releases()));
    }
  }

  /// Leaves the sandbox as Programs::take() promises it.
  void clean() {
    for (const std::string& path : {sandbox_ + "/out", stderr_path()}) {
      if (!is_small(path)) ::unlink(path.c_str());
    }
    if (is_empty_directory(work_path())) return;
    launcher::remove_tree(work_path().c_str());
    is_spoilt_ = ::access(work_path().c_str(), F_OK) == 0;  // not even we can
  }

  void end() {
    ended_ = true;
    if (!is_spoilt_) builtin_.programs().give_back(std::move(sandbox_));
    if (begun_) builtin_.end(executor_, std::move(outcome_));
  }

  Builtin& builtin_;
  Host& host_;
  const tasklib::base::ExecutorId executor_;
  const std::uint32_t cpus_;
  const std::optional<std::string> visible_devices_;
  const std::vector<std::string> args_;
  const std::vector<graph::ObjectRef> outputs_;
  const std::vector<std::string> out_paths_;
  const std::vector<Input> inputs_;
  std::string sandbox_, stdin_path_, stdout_path_;
  bool is_tiny_ = false;  // nothing to prepare, nothing to move
  StopFlag stop_{false};
  // One thread at a time: the token holder's, or the pool's between submit() and finish().
  Phase phase_ = Phase::preparing;
  bool begun_ = false, ended_ = false;
  bool is_spoilt_ = false;  // the sandbox cannot be emptied
  Outcome outcome_;
};

}  // namespace

std::string Programs::take() {
  if (!free_.empty()) {
    std::string sandbox = std::move(free_.back());
    free_.pop_back();
    return sandbox;
  }
  const std::string all = host_.run_directory() + "/programs";
  if (last_sandbox_ == 0) checked("mkdir", all, [&] { return ::mkdir(all.c_str(), 0700); });
  std::string sandbox = all + "/" + std::to_string(++last_sandbox_);
  checked("mkdir", sandbox, [&] { return ::mkdir(sandbox.c_str(), 0700); });
  return sandbox;
}

const std::vector<std::string>& Programs::environment() {
  if (environment_.empty()) {
    for (const auto& entry : host_.environment()) {
      const bool inherited =
          std::none_of(std::begin(kNotInherited), std::end(kNotInherited),
                       [&](const char* name) { return entry.rfind(name, 0) == 0; });
      if (inherited) environment_.push_back(entry);
    }
  }
  return environment_;
}

std::string Programs::next_owner() {
  return kOwner + host_.run_directory() + ":" + std::to_string(++last_start_);
}

Begun run(const Call& call) {
  Config config = call.parse_config(read_config);
  if (config.args.empty()) throw TaskError("Arguments are empty");
  if (config.in_paths.size() != call.task.inputs.size()) {
    throw TaskError("Cannot parse task config: it has " + std::to_string(config.in_paths.size()) +
                    " in_paths for " + std::to_string(call.task.inputs.size()) + " inputs");
  }
  std::vector<Input> inputs(config.in_paths.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Input& input = inputs[i];
    input.path = std::move(config.in_paths[i].path);
    input.write = config.in_paths[i].write;
    const TaskAnnex* annex = call.annex();
    if (annex && i < annex->input_labels.size()) input.label = annex->input_labels[i];
    input.data = call.task.inputs[i]->data;
    check_relative(input.path);
    input.components = path_components(input.path);
    if (input.components.empty()) {
      throw TaskError("Path " + input.name() + " is the directory of the program itself");
    }
  }
  check_collisions(inputs);
  for (const auto& path : config.out_paths) check_relative(path);
  auto job = std::make_shared<RunJob>(call, std::move(config), std::move(inputs));
  if (auto begun = job->begin()) return begun;
  return job->take_outcome();
}

}  // namespace rain::builtin
