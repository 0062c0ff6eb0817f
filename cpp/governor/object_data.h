#pragma once

// What the data of a finished object is: the Governor's side of graph::ObjectData.

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "blob/region.h"
#include "graph/records.h"
#include "wire/messages.h"

namespace rain {

/// Blobs whose last owner went, on whatever thread, waiting for the token holder to tell the
/// store. Shared by all BlobData; outlives the Governor if a view does. Thread-safe.
class ReleaseQueue {
 public:
  /// `event` (an eventfd) is written when the queue stops being empty.
  void wake_with(tasklib::base::UniqueFd event) { event_ = std::move(event); }
  void push(const tasklib::wire::BlobRef& ref);
  std::vector<tasklib::wire::BlobRef> take() {
    std::lock_guard lock(mutex_);
    return std::exchange(refs_, {});
  }
  /// The store is gone: later pushes are dropped.
  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    refs_.clear();
    event_.reset();
  }
  /// In a forked child, where the lock may be held by a thread that isn't there.
  void abandon_after_fork() noexcept {
    closed_ = true;
    event_.reset();
  }

 private:
  std::mutex mutex_;
  std::vector<tasklib::wire::BlobRef> refs_;
  std::atomic<bool> closed_{false};
  tasklib::base::UniqueFd event_;
};

/// Data of one object. Immutable once its object is finished, except `file`. Any thread may drop
/// the last reference.
struct Data : graph::ObjectData {
  virtual tasklib::base::ByteView bytes() const = 0;

  /// A file with the same bytes, for executors that read paths; made when first needed, empty
  /// until then, removed with the data. Thread: token holder.
  std::string file;
  ~Data() override;
};

/// Bytes in this process' own memory: below the inline limit.
struct InlineData final : Data {
  explicit InlineData(tasklib::base::ByteView content) : content(content.text()) {
    size_bytes = content.size;
  }
  tasklib::base::ByteView bytes() const override {
    return tasklib::base::ByteView(std::string_view(content));
  }
  const std::string content;
};

/// A blob in the store, of which this is the one owner. Keeps its region mapped.
struct BlobData final : Data {
  BlobData(std::shared_ptr<ReleaseQueue> releases, std::shared_ptr<tasklib::blob::Region> region,
           const tasklib::wire::BlobRef& ref)
      : ref(ref), region(std::move(region)), releases_(std::move(releases)) {
    size_bytes = ref.size_bytes;
  }
  ~BlobData() override { releases_->push(ref); }
  tasklib::base::ByteView bytes() const override { return {region->at(ref), ref.size_bytes}; }

  const tasklib::wire::BlobRef ref;
  const std::shared_ptr<tasklib::blob::Region> region;

 private:
  std::shared_ptr<ReleaseQueue> releases_;
};

/// A file that an executor left as its output; mapped read-only, removed with the data.
struct FileData final : Data {
  /// Takes the file over. Throws SystemError.
  explicit FileData(std::string path);
  ~FileData() override;
  tasklib::base::ByteView bytes() const override { return {mapping_, size_bytes}; }

 private:
  void* mapping_ = nullptr;
};

}  // namespace rain
