// cbor-2, version "cbor-2": messages to bytes. See codec_cbor2_read.cpp.

#include "wire/codec_parts.h"

namespace tasklib::wire {
namespace {

void write_name(Writer& writer, std::string_view name) {
  writer.array(2);
  writer.key(name);
}

void write_uint(Writer& writer, std::string_view key, std::uint64_t value) {
  writer.key(key);
  writer.uinteger(value);
}
void write_uint_if(Writer& writer, std::string_view key, std::uint64_t value) {
  if (value != 0) write_uint(writer, key, value);
}
void write_true_if(Writer& writer, std::string_view key, bool value) {
  if (!value) return;
  writer.key(key);
  writer.boolean(true);
}

void write_texts_if(Writer& writer, std::string_view key, const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  writer.key(key);
  writer.array(texts.size());
  for (const std::string& text : texts) writer.text(text);
}

void write_announced_values(Writer& writer, std::string_view key,
                            const std::vector<AnnouncedValue>& values) {
  writer.key(key);
  writer.array(values.size());
  for (const AnnouncedValue& value : values) {
    writer.map(1 + !value.name.empty());
    writer.key("type");
    writer.text(value.type);
    write_text_if(writer, "name", value.name);
  }
}

void write_blob_ref(Writer& writer, const BlobRef& ref) {
  writer.array(3);
  writer.uinteger(ref.region.value);
  writer.uinteger(ref.offset_bytes);
  writer.uinteger(ref.size_bytes);
}

void write_extents(Writer& writer, std::string_view key, const std::vector<Extent>& extents) {
  writer.key(key);
  writer.array(extents.size());
  for (const Extent& extent : extents) {
    writer.array(2);
    writer.uinteger(extent.offset_bytes);
    writer.uinteger(extent.size_bytes);
  }
}

bool has_location(const Location& location) {
  return !std::holds_alternative<std::monostate>(location);
}

void write_location_if(Writer& writer, const Location& location) {
  struct Visitor {
    Writer& writer;
    void operator()(std::monostate) {}
    void operator()(const Memory& memory) { write_memory(writer, memory); }
    void operator()(const Path& path) { write_path(writer, path); }
    void operator()(const OtherObject& other) { write_id(writer, other.id); }
    void operator()(Cached) {
      throw base::Error("cbor-2 has no executor caches; send the object's location");
    }
    void operator()(const BlobRef& ref) { write_blob_ref(writer, ref); }
    void operator()(const FileSlice& slice) {
      writer.array(3);
      write_path(writer, Path{slice.path});
      write_range(slice.offset_bytes, slice.size_bytes);
    }
    void operator()(const ObjectSlice& slice) {
      writer.array(3);
      write_id(writer, slice.id);
      write_range(slice.offset_bytes, slice.size_bytes);
    }
    void write_range(std::uint64_t offset_bytes, std::uint64_t size_bytes) {
      writer.uinteger(offset_bytes);
      writer.uinteger(size_bytes);
    }
  };
  if (!has_location(location)) return;
  writer.key("at");
  std::visit(Visitor{writer}, location);
}

void write_object_in(Writer& writer, const ObjectIn& object, const std::string& as) {
  const ObjectSpec& spec = object.spec;
  const bool is_directory = spec.data_type == DataType::directory;
  writer.map(1 + !as.empty() + !spec.label.empty() + !spec.content_type.empty() + is_directory +
             !spec.user.empty() + object.info.has_value() + has_location(object.location));
  writer.key("id");
  write_id(writer, spec.id);
  write_text_if(writer, "as", as);
  write_text_if(writer, "label", spec.label);
  write_text_if(writer, "type", spec.content_type);
  write_true_if(writer, "dir", is_directory);
  write_user_if(writer, spec.user);
  if (object.info) {
    writer.key("info");
    write_object_info(writer, *object.info);
  }
  write_location_if(writer, object.location);
}

void write_object_out(Writer& writer, const ObjectOut& object) {
  const bool has_info = !is_empty(object.info);
  writer.map(has_location(object.location) + has_info);
  write_location_if(writer, object.location);
  if (has_info) {
    writer.key("info");
    write_object_info(writer, object.info);
  }
}

}  // namespace

void write_cbor2(Writer& writer, const Register& message) {
  write_name(writer, "register");
  writer.map(3 + (message.threads != 1) + !message.features.empty() +
             !message.tasklib_version.empty() + !message.tasks.empty());
  writer.key("protocol");
  writer.text(message.protocol);
  writer.key("executor_id");
  writer.integer(message.executor_id);
  writer.key("executor_type");
  writer.text(message.executor_type);
  if (message.threads != 1) write_uint(writer, "threads", message.threads);
  write_texts_if(writer, "features", message.features);
  write_text_if(writer, "tasklib", message.tasklib_version);
  if (message.tasks.empty()) return;
  writer.key("tasks");
  writer.array(message.tasks.size());
  for (const AnnouncedTask& task : message.tasks) {
    writer.map(1 + 2 * task.signature.has_value());
    writer.key("name");
    writer.text(task.name);
    if (!task.signature) continue;
    write_announced_values(writer, "in", task.signature->inputs);
    write_announced_values(writer, "out", task.signature->outputs);
  }
}

void write_cbor2(Writer& writer, const Result& message) {
  const bool has_info = !is_empty(message.info);
  write_name(writer, "result");
  writer.map(2 + !message.success + message.cancelled + !message.outputs.empty() + has_info +
             (message.duration_ns != 0) + (message.copied_bytes != 0) + !message.held.empty() +
             !message.printed.empty() + !message.exception.empty() + (message.began_ns != 0));
  write_uint(writer, "seq", message.sequence);
  writer.key("task");
  write_id(writer, message.task);
  write_true_if(writer, "failed", !message.success);
  write_true_if(writer, "cancelled", message.cancelled);
  if (!message.outputs.empty()) {
    writer.key("out");
    writer.array(message.outputs.size());
    for (const ObjectOut& output : message.outputs) write_object_out(writer, output);
  }
  if (has_info) {
    writer.key("info");
    write_task_info(writer, message.info);
  }
  write_uint_if(writer, "ns", message.duration_ns);
  write_uint_if(writer, "copied", message.copied_bytes);
  if (!message.held.empty()) {
    writer.key("held");
    writer.array(message.held.size());
    for (const std::uint32_t index : message.held) writer.uinteger(index);
  }
  if (const Printed& printed = message.printed; !printed.empty()) {
    writer.key("printed");
    writer.array(4);
    for (const std::uint64_t position :
         {printed.out_begin, printed.out_end, printed.err_begin, printed.err_end})
      writer.uinteger(position);
  }
  if (!message.exception.empty()) {
    writer.key("exception");
    writer.bytes(base::ByteView(std::string_view(message.exception)));
  }
  write_uint_if(writer, "began", message.began_ns);
}

void write_cbor2(Writer& writer, const Released& message) {
  write_name(writer, "released");
  writer.map(1);
  writer.key("blobs");
  writer.array(message.blobs.size());
  for (const BlobRef& ref : message.blobs) write_blob_ref(writer, ref);
}

void write_cbor2(Writer& writer, const LeaseRequest& message) {
  write_name(writer, "lease_request");
  writer.map(2);
  write_uint(writer, "request", message.request);
  write_uint(writer, "size", message.size_bytes);
}

void write_cbor2(Writer& writer, const LeaseReturned& message) {
  write_name(writer, "lease_returned");
  writer.map(1);
  writer.key("regions");
  writer.array(message.regions.size());
  for (const base::RegionId id : message.regions) writer.uinteger(id.value);
}

void write_cbor2(Writer& writer, const Log& message) {
  write_name(writer, "log");
  writer.map(3 + (message.lost != 0));
  write_uint(writer, "seq", message.sequence);
  write_uint(writer, "level", message.level);
  writer.key("text");
  writer.text(message.text);
  write_uint_if(writer, "lost", message.lost);
}

void write_cbor2(Writer& writer, const Debug& message) {
  write_name(writer, "debug");
  writer.map(2);
  write_uint(writer, "seq", message.sequence);
  writer.key("text");
  writer.text(message.text);
}

void write_cbor2(Writer& writer, const Pong& message) {
  write_name(writer, "pong");
  writer.map(1);
  write_uint(writer, "number", message.number);
}

void write_cbor2(Writer& writer, const Call& message) {
  const TaskSpec& spec = message.spec;
  const std::string no_label;
  write_name(writer, "call");
  writer.map(3 + !message.inputs.empty() + !message.outputs.empty() + !spec.config.empty() +
             (spec.cpus != 1) + !spec.name.empty() + !spec.user.empty() + !spec.resources.empty());
  write_uint(writer, "seq", message.sequence);
  writer.key("id");
  write_id(writer, spec.id);
  writer.key("type");
  writer.text(spec.task_type);
  if (!message.inputs.empty()) {
    writer.key("in");
    writer.array(message.inputs.size());
    for (std::size_t i = 0; i < message.inputs.size(); ++i)
      write_object_in(writer, message.inputs[i],
                      i < spec.inputs.size() ? spec.inputs[i].label : no_label);
  }
  if (!message.outputs.empty()) {
    writer.key("out");
    writer.array(message.outputs.size());
    for (const ObjectIn& output : message.outputs) write_object_in(writer, output, no_label);
  }
  if (!spec.config.empty()) {
    writer.key("config");
    writer.raw(spec.config);
  }
  if (spec.cpus != 1) write_uint(writer, "cpus", spec.cpus);
  write_text_if(writer, "name", spec.name);
  write_user_if(writer, spec.user);
  if (spec.resources.empty()) return;
  writer.key("res");
  writer.map(spec.resources.size());
  for (const auto& resource : spec.resources) {
    writer.key(resource.first);
    writer.array(resource.second.size());
    for (const std::string& id : resource.second) writer.text(id);
  }
}

void write_cbor2(Writer& writer, const Welcome& message) {
  write_name(writer, "welcome");
  writer.map(2 + message.board + !message.features.empty() + !message.tasklib_version.empty());
  write_uint(writer, "credit", message.credit);
  write_uint(writer, "inline_limit", message.inline_limit_bytes);
  write_true_if(writer, "board", message.board);
  write_texts_if(writer, "features", message.features);
  write_text_if(writer, "tasklib", message.tasklib_version);
}

void write_cbor2(Writer& writer, const Region& message) {
  write_name(writer, "region");
  writer.map(2 + message.writable + (message.request != 0) + !message.free.empty());
  write_uint(writer, "id", message.id.value);
  write_uint(writer, "size", message.size_bytes);
  write_true_if(writer, "writable", message.writable);
  write_uint_if(writer, "request", message.request);
  if (!message.free.empty()) write_extents(writer, "free", message.free);
}

void write_cbor2(Writer& writer, const LeaseRefused& message) {
  write_name(writer, "lease_refused");
  writer.map(2);
  write_uint(writer, "request", message.request);
  writer.key("message");
  writer.text(message.message);
}

void write_cbor2(Writer& writer, const Freed& message) {
  write_name(writer, "freed");
  writer.map(2);
  write_uint(writer, "region", message.region.value);
  write_extents(writer, "extents", message.extents);
}

void write_cbor2(Writer& writer, const RegionDropped& message) {
  write_name(writer, "region_dropped");
  writer.map(1);
  write_uint(writer, "id", message.id.value);
}

void write_cbor2(Writer& writer, const Cancel& message) {
  write_name(writer, "cancel");
  writer.map(2);
  write_uint(writer, "seq", message.sequence);
  writer.key("task");
  write_id(writer, message.task);
}

void write_cbor2(Writer& writer, const Shutdown&) {
  write_name(writer, "shutdown");
  writer.map(0);
}

void write_cbor2(Writer& writer, const Ping& message) {
  write_name(writer, "ping");
  writer.map(1);
  write_uint(writer, "number", message.number);
}

void write_cbor2(Writer& writer, const LeaseWanted&) {
  write_name(writer, "lease_wanted");
  writer.map(0);
}

}  // namespace tasklib::wire
