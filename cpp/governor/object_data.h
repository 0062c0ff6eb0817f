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

/// Blobs from this size on go through shared memory; smaller ones ride in the message. Where the
/// two cost the same for one blob alone, as measured (docs/performance.md).
inline constexpr std::uint64_t kInlineLimitBytes = 8 * 1024;

/// Files below this size are read into memory when they become data, and written anew for each
/// program that reads such data; larger ones are copied and linked.
inline constexpr std::uint64_t kSmallFileBytes = 64 * 1024;

/// What data left behind when their last owner went, on whatever thread, until the token holder
/// sees to it: blobs that the store has to hear of, directories to remove. Shared by all data;
/// outlives the Governor if a view does. Thread-safe.
class ReleaseQueue {
 public:
  /// `event` (an eventfd) is written when the queue stops being empty.
  void wake_with(tasklib::base::UniqueFd event) { event_ = std::move(event); }
  void push(const tasklib::wire::BlobRef& ref);
  void push(std::string directory);
  struct Released {
    std::vector<tasklib::wire::BlobRef> refs;
    std::vector<std::string> directories;
  };
  Released take() {
    std::lock_guard lock(mutex_);
    return std::exchange(released_, {});
  }
  /// The store is gone, and the run directory with it: later pushes are dropped.
  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    released_ = {};
    event_.reset();
  }
  /// In a forked child, where the lock may be held by a thread that isn't there.
  void abandon_after_fork() noexcept {
    closed_ = true;
    event_.reset();
  }

 private:
  void wake();

  std::mutex mutex_;
  Released released_;
  std::atomic<bool> closed_{false};
  tasklib::base::UniqueFd event_;
};

/// The place of files and directories that are data: {run directory}/data. Thread-safe.
class DataDirectory {
 public:
  explicit DataDirectory(std::string path) : path_(std::move(path)) {}
  const std::string& path() const { return path_; }
  /// A path in it that was never given out before.
  std::string fresh() { return path_ + "/" + std::to_string(++last_); }

 private:
  const std::string path_;
  std::atomic<std::uint64_t> last_{0};
};

/// Data of one object. Immutable once its object is finished, except for its file. Any thread may
/// drop the last reference.
struct Data : graph::ObjectData {
  ~Data() override;
  /// Empty for a directory.
  virtual tasklib::base::ByteView bytes() const = 0;
  /// The same as memory of one's own, where that takes no copy (base::map_private): as long as this
  /// lives. Else null. Any thread. Throws SystemError.
  virtual std::shared_ptr<unsigned char> map_private() const { return nullptr; }
  virtual bool is_directory() const { return false; }
  /// A nameless file in which the bytes lie, from `offset_bytes` on: the kernel copies from there
  /// without our mapping. No descriptor: there is none.
  struct Source {
    tasklib::base::UniqueFd fd;
    std::uint64_t offset_bytes = 0;
  };
  virtual Source source() const { return {}; }
  /// Whether it has been a file or directory from the start.
  virtual bool is_on_disk() const { return false; }

  /// A read-only file with the same bytes (or the directory itself), for who reads paths: made by
  /// the first who asks, removed with the data. Thread-safe. Throws SystemError.
  const std::string& path(DataDirectory& place);
  /// The same if it is there already, else empty. Thread-safe.
  const std::string& path() const;

 protected:
  /// Requires: nobody else knows this object yet.
  void set_path(std::string path);
  bool owns_file = true;  // that is to be unlinked

 private:
  std::string path_;
  std::atomic<bool> has_path_{false};
  std::once_flag making_path_;
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
  std::shared_ptr<unsigned char> map_private() const override { return region->map_private(ref); }
  Source source() const override { return {region->open_read_only(), ref.offset_bytes}; }
  const std::shared_ptr<ReleaseQueue>& releases() const { return releases_; }

  const tasklib::wire::BlobRef ref;
  const std::shared_ptr<tasklib::blob::Region> region;
  std::uint64_t last_used = 0;  // by a count of uses; token holder

 private:
  std::shared_ptr<ReleaseQueue> releases_;
};

