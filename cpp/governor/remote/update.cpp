#include "remote/update.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "remote/strings.h"
#include "wire/cbor.h"
#include "wire/codec_parts.h"

// updates  = [version, strings, [* failure], [* update], [* started]]
// strings  = [* text]                        ; as in batches (remote/batch.h)
// failure  = [kind, [session, id], message, debug, report, pickled, [* attempt]]  ; several updates
// attempt  = [kind, message, executor, pid, ns]                                   ; may share one
// update   = [id, state, ns, pid, executor, attempts, [* output], ? more]
// output   = [id, size, ? {? "dir": true, ? "info": ObjectInfo, ? "content": bytes}]
// more     = {? "failure": index, ? "info": TaskInfo, ? "copied": bytes,
//             ? "printed": [out begin, out end, err begin, err end, s, s]}  ; s: stdout's, stderr's
// started  = uint  ; ids in ascending order, each as the difference to the one before, or to 0

namespace rain::remote {

using graph::Attempt;
using graph::Failure;
using graph::FailureKind;
using graph::FailurePtr;
using graph::TaskState;
using tasklib::base::ByteView;
using tasklib::base::Duration;
using tasklib::base::TaskId;
using tasklib::wire::Kind;
using tasklib::wire::Reader;
using tasklib::wire::Rules;
using tasklib::wire::Shape;
using tasklib::wire::StructReader;
using tasklib::wire::Writer;

namespace {

constexpr std::uint64_t kVersion = 2;
constexpr std::uint64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::uint64_t kMaxUint32 = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t kLastKind = static_cast<std::uint64_t>(FailureKind::connection);
constexpr std::uint64_t kLastState = static_cast<std::uint64_t>(TaskState::aborted);
constexpr std::uint64_t kMaxDuration = 1'000'000'000'000'000'000;  // it is subtracted from times

std::uint64_t count_of(Duration duration) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
}

// ---- writing ------------------------------------------------------------------------------------

void write_failure(Writer& writer, const Failure& failure) {
  writer.array(7);
  writer.uinteger(static_cast<std::uint64_t>(failure.kind));
  tasklib::wire::write_id(writer, failure.origin);
  writer.text(failure.message);
  writer.text(failure.debug);
  writer.text(failure.report);
  writer.bytes(ByteView(std::string_view(failure.pickled)));
  writer.array(failure.attempts.size());
  for (const Attempt& attempt : failure.attempts) {
    writer.array(5);
    writer.uinteger(static_cast<std::uint64_t>(attempt.kind));
    writer.text(attempt.message);
    writer.uinteger(attempt.executor.value);
    writer.integer(attempt.pid);
    writer.uinteger(std::min(count_of(attempt.duration), kMaxDuration));
  }
}

class UpdateWriter {
 public:
  std::string write(const std::vector<TaskUpdate>& updates,
                    const std::vector<std::int32_t>& started) {
    for (const TaskUpdate& update : updates) add(update);
    std::string bytes;
    Writer writer(bytes);
    writer.array(5);
    writer.uinteger(kVersion);
    strings_.write(writer);
    writer.array(failure_numbers_.size());
    writer.raw(failures_);
    writer.array(updates.size());
    writer.raw(updates_);
    writer.array(started.size());
    std::int32_t last = 0;
    for (const std::int32_t id : started)
      writer.uinteger(static_cast<std::uint64_t>(id - std::exchange(last, id)));
    return bytes;
  }

 private:
  void add(const TaskUpdate& update) {
    Writer writer(updates_);
    const bool has_info = !is_empty(update.info);
    const bool has_printed = !update.printed.empty();
    const bool has_copied = update.copied_bytes > 0;
    const std::uint64_t more =
        std::uint64_t{has_info} + has_printed + has_copied + (update.failure != nullptr);
    writer.array(more > 0 ? 8 : 7);
    writer.uinteger(static_cast<std::uint64_t>(update.id));
    writer.uinteger(static_cast<std::uint64_t>(update.state));
    writer.uinteger(std::min(count_of(update.run_time), kMaxDuration));
    writer.integer(update.pid);
    writer.uinteger(update.executor);
    writer.uinteger(update.attempts);
    writer.array(update.outputs.size());
    for (const ObjectUpdate& output : update.outputs) add(writer, output);
    if (more == 0) return;
    writer.map(more);
    if (update.failure) {
      writer.key("failure");
      writer.uinteger(number_of(update.failure));
    }
    if (has_info) {
      writer.key("info");
      tasklib::wire::write_task_info(writer, update.info);
    }
    if (has_copied) {
      writer.key("copied");
      writer.uinteger(update.copied_bytes);
    }
    if (has_printed) {
      const auto& printed = update.printed;
      writer.key("printed");
      writer.array(6);
      for (const auto at : {printed.out_begin, printed.out_end, printed.err_begin, printed.err_end})
        writer.uinteger(at);
      writer.uinteger(strings_.index(update.stdout_path));
      writer.uinteger(strings_.index(update.stderr_path));
    }
  }

