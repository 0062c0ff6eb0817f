// cbor-2, version "cbor-2": bytes to messages. codec_cbor2_write.cpp is the other way; the grammar
// of both is docs/protocol.md, which also says when the number goes up (never for a new key or
// message that the other side may ignore).

#include "wire/codec_parts.h"

namespace tasklib::wire {
namespace {

constexpr Rules kRules = Rules::cbor2;
constexpr std::uint64_t kMax32 = std::numeric_limits<std::uint32_t>::max();

constexpr std::string_view kToGovernor[] = {"register",       "result", "released", "lease_request",
                                            "lease_returned", "log",    "debug",    "pong"};
constexpr std::string_view kToExecutor[] = {"call",  "welcome",        "region", "lease_refused",
                                            "freed", "region_dropped", "cancel", "shutdown",
                                            "ping",  "lease_wanted"};

constexpr std::string_view kCallFields[] = {"seq",    "id",   "type", "in",   "out",
                                            "config", "cpus", "name", "user", "res"};
constexpr Shape kCall{"call", kCallFields, 10, 0b111};

constexpr std::string_view kObjectInFields[] = {"id",  "as",   "label", "type",
                                                "dir", "user", "info",  "at"};
constexpr Shape kObjectIn{"object", kObjectInFields, 8, 0b1};

constexpr std::string_view kResultFields[] = {"seq",  "task",    "failed",    "cancelled",
                                              "out",  "info",    "ns",        "copied",
                                              "held", "printed", "exception", "began"};
constexpr Shape kResult{"result", kResultFields, 12, 0b11};

constexpr std::string_view kObjectOutFields[] = {"at", "info"};
constexpr Shape kObjectOut{"output", kObjectOutFields, 2, 0};

constexpr std::string_view kReleasedFields[] = {"blobs"};
constexpr Shape kReleased{"released", kReleasedFields, 1, 0b1};

constexpr std::string_view kLeaseRequestFields[] = {"request", "size"};
constexpr Shape kLeaseRequest{"lease_request", kLeaseRequestFields, 2, 0b11};

constexpr std::string_view kLeaseReturnedFields[] = {"regions"};
constexpr Shape kLeaseReturned{"lease_returned", kLeaseReturnedFields, 1, 0b1};

constexpr std::string_view kLogFields[] = {"seq", "level", "text", "lost"};
constexpr Shape kLog{"log", kLogFields, 4, 0b111};

constexpr std::string_view kDebugFields[] = {"seq", "text"};
constexpr Shape kDebug{"debug", kDebugFields, 2, 0b11};

constexpr std::string_view kPingFields[] = {"number"};
constexpr Shape kPing{"ping", kPingFields, 1, 0b1};
constexpr Shape kPong{"pong", kPingFields, 1, 0b1};

constexpr std::string_view kWelcomeFields[] = {"credit", "inline_limit", "board", "features",
                                               "tasklib"};
constexpr Shape kWelcome{"welcome", kWelcomeFields, 5, 0b11};

constexpr std::string_view kRegionFields[] = {"id", "size", "writable", "request", "free"};
constexpr Shape kRegion{"region", kRegionFields, 5, 0b11};

constexpr std::string_view kLeaseRefusedFields[] = {"request", "message"};
constexpr Shape kLeaseRefused{"lease_refused", kLeaseRefusedFields, 2, 0b11};

constexpr std::string_view kFreedFields[] = {"region", "extents"};
constexpr Shape kFreed{"freed", kFreedFields, 2, 0b11};

constexpr std::string_view kRegionDroppedFields[] = {"id"};
constexpr Shape kRegionDropped{"region_dropped", kRegionDroppedFields, 1, 0b1};

constexpr std::string_view kCancelFields[] = {"seq", "task"};
constexpr Shape kCancel{"cancel", kCancelFields, 2, 0b11};

constexpr Shape kShutdown{"shutdown", nullptr, 0, 0};
constexpr Shape kLeaseWanted{"lease_wanted", nullptr, 0, 0};

std::uint32_t read_uint32(Reader& reader) {
  return static_cast<std::uint32_t>(reader.read_uint(kMax32));
}

base::RegionId read_region_id(Reader& reader) { return {read_uint32(reader)}; }

BlobRef read_blob_ref(Reader& reader) {
  BlobRef ref;
  read_tuple(reader, 3, "a blob [region, offset, size]", [&](std::uint64_t i) {
    if (i == 0) ref.region = read_region_id(reader);
    if (i == 1) ref.offset_bytes = reader.read_uint();
    if (i == 2) ref.size_bytes = reader.read_uint();
  });
  return ref;
}

Printed read_printed(Reader& reader) {
  Printed printed;
  const std::size_t start = reader.offset_bytes();
  read_tuple(reader, 4, "ranges of what was printed", [&](std::uint64_t i) {
    std::uint64_t* const parts[] = {&printed.out_begin, &printed.out_end, &printed.err_begin,
                                    &printed.err_end};
    *parts[i] = reader.read_uint();
  });
  if (printed.out_end < printed.out_begin || printed.err_end < printed.err_begin)
    reader.fail_at(start, "a range that ends before it begins");
  return printed;
}

std::vector<Extent> read_extents(Reader& reader) {
  std::vector<Extent> extents;
  read_list(reader, extents, [&] {
    Extent extent;
    read_tuple(reader, 2, "an extent [offset, size]", [&](std::uint64_t i) {
      (i == 0 ? extent.offset_bytes : extent.size_bytes) = reader.read_uint();
    });
    return extent;
  });
  return extents;
}

/// The rest of [path or [session, id], offset, size].
template <class Slice>
Slice read_slice(Reader& reader, Reader::Span& array, std::size_t start, Slice slice) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  std::uint64_t* const parts[] = {&slice.offset_bytes, &slice.size_bytes};
  std::size_t count = 0;
  while (reader.more(array)) {
    if (count == 2) reader.fail_at(start, "a slice of more than three parts");
    *parts[count++] = reader.read_uint(kMax);
  }
  if (count != 2) reader.fail_at(start, "a slice that is not [of what, offset, size]");
  return slice;
}

/// A byte string is the data; a text a path; [session, id] another object; [region, offset, size]
/// a blob; [path, offset, size] and [[session, id], offset, size] parts of these.
Location read_location(Reader& reader) {
  switch (reader.peek()) {
    case Kind::bytes:
      return read_memory(reader);
    case Kind::text:
      return Path{reader.read_text()};
    case Kind::array:
      break;
    default:
      reader.fail_expected("a location (bytes, path, [session, id] or [region, offset, size])");
  }
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t kMinId = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kMaxId = std::numeric_limits<std::int32_t>::max();
  const std::size_t start = reader.offset_bytes();
  std::int64_t numbers[3];
  std::size_t count = 0;
  Reader::Span array = reader.enter_array();
  while (reader.more(array)) {
    if (count == 0 && reader.peek() == Kind::text)
      return read_slice(reader, array, start, FileSlice{reader.read_text(), 0, 0});
    if (count == 0 && reader.peek() == Kind::array)
      return read_slice(reader, array, start,
                        ObjectSlice{read_id<base::DataObjectId>(reader), 0, 0});
    if (count == 3) reader.fail_at(start, "a location of more than three numbers");
    numbers[count] = reader.read_int(count < 2 ? kMinId : 0, kMax);
    ++count;
  }
  if (count == 2 && numbers[0] <= kMaxId && numbers[1] <= kMaxId)
    return OtherObject{
        {static_cast<std::int32_t>(numbers[0]), static_cast<std::int32_t>(numbers[1])}};
  if (count == 3 && numbers[0] >= 0 && numbers[0] <= static_cast<std::int64_t>(kMax32) &&
      numbers[1] >= 0)
    return BlobRef{{static_cast<std::uint32_t>(numbers[0])},
                   static_cast<std::uint64_t>(numbers[1]),
                   static_cast<std::uint64_t>(numbers[2])};
  reader.fail_at(start, "a location that is neither [session, id] nor [region, offset, size]");
}

ObjectIn read_object_in(Reader& reader, std::string& as) {
  ObjectIn object;
  StructReader fields(reader, kObjectIn, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        object.spec.id = read_id<base::DataObjectId>(reader);
        break;
      case 1:
        as = reader.read_text();
        break;
      case 2:
        object.spec.label = reader.read_text();
        break;
      case 3:
        object.spec.content_type = reader.read_text();
        break;
      case 4:
        object.spec.data_type = reader.read_bool() ? DataType::directory : DataType::blob;
        break;
      case 5:
        object.spec.user = read_user(reader);
        break;
      case 6:
        object.info = read_object_info(reader, kRules);
        break;
      case 7:
        object.location = read_location(reader);
        break;
    }
  }
  return object;
}

