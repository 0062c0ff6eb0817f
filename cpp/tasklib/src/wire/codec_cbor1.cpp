// cbor-1, version "cbor-1" for ever: both ends of it exist in the wild. Grammar: docs/protocol.md.
//
// Writes byte for byte what the older governor writes (key order, omissions, shortest integers);
// reads everything that its readers take (reference 1.3).

#include "wire/codec_parts.h"

namespace tasklib::wire {
namespace {

constexpr Rules kRules = Rules::cbor1;

// ---- names, in order of declaration: any may stand on the wire as its index ------------------

constexpr std::string_view kToGovernor[] = {"register", "result"};
constexpr std::string_view kToExecutor[] = {"call", "drop_cached"};

constexpr std::string_view kLocations[] = {"path", "memory", "other_object", "cached"};
constexpr std::string_view kDataTypes[] = {"blob", "dir"};

constexpr std::string_view kCallFields[] = {"spec", "inputs", "outputs"};
constexpr Shape kCall{"call", kCallFields, 3, 0b111};

constexpr std::string_view kTaskSpecFields[] = {"id",     "inputs",    "outputs", "task_type",
                                                "config", "resources", "name",    "user"};
constexpr Shape kTaskSpec{"TaskSpec", kTaskSpecFields, 8, 0b1001};

constexpr std::string_view kTaskInputFields[] = {"id", "label"};
constexpr Shape kTaskInput{"TaskSpecInput", kTaskInputFields, 2, 0b1};

constexpr std::string_view kResourcesFields[] = {"cpus"};
constexpr Shape kResources{"Resources", kResourcesFields, 1, 0, true};

constexpr std::string_view kObjectInFields[] = {"spec", "info", "location", "cache_hint"};
constexpr Shape kObjectIn{"LocalObjectIn", kObjectInFields, 4, 0b1};

constexpr std::string_view kObjectSpecFields[] = {"id", "label", "content_type", "data_type",
                                                  "user"};
constexpr Shape kObjectSpec{"ObjectSpec", kObjectSpecFields, 5, 0b1001};

constexpr std::string_view kResultFields[] = {"task", "success", "info", "outputs",
                                              "cached_objects"};
constexpr Shape kResult{"result", kResultFields, 5, 0b111};

constexpr std::string_view kObjectOutFields[] = {"info", "location", "cache_hint"};
constexpr Shape kObjectOut{"LocalObjectOut", kObjectOutFields, 3, 0b1};

constexpr std::string_view kDropCachedFields[] = {"objects"};
constexpr Shape kDropCached{"drop_cached", kDropCachedFields, 1, 0b1};

// ---- reading --------------------------------------------------------------------------------

/// An enum: its name or index, or [name or index, data]. `read_data(variant)` reads the data;
/// `units` has a bit for each variant without, whose data is null.
template <std::size_t N, class ReadData>
std::size_t read_variant(Reader& reader, const std::string_view (&names)[N], std::uint32_t units,
                         ReadData read_data) {
  const auto read_name = [&]() -> std::size_t {
    if (reader.peek() == Kind::unsigned_int) return reader.read_uint(N - 1);
    const std::size_t at = reader.offset_bytes();
    std::string scratch;
    const std::string_view name = reader.read_text(scratch);
    for (std::size_t i = 0; i < N; ++i)
      if (names[i] == name) return i;
    std::string known;
    for (const std::string_view each : names) known.append(known.empty() ? "" : ", ").append(each);
    reader.fail_at(at, "unknown variant " + quoted(name) + "; known are " + known);
  };
  const std::size_t start = reader.offset_bytes();
  std::size_t variant = N;
  if (reader.peek() != Kind::array) {
    variant = read_name();
    if (!(units & 1u << variant))
      reader.fail_at(start, "variant " + quoted(names[variant]) + " comes as [name, data]");
    return variant;
  }
  read_tuple(reader, 2, "a variant [name, data]", [&](std::uint64_t i) {
    if (i == 0) {
      variant = read_name();
    } else if (!(units & 1u << variant)) {
      read_data(variant);
    } else if (!reader.try_null()) {
      reader.fail_expected("null");
    }
  });
  return variant;
}

Location read_location(Reader& reader) {
  if (reader.try_null()) return {};
  Location location = Cached();
  read_variant(reader, kLocations, 0b1000, [&](std::size_t variant) {
    switch (variant) {
      case 0:
        if (reader.peek() != Kind::text) reader.fail_expected("a text (path)");
        location = Path{reader.read_text()};
        break;
      case 1:
        location = read_memory(reader);
        break;
      case 2:
        location = OtherObject{read_id<base::DataObjectId>(reader)};
        break;
    }
  });
  return location;
}

std::uint32_t read_resources(Reader& reader) {
  std::uint32_t cpus = 1;
  StructReader fields(reader, kResources, kRules);
  while (fields.next() != StructReader::kEnd)
    cpus = static_cast<std::uint32_t>(reader.read_uint(std::numeric_limits<std::uint32_t>::max()));
  return cpus;
}

TaskInput read_task_input(Reader& reader) {
  TaskInput input;
  StructReader fields(reader, kTaskInput, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        input.id = read_id<base::DataObjectId>(reader);
        break;
      case 1:
        input.label = reader.read_text();
        break;
    }
  }
  return input;
}

TaskSpec read_task_spec(Reader& reader) {
  TaskSpec spec;
  StructReader fields(reader, kTaskSpec, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        spec.id = read_id<base::TaskId>(reader);
        break;
      case 1:
        read_list(reader, spec.inputs, [&] { return read_task_input(reader); });
        break;
      case 2:
        read_list(reader, spec.outputs, [&] { return read_id<base::DataObjectId>(reader); });
        break;
      case 3:
        spec.task_type = reader.read_text();
        break;
      case 4:
        if (!reader.try_null()) append_canonical(reader, spec.config);
        break;
      case 5:
        spec.cpus = read_resources(reader);
        break;
      case 6:
        spec.name = reader.read_text();
        break;
      case 7:
        spec.user = read_user(reader);
        break;
    }
  }
  return spec;
}

