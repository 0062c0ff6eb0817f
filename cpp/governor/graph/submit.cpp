#include "graph/submit.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "graph/core.h"

namespace rain::graph {
namespace {

template <class Id>
std::string name(Id id) {
  return "(" + std::to_string(id.session) + "," + std::to_string(id.id) + ")";
}

TaskState state_of(const TaskRecord& task) { return task.state.load(std::memory_order_relaxed); }
ObjectState state_of(const ObjectRecord& object) {
  return object.state.load(std::memory_order_relaxed);
}

/// Marks what is in the submit, so that membership is one look at the record, and takes all marks
/// away at the end. A draft's live_index is its mark, an object's is its holding_index.
class Submit {
 public:
  Submit(const SessionRecord& session, const std::vector<TaskRef>& tasks,
         const std::vector<ObjectRef>& objects, const Core::Options& options)
      : session_(session), tasks_(tasks), objects_(objects), options_(options) {}

  ~Submit() {
    for (TaskRecord* task : marked_tasks_) {
      task->live_index = kNoIndex;
      task->sequence = 0;
      task->unfinished_inputs = 0;
    }
    for (ObjectRecord* object : marked_objects_) object->holding_index = kNoIndex;
  }

  void check() {
    check_session();
    marked_tasks_.reserve(tasks_.size());
    marked_objects_.reserve(tasks_.size() + objects_.size());
    for (const TaskRef& task : tasks_) enter(*task);
    for (const ObjectRef& object : objects_) enter(*object);
    for (const TaskRef& task : tasks_)
      for (const ObjectRef& input : task->inputs) check_input(*task, *input);
    for (const TaskRef& task : tasks_)
      if (task->sequence == kNew) measure_depth(*task);
  }

 private:
  // Colours of the walk, kept in a draft's `sequence`.
  static constexpr std::uint32_t kNew = 0, kOpen = 1, kDone = 2;

  void check_session() const {
    const std::string id = std::to_string(session_.id);
    if (session_.closed)
      throw InvalidGraph("session " + id + " is closed: make a new one with new_session()");
    if (session_.failed)
      throw InvalidGraph("session " + id + " has failed: make a new one with new_session(); " +
                         (session_.failure ? session_.failure->message : std::string()));
  }

  void enter(TaskRecord& task) {
    if (state_of(task) != TaskState::draft || task.live_index != kNoIndex)
      throw InvalidGraph("Task " + name(task.id) + " already in the graph");
    task.live_index = 0;
    marked_tasks_.push_back(&task);
    if (task.session != &session_)
      throw InvalidGraph("Task " + name(task.id) + " is from a different session than " +
                         std::to_string(session_.id) + ", where it was submitted");
    if (task.cpus > options_.cpus)
      throw InvalidGraph("task " + task.id.to_string() + " needs " + std::to_string(task.cpus) +
                         " cpus, but this client has " + std::to_string(options_.cpus) +
                         ": pass Client(cpus=" + std::to_string(task.cpus) + ") or ask for fewer");
    if (task.extras) enter_needs(task);
    for (const ObjectRef& output : task.outputs) enter_output(task, *output);
  }

  void enter_needs(TaskRecord& task) {
    std::vector<Need>& needs = task.extras->needs;
    needs.clear();
    if (options_.mirror && options_.resources.empty()) return;  // not known here
    for (const ResourceAmount& asked : task.extras->resources) add_need(task, asked);
    if (task.extras->memory_bytes > 0) add_need(task, {kMemoryResource, task.extras->memory_bytes});
    std::sort(needs.begin(), needs.end(),
              [](const Need& a, const Need& b) { return a.resource < b.resource; });
  }

  void add_need(TaskRecord& task, const ResourceAmount& asked) {
    const auto& resources = options_.resources;
    const auto found = std::find_if(resources.begin(), resources.end(),
                                    [&](const Resource& each) { return each.name == asked.name; });
    const std::string wants = "task " + task.id.to_string() + " needs " + amount_text(asked);
    if (found == resources.end())
      throw InvalidGraph(wants + ", but this client has no such resource; it has " + all_text() +
                         ": pass Client(resources={\"" + asked.name + "\": ...})");
    if (asked.amount > found->total)
      throw InvalidGraph(
          wants + ", but this client has " + text(*found) +
          (asked.name == kMemoryResource
               ? ": ask for less, or pass Client(task_memory=...)"
               : ": ask for less, or pass Client(resources={\"" + asked.name + "\": ...})"));
    if (!found->ids.empty() && asked.amount % kResourceUnit != 0)
      throw InvalidGraph(wants + ", but " + asked.name + " is had in whole ones: " + text(*found));
    if (asked.amount > 0)
      task.extras->needs.push_back(
          {static_cast<std::uint16_t>(found - resources.begin()), asked.amount});
  }

  static std::string amount_text(const ResourceAmount& asked) {
    char text[64];
    if (asked.name == kMemoryResource)
      std::snprintf(text, sizeof text, "%.6g MiB of ",
                    static_cast<double>(asked.amount) / (1 << 20));
    else
      std::snprintf(text, sizeof text, "%.10g ",
                    static_cast<double>(asked.amount) / static_cast<double>(kResourceUnit));
    return text + asked.name;
  }
  /// "2 gpu (0, 1)"
  static std::string text(const Resource& resource) {
    std::string text = amount_text({resource.name, resource.total});
    if (resource.ids.empty()) return text;
    std::string ids;
    for (const std::string& id : resource.ids) ids += (ids.empty() ? "" : ", ") + id;
    return text + " (" + ids + ")";
  }
  std::string all_text() const {
    std::string all = std::to_string(options_.cpus) + " cpus";
    for (const Resource& each : options_.resources) all += ", " + text(each);
    return all;
  }