void read_resources(Reader& reader, TaskSpec& spec) {
  const std::size_t start = reader.offset_bytes();
  Reader::Span map = reader.enter_map();
  while (reader.more(map)) {
    if (spec.resources.size() == kMaxEntries)
      reader.fail_at(start, "more than " + std::to_string(kMaxEntries) + " entries");
    spec.resources.emplace_back();
    spec.resources.back().first = reader.read_text();
    read_list(reader, spec.resources.back().second, [&] { return reader.read_text(); });
  }
}

Call read_call(Reader& reader) {
  Call message;
  TaskSpec& spec = message.spec;
  StructReader fields(reader, kCall, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.sequence = read_uint32(reader);
        break;
      case 1:
        spec.id = read_id<base::TaskId>(reader);
        break;
      case 2:
        spec.task_type = reader.read_text();
        break;
      case 3:
        read_list(reader, message.inputs, [&] {
          TaskInput& input = spec.inputs.emplace_back();
          ObjectIn object = read_object_in(reader, input.label);
          input.id = object.spec.id;
          return object;
        });
        break;
      case 4:
        read_list(reader, message.outputs, [&] {
          std::string unused;
          ObjectIn object = read_object_in(reader, unused);
          spec.outputs.push_back(object.spec.id);
          return object;
        });
        break;
      case 5:
        append_canonical(reader, spec.config);
        break;
      case 6:
        spec.cpus = read_uint32(reader);
        break;
      case 7:
        spec.name = reader.read_text();
        break;
      case 8:
        spec.user = read_user(reader);
        break;
      case 9:
        read_resources(reader, spec);
        break;
    }
  }
  return message;
}

