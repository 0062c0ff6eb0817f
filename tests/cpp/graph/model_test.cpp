// The Core against the model: random graphs, random events in random order, the invariants walked
// and everything compared after each. A failure prints the seed and what happened;
// RAIN_MODEL_SEED=<seed> runs that one alone.

#include "model.h"

#include <cstdlib>
#include <deque>
#include <map>
#include <random>
#include <sstream>

#include "fixture.h"
#include "graph/transitions.h"

namespace rain::graph {
namespace {

constexpr int kGraphsPerShard = 1000;
constexpr int kShards = 12;

struct Mismatch : std::runtime_error {
  using std::runtime_error::runtime_error;
};
void expect(bool holds, const std::string& what) {
  if (!holds) throw Mismatch(what);
}

class World {
 public:
  World(std::uint32_t seed, std::ostream* trace) : random_(seed), trace_(trace) {
    Core::Options options;
    cpus_ = options.cpus = 1 + pick(4);
    crash_limit_ = options.crash_limit = static_cast<std::uint8_t>(pick(4));
    spawn_limit_ = options.spawn_failures_limit = static_cast<std::uint8_t>(1 + pick(3));
    options.queue_ahead = Duration(chance(2) ? 1'000'000 : 50'000);
    options.cancel_grace = Duration(chance(2) ? 100'000'000 : 50'000);
    options.check_invariants = true;
    types_ = 1 + pick(3);
    for (int i = pick(2) * types_; i > 0; --i) {
      TypeOptions type;
      type.max_processes = static_cast<std::uint32_t>(pick(4));
      if (type.max_processes != 1) type.prestart = static_cast<std::uint32_t>(pick(2));
      type.idle_time = Duration(chance(2) ? 0 : chance(2) ? 50'000 : 5'000'000);
      options.types.push_back(type);
    }
    type_options_ = options.types;
    options.free_slots = 1 + static_cast<std::uint32_t>(pick(3));
    options.resources = {{"gpu", 3 * kResourceUnit, {"a", "b", "c"}},
                         {"licence", kResourceUnit * 3 / 2},
                         {kMemoryResource, 1000}};
    resources_ = options.resources;
    core_ = std::make_unique<Core>(options);
    kindness_ = pick(8);
    tasks_left_ = 1 + pick(40);
    const int sessions = 1 + pick(3);
    for (int i = 0; i < sessions; ++i) {
      sessions_.push_back(std::make_shared<SessionRecord>());
      sessions_[i]->id = i;
      sessions_[i]->on_error = chance(2) ? OnError::continue_ : OnError::fail;
      model_.sessions.push_back({sessions_[i]->on_error == OnError::continue_});
      told_failed_.push_back(false);
    }
  }

  void run() {
    const int steps = 40 + pick(240);
    submit();
    for (int i = 0; i < steps; ++i) step();
    drain();
  }

 private:
  struct Call {
    int task;
    TimePoint sent{};
    bool begun = false, asked_back = false, asked_to_stop = false;
    bool doomed = false;  // whatever comes, it has failed
  };
  struct Process {
    ExecutorId id;
    int type = 0;
    bool registered = false, killed = false, ended = false, outdated = false;
    ExecutorTraits traits;
    std::deque<Call> calls;
    int begun() const {
      return static_cast<int>(
          std::count_if(calls.begin(), calls.end(), [](const Call& c) { return c.begun; }));
    }
  };

  // ---- chance

  int pick(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }
  bool chance(int one_in) { return pick(one_in) == 0; }
  template <class T>
  T& any(std::vector<T>& from) {
    return from[static_cast<std::size_t>(pick(static_cast<int>(from.size())))];
  }
  Process* any_process(bool registered) {
    std::vector<Process*> found;
    for (auto& [id, process] : processes_)
      if (process.registered == registered) found.push_back(&process);
    return found.empty() ? nullptr : any(found);
  }
  template <class... Parts>
  void tell(const Parts&... parts) {
    if (!trace_) return;
    ((*trace_ << parts), ...);
    *trace_ << "\n";
  }

  // ---- events

  void step() {
    now_ += Duration(pick(chance(10) ? 20'000'000 : 20'000));
    switch (pick(27)) {
      case 0:
      case 1:
      case 2:
        return submit();
      case 3:
      case 4:
      case 5:
        if (Process* p = any_process(false)) register_(*p);
        return;
      case 6:
        if (Process* p = any_process(false); p && chance(1 + 2 * kindness_)) lose(*p);
        return;
      case 7:
      case 8:
      case 9:
      case 10:
        if (Process* p = any_process(true)) begin(*p);
        return;
      case 11:
      case 12:
      case 13:
      case 14:
      case 15:
      case 16:
        if (Process* p = any_process(true)) end_one_call(*p);
        return;
      case 17:
        if (Process* p = any_process(true); p && (p->killed || chance(1 + 5 * kindness_))) lose(*p);
        return;
      case 18:
        if (Process* p = any_process(true)) answer_retracts(*p);
        return;
      case 19:
        if (chance(1 + kindness_)) cancel();
        return;
      case 20:
        return tick();
      case 21:
        if (chance(2)) unkeep();
        return;
      case 22:
        if (chance(4)) chance(2) ? stale_events() : bad_submit();
        return;
      case 23:
        if (chance(15)) close(pick(static_cast<int>(sessions_.size())));
        if (chance(100)) lose_everything();
        return;
      case 24:
        if (chance(3)) prestart();
        return;
      case 25:
        if (Process* p = any_process(chance(2)); p && chance(3)) outdate(*p);
        return;
      case 26:
        if (Process* p = any_process(true); p && chance(1 + kindness_)) doom(*p);
        return;
    }
  }

  std::vector<int> usable_objects(int session) {
    std::vector<int> usable;
    for (std::size_t i = 0; i < model_.objects.size(); ++i)
      if (model_.objects[i].session == session &&
          (model_.has_data(static_cast<int>(i)) || model_.unfinished(static_cast<int>(i))))
        usable.push_back(static_cast<int>(i));
    return usable;
  }

  int add_object(int session, int producer) {
    ObjectRef object(new ObjectRecord);
    const bool kept = chance(4);
    object->id = {session, static_cast<int>(objects_.size())};
    object->session = sessions_[session].get();
    object->kept = kept;
    if (producer < 0)
      object->data = fake_data();
    else
      object->producer = tasks_[producer].get();
    objects_.push_back(std::move(object));
    model_.objects.push_back({session, producer, kept, true, false});
    return static_cast<int>(objects_.size()) - 1;
  }

  void submit() {
    const int session = pick(static_cast<int>(sessions_.size()));
    const Model::Session& state = model_.sessions[session];
    if (state.failed || state.closed || tasks_left_ == 0) return;
    std::vector<int> inputs = usable_objects(session);
    std::vector<TaskRef> tasks;
    std::vector<ObjectRef> objects;
    for (int i = pick(2); i > 0; --i) {
      inputs.push_back(add_object(session, -1));
      objects.push_back(objects_.back());
    }
    const int count = std::min(tasks_left_, 1 + pick(12));
    tasks_left_ -= count;
    for (int i = 0; i < count; ++i) {
      const int index = static_cast<int>(tasks_.size());
      TaskRef task(new TaskRecord);
      Model::Task model{session, pick(types_), chance(4) ? pick(cpus_ + 1) : 1, {}, {}};
      task->id = {session, index};
      task->session = sessions_[session].get();
      task->type = static_cast<TypeIndex>(model.type);
      task->method = static_cast<std::uint32_t>(model.type * 2 + pick(2));
      task->cpus = static_cast<std::uint32_t>(model.cpus);
      if (chance(3)) add_extras(*task, model);
      for (int k = inputs.empty() ? 0 : pick(4); k > 0; --k) {
        model.inputs.push_back(any(inputs));
        task->inputs.push_back(objects_[static_cast<std::size_t>(model.inputs.back())]);
      }
      tasks_.push_back(task);
      last_told_.push_back(TaskState::draft);
      for (int k = pick(3); k > 0; --k) {
        model.outputs.push_back(add_object(session, index));
        task->outputs.push_back(objects_.back());
        inputs.push_back(model.outputs.back());
        if (chance(2)) objects.push_back(objects_.back());
      }
      model_.tasks.push_back(std::move(model));
      tasks.push_back(std::move(task));
    }
    std::shuffle(tasks.begin(), tasks.end(), random_);
    tell("submit of ", count, " tasks to session ", session);
    model_.settle();
    core_->on_submit(sessions_[session], std::move(tasks), std::move(objects), now_);
    if (all_lost_) accept_failures([](int) { return true; });
    handled();
  }

  void add_extras(TaskRecord& task, Model::Task& model) {
    task.extras = std::make_unique<TaskExtras>();
    TaskExtras& extras = *task.extras;
    if (chance(2)) extras.retries = static_cast<std::uint32_t>(model.retries = pick(3));
    if (chance(3)) extras.timeout = Duration(chance(2) ? 30'000 : 10'000'000);
    if (chance(3))
      extras.resources.push_back({"gpu", static_cast<std::uint64_t>(pick(4)) * kResourceUnit});
    if (chance(4))
      extras.resources.push_back({"licence", static_cast<std::uint64_t>(pick(3)) * 7500});
    if (chance(4)) extras.memory_bytes = static_cast<std::uint64_t>(1 + pick(1000));
  }

  /// One draft is fine and the other is not: neither gets in.
  void bad_submit() {
    const int session = pick(static_cast<int>(sessions_.size()));
    std::vector<int> gone;
    for (std::size_t i = 0; i < objects_.size(); ++i)
      if (objects_[i]->state == ObjectState::removed || model_.objects[i].session != session)
        gone.push_back(static_cast<int>(i));
    if (gone.empty()) return;
    TaskRef good(new TaskRecord), bad(new TaskRecord);
    for (const TaskRef& task : {good, bad}) {
      task->id = {session, -1};
      task->session = sessions_[session].get();
    }
    bad->inputs.push_back(objects_[static_cast<std::size_t>(any(gone))]);
    tell("bad submit to session ", session);
    bool refused = false;
    try {
      core_->on_submit(sessions_[session], {good, bad}, {}, now_);
    } catch (const InvalidGraph&) {
      refused = true;
    }
    expect(refused && good->state == TaskState::draft, "an invalid submit is refused");
    handled();
  }

  void register_(Process& process) {
    process.registered = true;
    process.traits.threads = 1 + static_cast<std::uint32_t>(chance(3) ? pick(3) : 0);
    process.traits.max_in_flight =
        process.traits.threads + static_cast<std::uint32_t>(chance(3) ? 0 : pick(10));
    spawn_failures_[process.type] = 0;
    tell("executor ", process.id.value, " registers with ", process.traits.threads, " threads");
    core_->on_executor_ready(process.id, process.traits, now_);
    handled();
  }

  void prestart() {
    const int type = pick(types_);
    const std::uint32_t count = options_of(type).prestart;
    tell("prestart of ", count, " of type ", type);
    core_->on_prestart(static_cast<TypeIndex>(type), count, now_);
    handled();
    if (all_lost_ || options_of(type).max_processes > 0) return;
    std::uint32_t usable = 0;
    for (const auto& [id, process] : processes_)
      usable += process.type == type && !process.killed && !process.ended && !process.outdated;
    expect(usable >= count, "prestart starts what is missing");
  }

  void outdate(Process& process) {
    tell("executor ", process.id.value, " is outdated");
    process.outdated = true;
    core_->on_executor_outdated(process.id, now_);
    handled();
  }

  TypeOptions options_of(int type) const {
    const std::size_t index = static_cast<std::size_t>(type);
    return index < type_options_.size() ? type_options_[index] : TypeOptions();
  }

  /// Its next call in order, if a thread is free.
  bool begin(Process& process) {
    if (process.begun() >= static_cast<int>(process.traits.threads)) return false;
    for (Call& call : process.calls)
      if (!call.begun) {
        tell("task ", call.task, " begins");
        return call.begun = true;
      }
    return false;
  }

  void end_one_call(Process& process) {
    std::vector<std::size_t> begun;
    for (std::size_t i = 0; i < process.calls.size(); ++i)
      if (process.calls[i].begun) begun.push_back(i);
    if (begun.empty()) return;
    const std::size_t which = any(begun);
    if (process.calls[which].asked_to_stop && chance(2)) return;  // it doesn't listen
    const Call call = process.calls[which];
    const ExecutorId id = process.id;
    process.calls.erase(process.calls.begin() + static_cast<std::ptrdiff_t>(which));
    const Duration run_time(chance(10) ? 20'000'000 : 100 + pick(20'000));
    TaskRecord& task = *tasks_[static_cast<std::size_t>(call.task)];
    if (call.asked_to_stop ? chance(2) : chance(100)) {
      tell("task ", call.task, " stops");
      if (call.doomed && model_.live(call.task))
        model_.fail_attempt(call.task);
      else if (call.asked_back && model_.live(call.task))
        ;  // the same as taken back
      else
        model_.cancel({call.task});
      core_->on_task_cancelled(id, task, now_);
    } else if (chance(4 + 16 * kindness_)) {
      tell("task ", call.task, " fails");
      if (model_.live(call.task)) model_.fail_attempt(call.task);
      core_->on_task_failed(id, task, fake_failure(), run_time, now_);
    } else {
      done(call, id, run_time);
    }
    handled();
  }

  void done(const Call& call, ExecutorId id, Duration run_time) {
    const int index = call.task;
    tell("task ", index, " is done");
    TaskRecord& task = *tasks_[static_cast<std::size_t>(index)];
    std::vector<std::shared_ptr<ObjectData>> outputs(task.outputs.size());
    for (auto& output : outputs) output = fake_data();
    if (model_.live(index)) call.doomed ? model_.fail_attempt(index) : model_.finish(index);
    core_->on_task_done(id, task, std::move(outputs), run_time, now_);
  }

  void lose(Process& process) {
    tell("executor ", process.id.value, " is lost");
    const Process gone = process;
    processes_.erase(gone.id.value);
    if (!gone.registered) {
      const bool all = ++spawn_failures_[gone.type] >= spawn_limit_;
      if (all) spawn_failures_[gone.type] = 0;
      std::vector<int> candidates;
      for (std::size_t i = 0; i < tasks_.size(); ++i)
        if (is_ready(static_cast<int>(i)) && model_.tasks[i].type == gone.type)
          candidates.push_back(static_cast<int>(i));
      core_->on_executor_lost(gone.id, fake_failure(), {}, now_);
      const int count = accept_failures(
          [&](int task) { return std::count(candidates.begin(), candidates.end(), task) > 0; });
      if (options_of(gone.type).prestart > 0) {
        // It may have been started for none: then no task fails, and the start doesn't count.
        return handled();
      }
      if (!all) expect(count == (candidates.empty() ? 0 : 1), "a failed start fails one task");
      if (all)
        for (int task : candidates) expect(!model_.live(task), "at the limit all of the type fail");
      return handled();
    }
    std::vector<Core::Begun> begun;
    std::vector<int> guilty;
    for (const Call& call : gone.calls) {
      if (call.begun) begun.push_back(tasks_[static_cast<std::size_t>(call.task)].get());
      if (!model_.live(call.task)) continue;
      if (call.doomed) {
        guilty.push_back(call.task);
        continue;
      }
      if (gone.killed) continue;
      if (call.begun || ++model_.tasks[static_cast<std::size_t>(call.task)].crashes > crash_limit_)
        guilty.push_back(call.task);
    }
    for (int task : guilty)
      if (model_.live(task)) model_.fail_attempt(task);
    core_->on_executor_lost(gone.id, fake_failure(), begun, now_);
    handled();
  }

  void answer_retracts(Process& process) {
    for (std::size_t i = 0; i < process.calls.size();) {
      const Call call = process.calls[i];
      if (!call.asked_back) {
        ++i;
        continue;
      }
      TaskRecord& task = *tasks_[static_cast<std::size_t>(call.task)];
      if (call.begun) {
        tell("task ", call.task, " can't be taken back");
        process.calls[i].asked_back = false;
        core_->on_retract_refused(process.id, task, now_);
      } else {
        tell("task ", call.task, " is taken back");
        if (call.doomed && model_.live(call.task)) model_.fail_attempt(call.task);
        process.calls.erase(process.calls.begin() + static_cast<std::ptrdiff_t>(i));
        core_->on_retracted(process.id, task, now_);
      }
      handled();
      if (call.begun)
        expect(model_.live(call.task) || process.killed || process.calls[i].asked_to_stop,
               "an unwanted call that has begun is asked to stop");
      i = 0;  // the list may be another now
    }
  }

  void cancel() {
    if (tasks_.empty()) return;
    std::vector<int> some;
    std::vector<TaskRef> refs;
    for (int i = 1 + pick(3); i > 0; --i) {
      some.push_back(pick(static_cast<int>(tasks_.size())));
      refs.push_back(tasks_[static_cast<std::size_t>(some.back())]);
      tell("cancel of task ", some.back());
    }
    model_.cancel(some);
    core_->on_cancel(refs, now_);
    handled();
  }

  void unkeep() {
    if (objects_.empty()) return;
    const std::size_t index = static_cast<std::size_t>(pick(static_cast<int>(objects_.size())));
    tell("unkeep of object ", index);
    model_.objects[index].kept = false;
    model_.settle();
    core_->on_unkeep(*objects_[index], now_);
    handled();
  }

  void close(int session) {
    tell("close of session ", session);
    model_.close(session);
    core_->on_close_session(sessions_[static_cast<std::size_t>(session)], now_);
    handled();
  }

  void lose_everything() {
    tell("all is lost");
    all_lost_ = true;
    processes_.clear();
    core_->on_all_lost(fake_failure("lost", FailureKind::launcher), now_);
    accept_failures([](int) { return true; });
    for (std::size_t i = 0; i < tasks_.size(); ++i)
      expect(!model_.live(static_cast<int>(i)), "nothing is live once all is lost");
    handled();
  }

  void tick() {
    if (core_->next_tick() && chance(2)) now_ = std::max(now_, *core_->next_tick());
    tell("tick");
    for (auto& [id, process] : processes_)
      for (Call& call : process.calls) {
        const TaskExtras* extras = tasks_[static_cast<std::size_t>(call.task)]->extras.get();
        if (!extras || extras->timeout.count() == 0 || !model_.live(call.task)) continue;
        call.doomed |= now_ >= call.sent + extras->timeout;
      }
    core_->on_tick(now_);
    handled();
  }

  /// A call uses more memory than it may.
  void doom(Process& process) {
    for (Call& call : process.calls) {
      TaskRecord& task = *tasks_[static_cast<std::size_t>(call.task)];
      if (!call.begun || call.doomed || process.killed || !task.extras || !model_.live(call.task))
        continue;
      tell("task ", call.task, " is doomed");
      call.doomed = true;
      const std::uint32_t id = process.id.value;
      core_->on_task_doomed(process.id, task, fake_failure(), now_);
      handled();
      return expect(processes_.at(id).killed, "a doomed call ends with its process");
    }
  }

  /// What an executor says that is gone, or of a call that is over.
  void stale_events() {
    if (tasks_.empty()) return;
    TaskRecord& task = *any(tasks_);
    if (task.call != CallState::none) return;
    tell("stale events of task ", task.id.id);
    const ExecutorId id = task.executor;
    core_->on_task_done(id, task, {}, Duration(1), now_);
    core_->on_task_failed(id, task, fake_failure(), Duration(1), now_);
    core_->on_task_cancelled(id, task, now_);
    core_->on_retracted(id, task, now_);
    core_->on_retract_refused(id, task, now_);
    core_->on_executor_lost(ExecutorId{999}, fake_failure(), {&task}, now_);
    handled();
  }

  /// Where the Core chooses which task fails: takes its choice over if it was allowed.
  template <class Allowed>
  int accept_failures(Allowed allowed) {
    int count = 0;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      const int index = static_cast<int>(i);
      if (tasks_[i]->state != TaskState::failed || !model_.live(index)) continue;
      expect(allowed(index) && model_.inputs_finished(index), "that task could fail");
      model_.fail(index);
      ++count;
    }
    return count;
  }

  /// From here on executors start, run what they get and stop when asked: all must end.
  void drain() {
    tell("drain");
    for (int i = 0; i < 100'000; ++i) {
      now_ += Duration(1000);
      if (calm_step()) continue;
      if (!core_->next_tick()) break;
      tick();
    }
    for (std::size_t i = 0; i < tasks_.size(); ++i)
      expect(!model_.live(static_cast<int>(i)), "task " + std::to_string(i) + " ended");
    expect(!core_->busy(), "nothing is out in the end");
    for (std::size_t i = 0; i < sessions_.size(); ++i) close(static_cast<int>(i));
    for (std::size_t i = 0; i < objects_.size(); ++i)
      expect(!objects_[i]->data, "all data are gone in the end");
    for (std::size_t i = 0; i < tasks_.size(); ++i)
      expect(tasks_[i]->use_count() == 1, "the Core names no task in the end");
  }

  bool calm_step() {
    for (auto& [id, process] : processes_) {
      if (!process.registered) return register_(process), true;
      if (process.killed || process.ended) return lose(process), true;
      for (const Call& call : process.calls)
        if (call.asked_back) return answer_retracts(process), true;
      if (begin(process)) return true;
      if (process.calls.empty()) continue;
      const Call call = process.calls.front();
      const ExecutorId executor = process.id;
      process.calls.pop_front();
      done(call, executor, Duration(pick(20'000)));
      handled();
      return true;
    }
    return false;
  }

  // ---- after each event

  void handled() {
    for (const Command& command : core_->take_commands())
      std::visit([this](const auto& c) { obey(c); }, command);
    compare();
    const bool idle = std::any_of(processes_.begin(), processes_.end(), [&](const auto& each) {
      return each.second.calls.empty() && options_of(each.second.type).idle_time.count() > 0;
    });
    if (core_->next_tick() && !idle)
      expect(core_->busy(), "there is a tick only while something is out or may end");
  }

  void obey(const SpawnExecutor& command) {
    tell("  > spawn ", command.executor.value, " of type ", command.type);
    expect(!all_lost_, "nothing starts once all is lost");
    Process process;
    process.id = command.executor;
    process.type = command.type;
    expect(processes_.emplace(command.executor.value, process).second, "executor ids are new");
    const std::uint32_t limit = options_of(process.type).max_processes;
    const auto same = std::count_if(processes_.begin(), processes_.end(), [&](const auto& each) {
      return each.second.type == process.type;
    });
    expect(limit == 0 || same <= static_cast<int>(limit), "max_processes is kept");
  }
  void obey(const SendCall& command) {
    const int index = command.task->id.id;
    tell("  > send ", index, " to ", command.executor.value);
    expect(model_.live(index), "only live tasks are sent");
    expect(!is_out(index), "a task is sent once at a time");
    expect(model_.inputs_finished(index), "inputs are finished before their consumer starts");
    Process& process = process_of(command.executor);
    expect(process.registered && !process.killed && !process.ended && !process.outdated,
           "calls go to running executors");
    expect(process.type == model_.tasks[static_cast<std::size_t>(index)].type, "of their type");
    process.calls.push_back({index, now_});
    expect(process.calls.size() <= process.traits.max_in_flight, "max_in_flight is kept");
  }
  void obey(const Retract& command) {
    tell("  > retract ", command.task->id.id);
    Call& call = call_of(command.executor, *command.task);
    expect(!call.asked_back, "a call is asked back once at a time");
    expect(!process_of(command.executor).killed, "a killed executor is asked nothing");
    call.asked_back = true;
  }
  void obey(const RequestCancel& command) {
    tell("  > stop ", command.task->id.id);
    Call& call = call_of(command.executor, *command.task);
    expect(!process_of(command.executor).killed, "a killed executor is asked nothing");
    expect(call.begun && !call.asked_to_stop, "what has begun is asked to stop, once");
    expect(!model_.live(command.task->id.id) || call.doomed,
           "only unwanted and doomed calls are asked to stop");
    call.asked_to_stop = true;
  }
  void obey(const KillExecutor& command) {
    tell("  > kill ", command.executor.value);
    Process& process = process_of(command.executor);
    expect(std::any_of(process.calls.begin(), process.calls.end(),
                       [](const Call& call) { return call.asked_to_stop || call.doomed; }),
           "only an executor that didn't stop a call, or has a doomed one, is killed");
    process.killed = true;
  }
  void obey(const EndExecutor& command) {
    tell("  > end ", command.executor.value);
    Process& process = process_of(command.executor);
    expect(process.registered && !process.killed && !process.ended && process.calls.empty(),
           "only an idle executor is asked to end, once");
    process.ended = true;
    if (process.outdated) return;
    const TypeOptions options = options_of(process.type);
    std::uint32_t left = 0;
    for (const auto& [id, each] : processes_)
      left += each.type == process.type && !each.killed && !each.ended && !each.outdated;
    expect(options.idle_time.count() > 0 && left >= options.prestart,
           "as many as are prestarted stay");
  }
  void obey(const DropData& command) {
    tell("  > drop ", command.object->id.id);
    expect(command.data != nullptr, "dropped data come with the command, once");
  }
  void obey(const TaskChanged& command) {
    TaskState& last = last_told_[static_cast<std::size_t>(command.task->id.id)];
    expect(command.from == last && may_move(command.from, command.to), "changes follow each other");
    last = command.to;
  }
  void obey(const SessionFailed& command) {
    const std::size_t index = static_cast<std::size_t>(command.session->id);
    expect(!told_failed_[index], "a session fails once");
    told_failed_[index] = true;
  }

  Process& process_of(ExecutorId id) {
    const auto found = processes_.find(id.value);
    expect(found != processes_.end(), "commands name executors that exist");
    return found->second;
  }
  Call& call_of(ExecutorId id, const TaskRecord& task) {
    for (Call& call : process_of(id).calls)
      if (call.task == task.id.id) return call;
    throw Mismatch("commands name calls that are out");
  }
  bool is_out(int task) const {
    for (const auto& [id, process] : processes_)
      for (const Call& call : process.calls)
        if (call.task == task) return true;
    return false;
  }
  bool is_ready(int task) const {
    return model_.live(task) && model_.inputs_finished(task) && !is_out(task);
  }

  void compare() {
    using End = Model::End;
    std::vector<bool> out(tasks_.size());
    std::uint32_t cpus = 0;
    for (const auto& [id, process] : processes_) {
      for (const Call& call : process.calls) out[static_cast<std::size_t>(call.task)] = true;
      if (!process.calls.empty())
        cpus += std::min<std::uint32_t>(process.traits.threads,
                                        static_cast<std::uint32_t>(process.calls.size())) *
                tasks_[static_cast<std::size_t>(process.calls.front().task)]->cpus;
    }
    for (const Resource& resource : resources_) {
      std::uint64_t amount = 0;
      for (const auto& [id, process] : processes_)
        for (const Call& call : process.calls) {
          const TaskExtras* extras = tasks_[static_cast<std::size_t>(call.task)]->extras.get();
          if (!extras) continue;
          if (resource.name == kMemoryResource) amount += extras->memory_bytes;
          for (const ResourceAmount& each : extras->resources)
            if (each.name == resource.name) amount += each.amount;
        }
      expect(amount <= resource.total, "no more of a resource at work than there is");
    }
    expect(cpus <= static_cast<std::uint32_t>(cpus_), "no more cpus at work than there are");

    bool any_live = false;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      const TaskRecord& task = *tasks_[i];
      TaskState expected = TaskState::waiting;
      switch (model_.tasks[i].end) {
        case End::live:
          any_live = true;
          if (model_.inputs_finished(static_cast<int>(i)))
            expected = out[i] ? TaskState::assigned : TaskState::ready;
          break;
        case End::finished:
          expected = TaskState::finished;
          break;
        case End::failed:
          expected = TaskState::failed;
          break;
        case End::cancelled:
          expected = TaskState::cancelled;
          break;
        case End::aborted:
          expected = TaskState::aborted;
          break;
      }
      if (task.state != expected || last_told_[i] != expected)
        throw Mismatch("task " + std::to_string(i) + " is " + to_string(task.state) + ", told " +
                       to_string(last_told_[i]) + ", expected " + to_string(expected));
      expect(
          (task.failure != nullptr) == (is_terminal(expected) && expected != TaskState::finished),
          "what did not finish says why");
    }
    const bool ends = std::any_of(processes_.begin(), processes_.end(), [](const auto& each) {
      return each.second.killed || each.second.ended || each.second.outdated;
    });
    expect(!any_live || core_->busy() || ends, "somebody is at work while tasks are live");
    for (std::size_t i = 0; i < objects_.size(); ++i) {
      const int index = static_cast<int>(i);
      const ObjectState expected = model_.unfinished(index) ? ObjectState::unfinished
                                   : model_.has_data(index) ? ObjectState::finished
                                                            : ObjectState::removed;
      if (objects_[i]->state != expected)
        throw Mismatch("object " + std::to_string(i) + " is in another state than expected");
      expect((objects_[i]->data != nullptr) == (expected == ObjectState::finished),
             "data exist exactly while an object is finished");
    }
    for (std::size_t i = 0; i < sessions_.size(); ++i)
      expect(sessions_[i]->failed == model_.sessions[i].failed &&
                 told_failed_[i] == model_.sessions[i].failed,
             "a session has failed exactly when told so");
  }

  std::mt19937 random_;
  std::ostream* trace_;
  int cpus_ = 1, crash_limit_ = 0, spawn_limit_ = 0, types_ = 1, tasks_left_ = 0;
  int kindness_ = 0;  // of executors: 0 fail and die often
  bool all_lost_ = false;
  TimePoint now_{};

  std::vector<SessionRef> sessions_;
  std::vector<TaskRef> tasks_;      // by id, like the model's
  std::vector<ObjectRef> objects_;  // by id, like the model's
  std::vector<TaskState> last_told_;
  std::vector<bool> told_failed_;
  std::map<std::uint32_t, Process> processes_;
  std::map<int, int> spawn_failures_;  // by type, in a row
  std::vector<TypeOptions> type_options_;
  std::vector<Resource> resources_;
  Model model_;
  std::unique_ptr<Core> core_;
};

/// Empty: fine. Otherwise what was wrong.
std::string run_world(std::uint32_t seed, std::ostream* trace) {
  try {
    World(seed, trace).run();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}

class ModelTest : public testing::TestWithParam<int> {};

TEST_P(ModelTest, the_core_does_what_the_model_says) {
  std::uint32_t first = static_cast<std::uint32_t>(GetParam() * kGraphsPerShard),
                count = kGraphsPerShard;
  if (const char* seed = std::getenv("RAIN_MODEL_SEED")) {
    first = static_cast<std::uint32_t>(std::strtoul(seed, nullptr, 10));
    count = 1;
  }
  for (std::uint32_t seed = first; seed < first + count; ++seed) {
    if (run_world(seed, nullptr).empty()) continue;
    std::ostringstream trace;
    const std::string wrong = run_world(seed, &trace);
    FAIL() << "seed " << seed << ": " << wrong << "\n" << trace.str();
  }
}

INSTANTIATE_TEST_SUITE_P(Shards, ModelTest, testing::Range(0, kShards));

}  // namespace
}  // namespace rain::graph
