#include "remote/batch.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "annex.h"
#include "remote/id_table.h"
#include "remote/strings.h"
#include "wire/cbor.h"
#include "wire/codec_parts.h"

namespace rain::remote {

using graph::ObjectRecord;
using graph::ObjectRef;
using graph::ObjectState;
using graph::TaskExtras;
using graph::TaskRecord;
using graph::TaskRef;
using tasklib::base::ByteView;
using tasklib::base::Duration;
using tasklib::wire::DataType;
using tasklib::wire::Kind;
using tasklib::wire::Reader;
using tasklib::wire::Rules;
using tasklib::wire::Shape;
using tasklib::wire::StructReader;
using tasklib::wire::Writer;

namespace {

constexpr std::uint64_t kMaxId = std::numeric_limits<std::int32_t>::max();
constexpr std::uint64_t kMaxUint32 = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t kMaxTimeout = 1'000'000'000'000'000'000;  // it is added to times

enum Keep : std::uint64_t { kNotKept, kKept, kLent };

// ---- writing ------------------------------------------------------------------------------------

class PartWriter {
 public:
  PartWriter(const Submission& submission, const std::unordered_set<std::int32_t>& shared)
      : submission_(submission), shared_(shared) {}

  Part write(const std::vector<std::uint32_t>& tasks) {
    part_.task_ids.reserve(tasks.size());
    for (const std::uint32_t index : tasks)
      for (const ObjectRef& output : submission_.tasks[index]->outputs)
        made_here_.add(output->id.id, {});
    for (const std::uint32_t index : tasks)
      for (const ObjectRef& input : submission_.tasks[index]->inputs)
        if (Made* made = made_here_.find(input->id.id)) made->is_used = true;
    for (const std::uint32_t index : tasks) add(*submission_.tasks[index]);

    Writer batch(part_.batch);
    batch.array(4);
    batch.uinteger(kBatchVersion);
    strings_.write(batch);
    batch.array(object_count_);
    batch.raw(objects_);
    batch.array(tasks.size());
    batch.raw(tasks_);
    return std::move(part_);
  }

 private:
  struct Made {
    bool is_used = false;
  };

  void add(const TaskRecord& task) {
    part_.task_ids.push_back(task.id.id);
    for (const ObjectRef& input : task.inputs) {
      if (made_here_.find(input->id.id) || !outside_.insert(input->id.id).second) continue;
      add_object(*input);
    }
    const auto* annex = annex_of(task);
    const bool more = annex || task.extras || task.cpus != 1;
    Writer writer(tasks_);
    writer.array(more ? 5 : 4);
    writer.uinteger(id_of(task));
    writer.uinteger(type_of(task));
    writer.array(task.inputs.size());
    for (const ObjectRef& input : task.inputs) writer.uinteger(id_of(*input));
    writer.array(task.outputs.size());
    for (const ObjectRef& output : task.outputs) add_output(writer, *output);
    if (more) add_more(writer, task, annex);
    part_.max_cpus = std::max(part_.max_cpus, task.cpus);
  }

  template <class Record>
  static std::uint64_t id_of(const Record& record) {
    return static_cast<std::uint64_t>(record.id.id);
  }

  std::uint64_t type_of(const TaskRecord& task) {
    if (task.method != last_method_ || part_.executors.empty()) {
      const auto [found, added] = types_.try_emplace(task.method, 0);
      if (added) {
        const std::string& type = submission_.methods->name(task.method);
        found->second = strings_.index(type);
        std::string executor = type.substr(0, type.find('/'));
        if (std::ranges::find(part_.executors, executor) == part_.executors.end())
          part_.executors.push_back(std::move(executor));
      }
      last_method_ = task.method;
      last_type_ = found->second;
    }
    return last_type_;
  }