ObjectOut read_object_out(Reader& reader) {
  ObjectOut object;
  StructReader fields(reader, kObjectOut, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        object.location = read_location(reader);
        break;
      case 1:
        object.info = read_object_info(reader, kRules);
        break;
    }
  }
  return object;
}

Result read_result(Reader& reader) {
  Result message;
  message.success = true;
  StructReader fields(reader, kResult, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.sequence = read_uint32(reader);
        break;
      case 1:
        message.task = read_id<base::TaskId>(reader);
        break;
      case 2:
        message.success = !reader.read_bool();
        break;
      case 3:
        message.cancelled = reader.read_bool();
        break;
      case 4:
        read_list(reader, message.outputs, [&] { return read_object_out(reader); });
        break;
      case 5:
        message.info = read_task_info(reader, kRules);
        break;
      case 6:
        message.duration_ns = reader.read_uint();
        break;
      case 7:
        message.copied_bytes = reader.read_uint();
        break;
      case 8:
        read_list(reader, message.held, [&] { return read_uint32(reader); });
        break;
      case 9:
        message.printed = read_printed(reader);
        break;
      case 10: {
        const base::ByteView bytes = reader.read_bytes(message.exception);
        if (bytes.size > kMaxExceptionBytes) reader.fail("an exception of more than 1 MiB");
        message.exception = std::string(reinterpret_cast<const char*>(bytes.data), bytes.size);
        break;
      }
      case 11:
        message.began_ns = reader.read_uint();
        break;
    }
  }
  return message;
}

Released read_released(Reader& reader) {
  Released message;
  StructReader fields(reader, kReleased, kRules);
  while (fields.next() != StructReader::kEnd)
    read_list(reader, message.blobs, [&] { return read_blob_ref(reader); });
  return message;
}

LeaseRequest read_lease_request(Reader& reader) {
  LeaseRequest message;
  StructReader fields(reader, kLeaseRequest, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.request = read_uint32(reader);
        break;
      case 1:
        message.size_bytes = reader.read_uint();
        break;
    }
  }
  return message;
}

LeaseReturned read_lease_returned(Reader& reader) {
  LeaseReturned message;
  StructReader fields(reader, kLeaseReturned, kRules);
  while (fields.next() != StructReader::kEnd)
    read_list(reader, message.regions, [&] { return read_region_id(reader); });
  return message;
}

Log read_log(Reader& reader) {
  Log message;
  StructReader fields(reader, kLog, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.sequence = read_uint32(reader);
        break;
      case 1:
        message.level = read_uint32(reader);
        break;
      case 2:
        message.text = reader.read_text();
        break;
      case 3:
        message.lost = reader.read_uint();
        break;
    }
  }
  return message;
}