ObjectSpec read_object_spec(Reader& reader) {
  ObjectSpec spec;
  StructReader fields(reader, kObjectSpec, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        spec.id = read_id<base::DataObjectId>(reader);
        break;
      case 1:
        spec.label = reader.read_text();
        break;
      case 2:
        spec.content_type = reader.read_text();
        break;
      case 3:
        spec.data_type =
            static_cast<DataType>(read_variant(reader, kDataTypes, 0b11, [](std::size_t) {}));
        break;
      case 4:
        spec.user = read_user(reader);
        break;
    }
  }
  return spec;
}

ObjectIn read_object_in(Reader& reader) {
  ObjectIn object;
  StructReader fields(reader, kObjectIn, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        object.spec = read_object_spec(reader);
        break;
      case 1:
        if (!reader.try_null()) object.info = read_object_info(reader, kRules);
        break;
      case 2:
        object.location = read_location(reader);
        break;
      case 3:
        object.cache_hint = reader.read_bool();
        break;
    }
  }
  return object;
}

ObjectOut read_object_out(Reader& reader) {
  ObjectOut object;
  StructReader fields(reader, kObjectOut, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        object.info = read_object_info(reader, kRules);
        break;
      case 1:
        object.location = read_location(reader);
        break;
      case 2:
        object.cache_hint = reader.read_bool();
        break;
    }
  }
  return object;
}

Call read_call(Reader& reader) {
  Call message;
  StructReader fields(reader, kCall, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.spec = read_task_spec(reader);
        break;
      case 1:
        read_list(reader, message.inputs, [&] { return read_object_in(reader); });
        break;
      case 2:
        read_list(reader, message.outputs, [&] { return read_object_in(reader); });
        break;
    }
  }
  return message;
}

DropCached read_drop_cached(Reader& reader) {
  DropCached message;
  StructReader fields(reader, kDropCached, kRules);
  while (fields.next() != StructReader::kEnd)
    read_list(reader, message.objects, [&] { return read_id<base::DataObjectId>(reader); });
  return message;
}

Result read_result(Reader& reader) {
  Result message;
  StructReader fields(reader, kResult, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.task = read_id<base::TaskId>(reader);
        break;
      case 1:
        message.success = reader.read_bool();
        break;
      case 2:
        message.info = read_task_info(reader, kRules);
        break;
      case 3:
        read_list(reader, message.outputs, [&] { return read_object_out(reader); });
        break;
      case 4:
        read_list(reader, message.cached_objects,
                  [&] { return read_id<base::DataObjectId>(reader); });
        break;
    }
  }
  return message;
}

// ---- writing --------------------------------------------------------------------------------

bool has_location(const Location& location) {
  return !std::holds_alternative<std::monostate>(location);
}

void write_location(Writer& writer, const Location& location) {
  struct Visitor {
    Writer& writer;
    void variant(std::string_view name) {
      writer.array(2);
      writer.key(name);
    }
    void operator()(std::monostate) {}
    void operator()(const Memory& memory) {
      variant("memory");
      write_memory(writer, memory);
    }
    void operator()(const Path& path) {
      variant("path");
      write_path(writer, path);
    }
    void operator()(const OtherObject& other) {
      variant("other_object");
      write_id(writer, other.id);
    }
    void operator()(Cached) { writer.key("cached"); }
    void operator()(const BlobRef&) {
      throw base::Error("cbor-1 has no place for a blob in a region; send it as memory or path");
    }
    void operator()(const FileSlice&) { refuse_slice(); }
    void operator()(const ObjectSlice&) { refuse_slice(); }
    [[noreturn]] static void refuse_slice() {
      throw base::Error("cbor-1 has no place for a slice; send it as memory or path");
    }
  };
  writer.key("location");
  std::visit(Visitor{writer}, location);
}