  /// An input that no task of the part makes.
  void add_object(const ObjectRecord& object) {
    ++object_count_;
    const std::int32_t id = object.id.id;
    const auto constant = submission_.constants.find(id);
    const InlineData* here = nullptr;
    if (constant == submission_.constants.end()) {
      part_.inputs.push_back(id);
    } else if (here = dynamic_cast<const InlineData*>(constant->second.get()); !here) {
      part_.uploads.emplace_back(id, constant->second);
    }
    const auto state = object.state.load(std::memory_order_acquire);
    const bool ended = state == ObjectState::finished || state == ObjectState::removed;
    const bool kept = constant != submission_.constants.end() && !here;
    const auto* info = ended ? result_of(object) : nullptr;
    const auto* annex = annex_of(object);
    const bool has_spec = annex || info || kept;
    Writer writer(objects_);
    writer.array(has_spec ? 3 : 2);
    writer.uinteger(id_of(object));
    if (here)
      writer.bytes(here->bytes());
    else
      writer.null();
    if (has_spec) add_spec(writer, annex, kept, info);
  }

  void add_output(Writer& writer, ObjectRecord& output) {
    const auto* annex = annex_of(output);
    const std::int32_t id = output.id.id;
    // What nothing takes yet, a later submit may take as long as the task runs; what was taken by
    // then may be gone, as always.
    const Keep keep = output.kept.load(std::memory_order_relaxed) ? kKept
                      : !made_here_.find(id)->is_used             ? kLent
                      : !shared_.empty() && shared_.contains(id)  ? kLent
                                                                  : kNotKept;
    if (keep != kNotKept) {
      output.lent.store(true, std::memory_order_relaxed);
      part_.outputs.push_back(id);
    }
    if (keep == kNotKept && !annex) return writer.uinteger(id_of(output));
    writer.array(annex ? 3 : 2);
    writer.uinteger(id_of(output));
    writer.uinteger(keep);
    if (annex) add_spec(writer, annex, false, nullptr);
  }

  void add_spec(Writer& writer, const ObjectAnnex* annex, bool kept,
                const tasklib::wire::ObjectInfo* info) {
    static const ObjectAnnex kNone;
    const ObjectAnnex& spec = annex ? *annex : kNone;
    const bool directory = spec.data_type == DataType::directory;
    writer.map(std::uint64_t{!spec.label.empty()} + !spec.content_type.empty() + directory + kept +
               !spec.user.empty() + (info != nullptr));
    add_string_if(writer, "label", spec.label);
    add_string_if(writer, "type", spec.content_type);
    add_true_if(writer, "dir", directory);
    add_true_if(writer, "keep", kept);
    tasklib::wire::write_user_if(writer, spec.user);
    if (info) {
      writer.key("info");
      tasklib::wire::write_object_info(writer, *info);
    }
  }

  void add_more(Writer& writer, const TaskRecord& task, const TaskAnnex* annex) {
    static const TaskAnnex kNoAnnex;
    static const TaskExtras kNoExtras;
    const TaskAnnex& own = annex ? *annex : kNoAnnex;
    const TaskExtras& extras = task.extras ? *task.extras : kNoExtras;
    writer.map(std::uint64_t{!own.name.empty()} + !own.config.empty() + !own.user.empty() +
               !own.input_labels.empty() + (task.cpus != 1) + (extras.retries > 0) +
               (extras.timeout.count() > 0) + (extras.memory_bytes > 0) +
               !extras.resources.empty());
    add_string_if(writer, "name", own.name);
    if (!own.config.empty()) {
      writer.key("config");
      writer.raw(own.config);
    }
    tasklib::wire::write_user_if(writer, own.user);
    if (!own.input_labels.empty()) {
      writer.key("labels");
      writer.array(own.input_labels.size());
      for (const std::string& label : own.input_labels) writer.uinteger(strings_.index(label));
    }
    add_number_if(writer, "cpus", task.cpus, 1);
    add_number_if(writer, "retries", extras.retries, 0);
    add_number_if(writer, "timeout", timeout_of(extras), 0);
    add_number_if(writer, "memory", extras.memory_bytes, 0);
    if (!extras.resources.empty()) {
      writer.key("resources");
      writer.map(extras.resources.size());
      for (const auto& [name, amount] : extras.resources) {
        writer.uinteger(strings_.index(name));
        writer.uinteger(amount);
        note_resource(name, amount);
      }
    }
    if (extras.memory_bytes > 0) note_resource(graph::kMemoryResource, extras.memory_bytes);
  }