  void enter_output(TaskRecord& task, ObjectRecord& output) {
    if (output.session != &session_)
      throw InvalidGraph("Output object " + name(output.id) + " for task " + name(task.id) +
                         " is from a different session");
    if (state_of(output) != ObjectState::draft)
      throw InvalidGraph("State already contains object with id " + name(output.id) +
                         ": it can't become an output of task " + name(task.id));
    const bool first = output.holding_index == kNoIndex;
    if (!first || (output.producer && output.producer != &task))
      throw InvalidGraph("Object " + name(output.id) + " already has producer (task " +
                         name(output.producer->id) + ") when creating task " + name(task.id));
    output.holding_index = 0;
    output.producer = &task;
    marked_objects_.push_back(&output);
    if (output.data)
      throw InvalidGraph("Object " + name(output.id) + " submitted with both producer task " +
                         name(task.id) + " and data of size " +
                         std::to_string(output.data->size_bytes));
  }

  void enter(ObjectRecord& object) {
    if (object.session != &session_)
      throw InvalidGraph("Object " + name(object.id) + " is from a different session than " +
                         std::to_string(session_.id) + ", where it was submitted");
    if (state_of(object) != ObjectState::draft)
      throw InvalidGraph("State already contains object with id " + name(object.id));
    if (object.producer) {  // entered as its output
      if (object.holding_index == kNoIndex)
        throw InvalidGraph("Object " + name(object.id) +
                           " submitted without its producer: submit both together");
      return;
    }
    if (object.holding_index != kNoIndex)
      throw InvalidGraph("State already contains object with id " + name(object.id));
    object.holding_index = 0;
    marked_objects_.push_back(&object);
    if (!object.data)
      throw InvalidGraph("Object " + name(object.id) +
                         " submitted with neither producer nor data.");
  }

  void check_input(const TaskRecord& task, const ObjectRecord& input) const {
    if (input.session != &session_)
      throw InvalidGraph("Input object " + name(input.id) + " for task " + name(task.id) +
                         " is from a different session");
    if (state_of(input) == ObjectState::removed)
      throw InvalidGraph("Can't create Task " + name(task.id) + " with Finished input object " +
                         name(input.id) +
                         ": its data are gone. Either nobody kept them (call keep() before "
                         "submitting its producer), or its producer did not finish");
    if (state_of(input) == ObjectState::draft && input.holding_index == kNoIndex)
      throw InvalidGraph("Object " + name(input.id) + " not found: it is an input of task " +
                         name(task.id) + ", but neither it nor its producer was submitted");
  }

  /// Depth-first over unfinished producers, with a stack of our own. A draft's unfinished_inputs
  /// says which input is next.
  void measure_depth(TaskRecord& start) {
    open(start);
    while (!path_.empty()) {
      TaskRecord& task = *path_.back();
      if (task.unfinished_inputs == task.inputs.size()) {
        task.sequence = kDone;
        path_.pop_back();
        if (!path_.empty()) path_.back()->depth = std::max(path_.back()->depth, task.depth + 1);
        continue;
      }
      const ObjectRecord& input = *task.inputs[task.unfinished_inputs++];
      // The producer of a finished object may be going away in another thread: don't look.
      if (state_of(input) == ObjectState::finished || !input.producer) continue;
      TaskRecord& producer = *input.producer;
      if (state_of(producer) == TaskState::draft && producer.sequence == kOpen)
        throw InvalidGraph(cycle_text(producer));
      if (state_of(producer) == TaskState::draft && producer.sequence == kNew)
        open(producer);
      else
        task.depth = std::max(task.depth, producer.depth + 1);
    }
  }

  void open(TaskRecord& task) {
    task.sequence = kOpen;
    task.unfinished_inputs = 0;
    task.depth = 0;
    path_.push_back(&task);
  }

  std::string cycle_text(const TaskRecord& first) const {
    constexpr std::ptrdiff_t kNamed = 8;
    const auto begin = std::find(path_.begin(), path_.end(), &first);
    const auto tasks = path_.end() - begin;
    std::string text = "the graph has a cycle of " + std::to_string(tasks) + " tasks: ";
    // The path goes from consumer to producer; name it the way the data would flow.
    for (auto task = path_.end(); task != begin && path_.end() - task < kNamed;)
      text += name((*--task)->id) + " -> ";
    if (tasks > kNamed) text += "... -> ";
    return text + name(path_.back()->id) + ": none of them could ever start";
  }

  const SessionRecord& session_;
  const std::vector<TaskRef>& tasks_;
  const std::vector<ObjectRef>& objects_;
  const Core::Options& options_;
  std::vector<TaskRecord*> marked_tasks_;
  std::vector<ObjectRecord*> marked_objects_;
  std::vector<TaskRecord*> path_;  // of the walk: each is the producer of an input of the last
};

}  // namespace

void validate_submit(const SessionRecord& session, const std::vector<TaskRef>& tasks,
                     const std::vector<ObjectRef>& objects, const Core::Options& options) {
  Submit(session, tasks, objects, options).check();
}

}  // namespace rain::graph