  static void add(Writer& writer, const ObjectUpdate& output) {
    const bool has_info = !is_empty(output.info);
    const std::uint64_t more =
        std::uint64_t{output.is_directory} + has_info + output.content.has_value();
    writer.array(more > 0 ? 3 : 2);
    writer.uinteger(static_cast<std::uint64_t>(output.id));
    writer.uinteger(output.size_bytes);
    if (more == 0) return;
    writer.map(more);
    if (output.is_directory) {
      writer.key("dir");
      writer.boolean(true);
    }
    if (has_info) {
      writer.key("info");
      tasklib::wire::write_object_info(writer, output.info);
    }
    if (output.content) {
      writer.key("content");
      writer.bytes(ByteView(std::string_view(*output.content)));
    }
  }

  std::uint64_t number_of(const FailurePtr& failure) {
    const auto [found, added] =
        failure_numbers_.try_emplace(failure.get(), failure_numbers_.size());
    if (added) {
      Writer writer(failures_);
      write_failure(writer, *failure);
    }
    return found->second;
  }

  StringTable strings_;
  std::string failures_, updates_;  // encoded
  std::unordered_map<const Failure*, std::uint64_t> failure_numbers_;
};

// ---- reading ------------------------------------------------------------------------------------

constexpr std::string_view kOutputFields[] = {"dir", "info", "content"};
constexpr Shape kOutput{"output", kOutputFields, 3, 0};
constexpr std::string_view kMoreFields[] = {"failure", "info", "copied", "printed"};
constexpr Shape kMore{"update", kMoreFields, 4, 0};

class UpdateReader {
 public:
  explicit UpdateReader(ByteView bytes) : reader_(bytes) {}

  Updates read() {
    reader_.set_place("updates", {});
    Reader::Span frame = read_version(reader_, kVersion);
    expect_item(frame);
    strings_.read(reader_);
    expect_item(frame);
    for_each([this] { failures_.push_back(read_failure()); });
    expect_item(frame);
    for_each([this] { read_update(); });
    expect_item(frame);
    for_each([this] { read_started(); });
    reader_.set_place("updates", {});
    if (reader_.more(frame)) reader_.fail("more than its five items");
    reader_.expect_end();
    return std::move(updates_);
  }

 private:
  void expect_item(Reader::Span& span) {
    reader_.set_place("updates", {});
    if (!reader_.more(span)) reader_.fail_at(span.offset_bytes, "less than its five items");
  }

  template <class ReadItem>
  void for_each(ReadItem read_item) {
    Reader::Span items = reader_.enter_array();
    while (reader_.more(items)) read_item();
  }

  FailureKind read_kind() { return static_cast<FailureKind>(reader_.read_uint(kLastKind)); }
  std::uint32_t read_uint32() { return static_cast<std::uint32_t>(reader_.read_uint(kMaxUint32)); }
  std::int32_t read_pid() { return static_cast<std::int32_t>(reader_.read_uint(kMaxInt32)); }
  std::int32_t read_id() { return static_cast<std::int32_t>(reader_.read_uint(kMaxInt32)); }
  Duration read_duration() { return Duration(reader_.read_uint(kMaxDuration)); }

  FailurePtr read_failure() {
    auto failure = std::make_shared<Failure>();
    std::string scratch;
    tasklib::wire::read_tuple(reader_, 7, "a failure", [&](std::uint64_t i) {
      switch (i) {
        case 0:
          failure->kind = read_kind();
          break;
        case 1:
          failure->origin = tasklib::wire::read_id<TaskId>(reader_);
          break;
        case 2:
          failure->message = reader_.read_text();
          break;
        case 3:
          failure->debug = reader_.read_text();
          break;
        case 4:
          failure->report = reader_.read_text();
          break;
        case 5:
          failure->pickled = reader_.read_bytes(scratch).text();
          break;
        case 6:
          for_each([&] { failure->attempts.push_back(read_attempt()); });
          break;
      }
    });
    return failure;
  }