  static std::uint64_t timeout_of(const TaskExtras& extras) {
    return std::min(static_cast<std::uint64_t>(extras.timeout.count()), kMaxTimeout);
  }

  void note_resource(const std::string& name, std::uint64_t amount) {
    const auto found = std::ranges::find(part_.resources, name, &graph::ResourceAmount::name);
    if (found == part_.resources.end())
      part_.resources.push_back({name, amount});
    else
      found->amount = std::max(found->amount, amount);
  }

  void add_string_if(Writer& writer, std::string_view key, const std::string& text) {
    if (text.empty()) return;
    writer.key(key);
    writer.uinteger(strings_.index(text));
  }
  static void add_true_if(Writer& writer, std::string_view key, bool flag) {
    if (!flag) return;
    writer.key(key);
    writer.boolean(true);
  }
  static void add_number_if(Writer& writer, std::string_view key, std::uint64_t number,
                            std::uint64_t usual) {
    if (number == usual) return;
    writer.key(key);
    writer.uinteger(number);
  }

  const Submission& submission_;
  const std::unordered_set<std::int32_t>& shared_;
  Part part_;
  StringTable strings_;
  std::string objects_, tasks_;  // encoded
  std::uint64_t object_count_ = 0;
  IdTable<Made> made_here_;
  std::unordered_set<std::int32_t> outside_;
  std::unordered_map<std::uint32_t, std::uint64_t> types_;  // of methods
  std::uint32_t last_method_ = 0;
  std::uint64_t last_type_ = 0;
};

// ---- reading ------------------------------------------------------------------------------------

constexpr std::string_view kSpecFields[] = {"label", "type", "dir", "keep", "user", "info"};
constexpr Shape kSpec{"object", kSpecFields, 6, 0};
constexpr std::string_view kMoreFields[] = {"name",    "config",  "user",   "labels",   "cpus",
                                            "retries", "timeout", "memory", "resources"};
constexpr Shape kMore{"task", kMoreFields, 9, 0};

class BatchReader {
 public:
  BatchReader(ByteView bytes, const Home& home) : reader_(bytes), home_(home) {}

  Batch read() {
    reader_.set_place("batch", {});
    Reader::Span frame = read_version(reader_, kBatchVersion);
    expect_item(frame);
    strings_.read(reader_);
    methods_.resize(strings_.size());
    expect_item(frame);
    for_each([this] { read_object(); });
    expect_item(frame);
    for_each([this] { read_task(); });
    reader_.set_place("batch", {});
    if (reader_.more(frame)) reader_.fail("more than its four items");
    reader_.expect_end();
    link();
    return std::move(batch_);
  }

 private:
  void expect_item(Reader::Span& span) {
    reader_.set_place("batch", {});
    if (!reader_.more(span)) reader_.fail_at(span.offset_bytes, "less than its four items");
  }

  template <class ReadItem>
  void for_each(ReadItem read_item) {
    Reader::Span items = reader_.enter_array();
    while (reader_.more(items)) read_item();
  }

  /// One of the leading items of an array, which must be there.
  void next_of(Reader::Span& array, std::string_view place, std::string_view field) {
    reader_.set_place(place, field);
    if (!reader_.more(array)) reader_.fail_at(array.offset_bytes, "is missing");
  }
  void end_of(Reader::Span& array, std::string_view place) {
    reader_.set_place(place, {});
    if (reader_.more(array)) reader_.fail("too many items");
  }

  std::int32_t read_id() { return static_cast<std::int32_t>(reader_.read_uint(kMaxId)); }

  void read_object() {
    constexpr std::string_view kPlace = "object";
    reader_.set_place(kPlace, {});
    const std::size_t start = reader_.offset_bytes();
    Reader::Span object = reader_.enter_array();
    next_of(object, kPlace, "id");
    const std::int32_t id = read_id();
    next_of(object, kPlace, "data");
    std::string scratch;
    std::optional<ByteView> bytes;
    if (!reader_.try_null()) bytes = reader_.read_bytes(scratch);
    ObjectRef record = home_.known(id, bytes.has_value());
    ObjectRef fresh;
    if (!record) {
      record = fresh = ObjectRef(new ObjectRecord);
      fresh->id = {home_.session->id, id};
      fresh->session = home_.session;
      if (bytes) fresh->data = std::make_shared<InlineData>(*bytes);
    }
    if (record->state.load(std::memory_order_relaxed) == ObjectState::draft)
      batch_.objects.push_back(record);
    if (reader_.more(object)) {
      read_spec(fresh.get());
      end_of(object, kPlace);
    }
    objects_.add(id, {record.get(), start});
    held_.push_back(std::move(record));
  }