Debug read_debug(Reader& reader) {
  Debug message;
  StructReader fields(reader, kDebug, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.sequence = read_uint32(reader);
        break;
      case 1:
        message.text = reader.read_text();
        break;
    }
  }
  return message;
}

Pong read_pong(Reader& reader) {
  Pong message;
  StructReader fields(reader, kPong, kRules);
  while (fields.next() != StructReader::kEnd) message.number = read_uint32(reader);
  return message;
}

Ping read_ping(Reader& reader) {
  Ping message;
  StructReader fields(reader, kPing, kRules);
  while (fields.next() != StructReader::kEnd) message.number = read_uint32(reader);
  return message;
}

Welcome read_welcome(Reader& reader) {
  Welcome message;
  StructReader fields(reader, kWelcome, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.credit = read_uint32(reader);
        break;
      case 1:
        message.inline_limit_bytes = reader.read_uint();
        break;
      case 2:
        message.board = reader.read_bool();
        break;
      case 3:
        read_list(reader, message.features, [&] { return reader.read_text(); });
        break;
      case 4:
        message.tasklib_version = reader.read_text();
        break;
    }
  }
  return message;
}

Region read_region(Reader& reader) {
  Region message;
  StructReader fields(reader, kRegion, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.id = read_region_id(reader);
        break;
      case 1:
        message.size_bytes = reader.read_uint();
        break;
      case 2:
        message.writable = reader.read_bool();
        break;
      case 3:
        message.request = read_uint32(reader);
        break;
      case 4:
        message.free = read_extents(reader);
        break;
    }
  }
  return message;
}

LeaseRefused read_lease_refused(Reader& reader) {
  LeaseRefused message;
  StructReader fields(reader, kLeaseRefused, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.request = read_uint32(reader);
        break;
      case 1:
        message.message = reader.read_text();
        break;
    }
  }
  return message;
}

Freed read_freed(Reader& reader) {
  Freed message;
  StructReader fields(reader, kFreed, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.region = read_region_id(reader);
        break;
      case 1:
        message.extents = read_extents(reader);
        break;
    }
  }
  return message;
}

RegionDropped read_region_dropped(Reader& reader) {
  RegionDropped message;
  StructReader fields(reader, kRegionDropped, kRules);
  while (fields.next() != StructReader::kEnd) message.id = read_region_id(reader);
  return message;
}

Cancel read_cancel(Reader& reader) {
  Cancel message;
  StructReader fields(reader, kCancel, kRules);
  for (int field; (field = fields.next()) != StructReader::kEnd;) {
    switch (field) {
      case 0:
        message.sequence = read_uint32(reader);
        break;
      case 1:
        message.task = read_id<base::TaskId>(reader);
        break;
    }
  }
  return message;
}

Shutdown read_shutdown(Reader& reader) {
  StructReader fields(reader, kShutdown, kRules);
  while (fields.next() != StructReader::kEnd) {
  }
  return {};
}

LeaseWanted read_lease_wanted(Reader& reader) {
  StructReader fields(reader, kLeaseWanted, kRules);
  while (fields.next() != StructReader::kEnd) {
  }
  return {};
}

}  // namespace

ToGovernor read_to_governor_cbor2(Reader& reader) {
  return read_message<ToGovernor>(reader, kToGovernor, 1, [&](std::size_t index) -> ToGovernor {
    switch (index) {
      case 0:
        return read_register(reader);
      case 1:
        return read_result(reader);
      case 2:
        return read_released(reader);
      case 3:
        return read_lease_request(reader);
      case 4:
        return read_lease_returned(reader);
      case 5:
        return read_log(reader);
      case 6:
        return read_debug(reader);
      default:
        return read_pong(reader);
    }
  });
}

ToExecutor read_to_executor_cbor2(Reader& reader) {
  return read_message<ToExecutor>(reader, kToExecutor, 0, [&](std::size_t index) -> ToExecutor {
    switch (index) {
      case 0:
        return read_call(reader);
      case 1:
        return read_welcome(reader);
      case 2:
        return read_region(reader);
      case 3:
        return read_lease_refused(reader);
      case 4:
        return read_freed(reader);
      case 5:
        return read_region_dropped(reader);
      case 6:
        return read_cancel(reader);
      case 7:
        return read_shutdown(reader);
      case 8:
        return read_ping(reader);
      default:
        return read_lease_wanted(reader);
    }
  });
}

}  // namespace tasklib::wire