/// A file that an executor or a program left as its output, or a blob that was spilled; mapped
/// read-only, removed with the data.
struct FileData final : Data {
  /// Takes the file over. Throws SystemError.
  explicit FileData(std::string path);
  ~FileData() override;
  tasklib::base::ByteView bytes() const override { return {mapping_, size_bytes}; }
  std::shared_ptr<unsigned char> map_private() const override;
  bool is_on_disk() const override { return true; }
  bool is_spilled = false;

 private:
  void* mapping_ = nullptr;
};

/// Writes all bytes of data that are no directory to `fd`, inside the kernel where it can; `name`
/// is for messages. Throws SystemError, builtin::Stopped.
void write_bytes(const Data& data, int fd, const std::string& name,
                 const std::atomic<bool>* stop = nullptr);

/// Some of the bytes of a blob or file, which it keeps, in the same pages.
struct SliceData final : Data {
  /// `whole`: BlobData or FileData. Requires: the bytes are in it.
  SliceData(std::shared_ptr<Data> whole, std::uint64_t offset_bytes, std::uint64_t size)
      : whole(std::move(whole)), offset_bytes(offset_bytes) {
    size_bytes = size;
  }
  tasklib::base::ByteView bytes() const override {
    return {whole->bytes().data + offset_bytes, size_bytes};
  }
  std::shared_ptr<unsigned char> map_private() const override;
  Source source() const override {
    Source source = whole->source();
    source.offset_bytes += offset_bytes;
    return source;
  }
  /// Requires: `blob` is the whole.
  tasklib::wire::BlobRef ref_in(const BlobData& blob) const {
    return {blob.ref.region, blob.ref.offset_bytes + offset_bytes, size_bytes};
  }

  const std::shared_ptr<Data> whole;
  const std::uint64_t offset_bytes;
};

/// `size_bytes` bytes of data that are no directory. Small ones are copied, like all small data,
/// and keep nothing alive. Requires: the bytes are in it.
std::shared_ptr<Data> slice_of(const std::shared_ptr<Data>& data, std::uint64_t offset_bytes,
                               std::uint64_t size_bytes);
/// The data themselves, of a slice what it is part of.
Data& whole_of(graph::ObjectData& data);

/// Writes a blob into the new file `path`. Any thread. Throws SystemError; then there is no file.
std::shared_ptr<FileData> write_spilled(tasklib::base::ByteView bytes, std::string path);

/// A read-only directory in {run directory}/data (builtin/tree.h says what may be in it); removed
/// with the data. `size_bytes` is the sum of the sizes of its files.
struct DirectoryData final : Data {
  /// Takes the directory over.
  DirectoryData(std::shared_ptr<ReleaseQueue> releases, std::string path, std::uint64_t bytes)
      : releases_(std::move(releases)) {
    size_bytes = bytes;
    owns_file = false;
    set_path(std::move(path));
  }
  ~DirectoryData() override { releases_->push(path()); }
  tasklib::base::ByteView bytes() const override { return {}; }
  bool is_directory() const override { return true; }
  bool is_on_disk() const override { return true; }
  const std::shared_ptr<ReleaseQueue>& releases() const { return releases_; }

 private:
  std::shared_ptr<ReleaseQueue> releases_;
};

/// Data that lie with another process' governor, which is asked for them when the client wants
/// them.
struct RemoteData final : Data {
  RemoteData(std::uint64_t bytes, bool is_directory) : directory_(is_directory) {
    size_bytes = bytes;
    owns_file = false;
  }
  tasklib::base::ByteView bytes() const override { return {}; }
  bool is_directory() const override { return directory_; }

  // Token holder.
  std::shared_ptr<Data> local;  // the same data here; null: not asked for, or let go
  bool was_viewed = false;      // since they came

 private:
  const bool directory_;
};

/// The file or directory `path` as data: what lies in the place of data already gets another name
/// (a file) or is copied, all else is moved there and checked (builtin/tree.h). Any thread.
/// Requires: `path` is canonical, on the same file system, and ours to take. Throws Error.
std::shared_ptr<Data> take_path(const std::string& path, DataDirectory& place,
                                const std::shared_ptr<ReleaseQueue>& releases);

}  // namespace rain