  /// `object` null: of one that is known, to be passed over.
  void read_spec(ObjectRecord* object) {
    if (!object) return reader_.skip();
    ObjectAnnex annex;
    StructReader fields(reader_, kSpec, Rules::cbor2);
    for (int field; (field = fields.next()) != StructReader::kEnd;) {
      switch (field) {
        case 0:
          annex.label = strings_.at(reader_);
          break;
        case 1:
          annex.content_type = strings_.at(reader_);
          break;
        case 2:
          if (reader_.read_bool()) annex.data_type = DataType::directory;
          break;
        case 3:
          object->kept.store(reader_.read_bool(), std::memory_order_relaxed);
          break;
        case 4:
          annex.user = tasklib::wire::read_user(reader_);
          break;
        case 5: {
          auto result = std::make_unique<ObjectResult>();
          result->info = tasklib::wire::read_object_info(reader_, Rules::cbor2);
          object->result = std::move(result);
          break;
        }
      }
    }
    if (annex.label.empty() && annex.content_type.empty() && annex.user.empty() &&
        annex.data_type == DataType::blob)
      return;
    object->annex = std::make_unique<ObjectAnnex>(std::move(annex));
  }

  void read_task() {
    constexpr std::string_view kPlace = "task";
    reader_.set_place(kPlace, {});
    const std::size_t start = reader_.offset_bytes();
    Reader::Span array = reader_.enter_array();
    TaskRef task(new TaskRecord);
    task->session = home_.session;
    next_of(array, kPlace, "id");
    task->id = {home_.session->id, read_id()};
    next_of(array, kPlace, "type");
    const Governor::Method method = read_method();
    task->type = method.type;
    task->method = method.method;
    next_of(array, kPlace, "inputs");
    std::uint32_t inputs = 0;
    for_each([&] {
      input_ids_.push_back({read_id(), start});
      ++inputs;
    });
    input_counts_.push_back(inputs);
    next_of(array, kPlace, "outputs");
    for_each([&] { read_output(*task); });
    reader_.set_place(kPlace, {});
    if (reader_.more(array)) {
      read_more(*task, inputs);
      end_of(array, kPlace);
    }
    tasks_.add(task->id.id, start);
    batch_.tasks.push_back(std::move(task));
  }

  Governor::Method read_method() {
    const std::size_t index = strings_.index_of(reader_);
    auto& method = methods_[index];
    if (!method) method = home_.method(strings_[index]);
    return *method;
  }

  void read_output(TaskRecord& task) {
    const std::size_t start = reader_.offset_bytes();
    auto* output = new ObjectRecord;
    task.outputs.emplace_back(output);
    output->session = home_.session;
    output->producer = &task;
    if (reader_.peek() == Kind::array) {
      constexpr std::string_view kPlace = "output";
      Reader::Span array = reader_.enter_array();
      next_of(array, kPlace, "id");
      output->id = {home_.session->id, read_id()};
      next_of(array, kPlace, "keep");
      const auto keep = reader_.read_uint(kLent);
      output->kept.store(keep != kNotKept, std::memory_order_relaxed);
      if (keep == kLent) batch_.lent.push_back(output->id.id);
      if (reader_.more(array)) {
        read_spec(output);
        end_of(array, kPlace);
      }
      reader_.set_place("task", "outputs");
    } else {
      output->id = {home_.session->id, read_id()};
    }
    objects_.add(output->id.id, {output, start});
  }