void write_object_spec(Writer& writer, const ObjectSpec& spec) {
  writer.map(2 + !spec.label.empty() + !spec.content_type.empty() + !spec.user.empty());
  writer.key("id");
  write_id(writer, spec.id);
  write_text_if(writer, "label", spec.label);
  write_text_if(writer, "content_type", spec.content_type);
  writer.key("data_type");
  writer.key(kDataTypes[static_cast<std::size_t>(spec.data_type)]);
  write_user_if(writer, spec.user);
}

void write_object_in(Writer& writer, const ObjectIn& object) {
  writer.map(1 + object.info.has_value() + has_location(object.location) + object.cache_hint);
  writer.key("spec");
  write_object_spec(writer, object.spec);
  if (object.info) {
    writer.key("info");
    write_object_info(writer, *object.info);
  }
  if (has_location(object.location)) write_location(writer, object.location);
  if (object.cache_hint) {
    writer.key("cache_hint");
    writer.boolean(true);
  }
}

void write_object_out(Writer& writer, const ObjectOut& object) {
  writer.map(1 + has_location(object.location) + object.cache_hint);
  writer.key("info");
  write_object_info(writer, object.info);
  if (has_location(object.location)) write_location(writer, object.location);
  if (object.cache_hint) {
    writer.key("cache_hint");
    writer.boolean(true);
  }
}

void write_task_spec(Writer& writer, const TaskSpec& spec) {
  writer.map(3 + !spec.inputs.empty() + !spec.outputs.empty() + !spec.config.empty() +
             !spec.name.empty() + !spec.user.empty());
  writer.key("id");
  write_id(writer, spec.id);
  if (!spec.inputs.empty()) {
    writer.key("inputs");
    writer.array(spec.inputs.size());
    for (const TaskInput& input : spec.inputs) {
      writer.map(1 + !input.label.empty());
      writer.key("id");
      write_id(writer, input.id);
      write_text_if(writer, "label", input.label);
    }
  }
  if (!spec.outputs.empty()) {
    writer.key("outputs");
    writer.array(spec.outputs.size());
    for (const base::DataObjectId id : spec.outputs) write_id(writer, id);
  }
  writer.key("task_type");
  writer.text(spec.task_type);
  if (!spec.config.empty()) {
    writer.key("config");
    writer.raw(spec.config);
  }
  writer.key("resources");
  writer.map(1);
  writer.key("cpus");
  writer.uinteger(spec.cpus);
  write_text_if(writer, "name", spec.name);
  write_user_if(writer, spec.user);
}

void write_name(Writer& writer, std::string_view name) {
  writer.array(2);
  writer.key(name);
}

}  // namespace

void write_cbor1(Writer& writer, const Register& message) {
  write_name(writer, "register");
  writer.map(3);
  writer.key("protocol");
  writer.text(message.protocol);
  writer.key("executor_id");
  writer.integer(message.executor_id);
  writer.key("executor_type");
  writer.text(message.executor_type);
}

void write_cbor1(Writer& writer, const Result& message) {
  write_name(writer, "result");
  writer.map(3 + !message.outputs.empty() + !message.cached_objects.empty());
  writer.key("task");
  write_id(writer, message.task);
  writer.key("success");
  writer.boolean(message.success);
  writer.key("info");
  write_task_info(writer, message.info);
  if (!message.outputs.empty()) {
    writer.key("outputs");
    writer.array(message.outputs.size());
    for (const ObjectOut& output : message.outputs) write_object_out(writer, output);
  }
  if (!message.cached_objects.empty()) {
    writer.key("cached_objects");
    writer.array(message.cached_objects.size());
    for (const base::DataObjectId id : message.cached_objects) write_id(writer, id);
  }
}

void write_cbor1(Writer& writer, const Call& message) {
  write_name(writer, "call");
  writer.map(3);
  writer.key("spec");
  write_task_spec(writer, message.spec);
  writer.key("inputs");
  writer.array(message.inputs.size());
  for (const ObjectIn& input : message.inputs) write_object_in(writer, input);
  writer.key("outputs");
  writer.array(message.outputs.size());
  for (const ObjectIn& output : message.outputs) write_object_in(writer, output);
}

void write_cbor1(Writer& writer, const DropCached& message) {
  write_name(writer, "drop_cached");
  writer.map(1);
  writer.key("objects");
  writer.array(message.objects.size());
  for (const base::DataObjectId id : message.objects) write_id(writer, id);
}

ToGovernor read_to_governor_cbor1(Reader& reader) {
  return read_message<ToGovernor>(reader, kToGovernor, 2, [&](std::size_t index) -> ToGovernor {
    if (index == 0) return read_register(reader);
    return read_result(reader);
  });
}

ToExecutor read_to_executor_cbor1(Reader& reader) {
  return read_message<ToExecutor>(reader, kToExecutor, 2, [&](std::size_t index) -> ToExecutor {
    if (index == 0) return read_call(reader);
    return read_drop_cached(reader);
  });
}

}  // namespace tasklib::wire