  Attempt read_attempt() {
    Attempt attempt;
    tasklib::wire::read_tuple(reader_, 5, "an attempt", [&](std::uint64_t i) {
      switch (i) {
        case 0:
          attempt.kind = read_kind();
          break;
        case 1:
          attempt.message = reader_.read_text();
          break;
        case 2:
          attempt.executor = {read_uint32()};
          break;
        case 3:
          attempt.pid = read_pid();
          break;
        case 4:
          attempt.duration = read_duration();
          break;
      }
    });
    return attempt;
  }

  void read_update() {
    TaskUpdate& update = updates_.ends.emplace_back();
    reader_.set_place("update", {});
    Reader::Span array = reader_.enter_array();
    const auto next = [&](std::string_view field) {
      reader_.set_place("update", field);
      if (!reader_.more(array)) reader_.fail_at(array.offset_bytes, "is missing");
    };
    next("id");
    update.id = read_id();
    next("state");
    const std::size_t at = reader_.offset_bytes();
    update.state = static_cast<TaskState>(reader_.read_uint(kLastState));
    if (!graph::is_terminal(update.state)) reader_.fail_at(at, "a task that has not ended");
    next("run_time");
    update.run_time = read_duration();
    next("pid");
    update.pid = read_pid();
    next("executor");
    update.executor = read_uint32();
    next("attempts");
    update.attempts = read_uint32();
    next("outputs");
    for_each([&] { read_output(update.outputs.emplace_back()); });
    reader_.set_place("update", {});
    if (!reader_.more(array)) return;
    read_more(update);
    if (reader_.more(array)) reader_.fail("too many items");
  }

  void read_started() {
    reader_.set_place("started", {});
    auto& ids = updates_.started;
    const std::int32_t last = ids.empty() ? 0 : ids.back();
    const std::size_t at = reader_.offset_bytes();
    const std::uint64_t more = reader_.read_uint(kMaxInt32 - static_cast<std::uint64_t>(last));
    if (more == 0 && !ids.empty()) reader_.fail_at(at, "a task twice");
    ids.push_back(last + static_cast<std::int32_t>(more));
  }

  void read_output(ObjectUpdate& output) {
    Reader::Span array = reader_.enter_array();
    const auto next = [&](std::string_view field) {
      reader_.set_place("output", field);
      if (!reader_.more(array)) reader_.fail_at(array.offset_bytes, "is missing");
    };
    next("id");
    output.id = read_id();
    next("size");
    output.size_bytes = reader_.read_uint();
    reader_.set_place("output", {});
    if (!reader_.more(array)) return;
    std::string scratch;
    StructReader fields(reader_, kOutput, Rules::cbor2);
    for (int field; (field = fields.next()) != StructReader::kEnd;) {
      if (field == 0)
        output.is_directory = reader_.read_bool();
      else if (field == 1)
        output.info = tasklib::wire::read_object_info(reader_, Rules::cbor2);
      else
        output.content = reader_.read_bytes(scratch).text();
    }
    if (reader_.more(array)) reader_.fail("too many items");
  }

  void read_more(TaskUpdate& update) {
    StructReader fields(reader_, kMore, Rules::cbor2);
    for (int field; (field = fields.next()) != StructReader::kEnd;) {
      switch (field) {
        case 0: {
          const std::size_t at = reader_.offset_bytes();
          const std::uint64_t number = reader_.read_uint();
          if (number >= failures_.size())
            reader_.fail_at(at, "failure " + std::to_string(number) + " of " +
                                    std::to_string(failures_.size()));
          update.failure = failures_[number];
          break;
        }
        case 1:
          update.info = tasklib::wire::read_task_info(reader_, Rules::cbor2);
          break;
        case 2:
          update.copied_bytes = reader_.read_uint();
          break;
        case 3:
          read_printed(update);
          break;
      }
    }
  }

  void read_printed(TaskUpdate& update) {
    auto& printed = update.printed;
    std::uint64_t* const positions[] = {&printed.out_begin, &printed.out_end, &printed.err_begin,
                                        &printed.err_end};
    tasklib::wire::read_tuple(reader_, 6, "what was printed", [&](std::uint64_t i) {
      if (i < 4)
        *positions[i] = reader_.read_uint();
      else
        (i == 4 ? update.stdout_path : update.stderr_path) = strings_.at(reader_);
    });
  }

  Reader reader_;
  StringList strings_;
  std::vector<FailurePtr> failures_;
  Updates updates_;
};

}  // namespace

std::string encode_updates(const std::vector<TaskUpdate>& ends, std::vector<std::int32_t> started) {
  std::ranges::sort(started);
  started.erase(std::unique(started.begin(), started.end()), started.end());
  return UpdateWriter().write(ends, started);
}

Updates decode_updates(ByteView bytes) { return UpdateReader(bytes).read(); }

}  // namespace rain::remote