  void read_more(TaskRecord& task, std::size_t inputs) {
    TaskAnnex annex;
    TaskExtras extras;
    StructReader fields(reader_, kMore, Rules::cbor2);
    for (int field; (field = fields.next()) != StructReader::kEnd;) {
      switch (field) {
        case 0:
          annex.name = strings_.at(reader_);
          break;
        case 1:
          tasklib::wire::append_canonical(reader_, annex.config);
          break;
        case 2:
          annex.user = tasklib::wire::read_user(reader_);
          break;
        case 3:
          for_each([&] { annex.input_labels.push_back(strings_.at(reader_)); });
          if (annex.input_labels.size() != inputs)
            reader_.fail("as many labels as inputs were expected");
          break;
        case 4:
          task.cpus = static_cast<std::uint32_t>(reader_.read_uint(kMaxUint32));
          break;
        case 5:
          extras.retries = static_cast<std::uint32_t>(reader_.read_uint(kMaxUint32));
          break;
        case 6:
          extras.timeout = Duration(reader_.read_uint(kMaxTimeout));
          break;
        case 7:
          extras.memory_bytes = reader_.read_uint();
          break;
        case 8:
          read_resources(extras);
          break;
      }
    }
    if (!annex.name.empty() || !annex.config.empty() || !annex.user.empty() ||
        !annex.input_labels.empty())
      task.annex = std::make_unique<TaskAnnex>(std::move(annex));
    if (extras.retries > 0 || extras.timeout.count() > 0 || extras.memory_bytes > 0 ||
        !extras.resources.empty())
      task.extras = std::make_unique<TaskExtras>(std::move(extras));
  }

  void read_resources(TaskExtras& extras) {
    Reader::Span map = reader_.enter_map();
    while (reader_.more(map)) {
      const std::size_t start = reader_.offset_bytes();
      std::string name = strings_.at(reader_);
      if (std::ranges::find(extras.resources, name, &graph::ResourceAmount::name) !=
          extras.resources.end())
        reader_.fail_at(start, "resource " + tasklib::wire::quoted(name) + " occurs twice");
      extras.resources.push_back({std::move(name), reader_.read_uint()});
    }
  }

  /// Gives each task its inputs.
  void link() {
    reader_.set_place("batch", {});
    if (const auto* twice = objects_.twice())
      reader_.fail_at(twice->second,
                      "object " + std::to_string(twice->first->id.id) + " occurs twice");
    if (const std::size_t* twice = tasks_.twice()) reader_.fail_at(*twice, "a task occurs twice");
    auto next = input_ids_.begin();
    for (std::size_t i = 0; i < batch_.tasks.size(); ++i) {
      auto& inputs = batch_.tasks[i]->inputs;
      inputs.reserve(input_counts_[i]);
      for (std::uint32_t n = input_counts_[i]; n > 0; --n, ++next) {
        const auto* object = objects_.find(next->first);
        if (!object)
          reader_.fail_at(next->second, "input " + std::to_string(next->first) +
                                            " is neither among the objects nor made by a task");
        inputs.emplace_back(object->first);
      }
    }
  }

  Reader reader_;
  const Home& home_;
  Batch batch_;
  StringList strings_;
  std::vector<std::optional<Governor::Method>> methods_;  // by string
  // With where they stand.
  IdTable<std::pair<ObjectRecord*, std::size_t>> objects_;
  IdTable<std::size_t> tasks_;
  std::vector<std::pair<std::int32_t, std::size_t>> input_ids_;  // of all tasks
  std::vector<std::uint32_t> input_counts_;                      // by task
  std::vector<ObjectRef> held_;  // those of `objects`: some are nobody's input
};

}  // namespace

Part encode_part(const Submission& submission, const std::vector<std::uint32_t>& tasks,
                 const std::unordered_set<std::int32_t>& shared) {
  return PartWriter(submission, shared).write(tasks);
}

Batch decode_batch(ByteView bytes, const Home& home) { return BatchReader(bytes, home).read(); }

std::string encode_info(const tasklib::wire::ObjectInfo& info) {
  std::string bytes;
  Writer writer(bytes);
  tasklib::wire::write_object_info(writer, info);
  return bytes;
}

tasklib::wire::ObjectInfo decode_info(ByteView bytes) {
  Reader reader(bytes);
  auto info = tasklib::wire::read_object_info(reader, Rules::cbor2);
  reader.expect_end();
  return info;
}

}  // namespace rain::remote
