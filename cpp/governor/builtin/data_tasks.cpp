// The built-in tasks that make data of data: concat, sleep.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/syscall.h"
#include "base/unique_fd.h"
#include "builtin/builtin.h"

namespace rain::builtin {

using tasklib::base::ByteView;
using tasklib::base::checked;
using tasklib::base::TimePoint;
using tasklib::base::UniqueFd;
using tasklib::wire::Kind;
using tasklib::wire::Reader;

namespace {

using Keep = std::shared_ptr<graph::ObjectData>;

// ---- concat ----------------------------------------------------------------------------------

constexpr std::size_t kSliceBytes = 4 << 20;  // between two looks at the stop flag

/// Copies the parts one after the other into a blob, or into a file if there is no room for one.
class ConcatJob final : public PoolJob {
 public:
  ConcatJob(const Call& call, std::vector<Keep> parts, std::shared_ptr<BlobData> target,
            std::string path)
      : PoolJob(call),
        parts_(std::move(parts)),
        target_(std::move(target)),
        path_(std::move(path)) {}

 private:
  Outcome work() override {
    if (!target_) return work_on_disk();
    // Writing to the descriptor is quicker than writing to the mapping: fresh pages are neither
    // zeroed first nor faulted in one by one.
    write_parts(target_->region->open_read_write(), static_cast<off_t>(target_->ref.offset_bytes));
    return Outcome::of(target_, target_->size_bytes);
  }

  Outcome work_on_disk() {
    const UniqueFd fd(checked("open", path_, [&] {
      return ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
    }));
    try {
      write_parts(fd, 0);
      auto data = std::make_shared<FileData>(path_);
      data->is_spilled = true;
      const std::uint64_t copied = data->size_bytes;
      return Outcome::of(std::move(data), copied);
    } catch (...) {
      ::unlink(path_.c_str());
      throw;
    }
  }

  void write_parts(const UniqueFd& fd, off_t to) const {
    for (const auto& part : parts_) {
      ByteView left = static_cast<const Data&>(*part).bytes();
      while (left.size > 0) {
        check_stop();
        const ssize_t count = checked("pwrite", "blob", [&] {
          return ::pwrite(fd.get(), left.data, std::min(left.size, kSliceBytes), to);
        });
        to += count;
        left = ByteView(left.data + count, left.size - static_cast<std::size_t>(count));
      }
    }
  }

  const std::vector<Keep> parts_;
  const std::shared_ptr<BlobData> target_;  // null: a file
  const std::string path_;
};

}  // namespace

Begun concat(const Call& call) {
  std::vector<Keep> parts;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < call.task.inputs.size(); ++i) {
    if (call.input_is_directory(i)) {
      throw TaskError("Input " + std::to_string(i) + " object is not blob");
    }
    if (call.input(i).size_bytes == 0) continue;
    parts.push_back(call.task.inputs[i]->data);
    total += call.input(i).size_bytes;
  }
  if (total >= kInlineLimitBytes && parts.size() > 1) {
    std::shared_ptr<BlobData> target;
    std::string path;
    try {
      target = call.host.allocate(total);
    } catch (const tasklib::base::StoreFull&) {
      path = call.host.spill_path();
      if (path.empty()) throw;
    }
    return in_pool(call, std::make_shared<ConcatJob>(call, std::move(parts), std::move(target),
                                                     std::move(path)));
  }
  if (parts.size() == 1) return Outcome::of(std::move(parts[0]));
  std::string joined;
  joined.reserve(total);
  for (const auto& part : parts) joined += static_cast<const Data&>(*part).bytes().text();
  return Outcome::of(std::make_shared<InlineData>(ByteView(std::string_view(joined))), total);
}

// ---- sleep -----------------------------------------------------------------------------------

namespace {

constexpr double kLongestSleepSeconds = 1e9;  // 31 years: any clock can do with it

class SleepJob final : public Job {
 public:
  SleepJob(const Call& call, std::chrono::milliseconds time)
      : builtin_(call.builtin),
        executor_(call.executor),
        data_(call.task.inputs[0]->data),
        end_(call.began + time) {}

  void stop() override {
    Outcome outcome;
    outcome.cancelled = true;
    builtin_.end(executor_, std::move(outcome));
  }
  std::optional<TimePoint> wake_at() const override { return end_; }
  void on_time() override { builtin_.end(executor_, Outcome::of(data_)); }

 private:
  Builtin& builtin_;
  const tasklib::base::ExecutorId executor_;
  const Keep data_;
  const TimePoint end_;
};

/// The output shares the input's data, and so its dynamic content type.
void inherit_content_type(const Call& call) {
  if (call.task.outputs.empty()) return;
  const auto* info = result_of(*call.task.inputs[0]);
  const ObjectAnnex* annex = annex_of(*call.task.inputs[0]);
  const std::string& type = info && !info->content_type.empty() ? info->content_type
                            : annex                             ? annex->content_type
                                                                : std::string();
  if (type.empty()) return;
  auto result = std::make_unique<ObjectResult>();
  result->info.content_type = type;
  result->info.size = call.input(0).size_bytes;
  call.task.outputs[0]->result = std::move(result);
}

}  // namespace

Begun sleep(const Call& call) {
  call.expect_inputs(1);
  const double seconds = call.parse_config([](Reader& reader) {
    const auto kind = reader.peek();
    if (kind != Kind::floating && kind != Kind::unsigned_int && kind != Kind::negative_int) {
      reader.fail_expected("a number of seconds");
    }
    return reader.read_float();
  });
  if (!(seconds >= 0 && seconds <= kLongestSleepSeconds)) {
    throw TaskError("Cannot parse task config: expected seconds from 0 to 1e9, found " +
                    std::to_string(seconds));
  }
  inherit_content_type(call);
  const std::chrono::milliseconds time(std::llround(seconds * 1000));
  if (time.count() == 0) return Outcome::of(call.task.inputs[0]->data);
  return std::shared_ptr<Job>(std::make_shared<SleepJob>(call, time));
}

}  // namespace rain::builtin
