#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "blob/region.h"
#include "executor/room.h"
#include "wire/messages.h"

namespace tasklib::executor {

/// The bytes (or the path) behind data instances. Shared by everything that views them: the count
/// of owners is the count of views. Thread-safe; what it shows does not change once it is shared.
class Content {
 public:
  enum class Kind : std::uint8_t { bytes, view, room, file };

  virtual ~Content();
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;

  Kind kind() const { return kind_; }
  virtual std::size_t size() const = 0;
  /// Never null. Valid as long as this.
  virtual const unsigned char* data() const = 0;
  /// Where the bytes are pages of a file or of shared memory: these, mapped privately
  /// (base::map_private), as long as this lives. Else null. Throws SystemError.
  virtual std::shared_ptr<unsigned char> map_private() const { return nullptr; }
  /// The same where somebody may have it already, else null.
  virtual const unsigned char* mapped() const { return data(); }

  /// A copy of `size` bytes at `bytes`, which are this content's, that is aligned to 64 bytes. Made
  /// once, valid as long as this.
  const unsigned char* aligned_copy(const unsigned char* bytes, std::size_t size) const;
  /// What was copied so.
  std::size_t copied_bytes() const { return copied_bytes_.load(std::memory_order_acquire); }

 protected:
  explicit Content(Kind kind) : kind_(kind) {}

 private:
  const Kind kind_;
  mutable std::atomic<unsigned char*> aligned_{nullptr};  // owned
  mutable std::atomic<std::size_t> copied_bytes_{0};
};

/// A copy of bytes that came inside a message; small ones without a further allocation.
class CopiedContent final : public Content {
 public:
  explicit CopiedContent(base::ByteView bytes);
  std::size_t size() const override { return size_; }
  const unsigned char* data() const override { return large_ ? large_.get() : small_; }

 private:
  alignas(16) unsigned char small_[48];
  std::unique_ptr<unsigned char[]> large_;
  std::size_t size_;
};

/// Bytes in an owner that knows where they are (std::string, std::vector).
template <class Owner>
class OwnedContent final : public Content {
 public:
  explicit OwnedContent(Owner owner) : Content(Kind::bytes), owner_(std::move(owner)) {}
  std::size_t size() const override { return owner_.size(); }
  const unsigned char* data() const override {
    static const unsigned char kNothing = 0;
    const auto* bytes = reinterpret_cast<const unsigned char*>(owner_.data());
    return bytes == nullptr ? &kNothing : bytes;
  }

 private:
  const Owner owner_;
};

/// Bytes that somebody else owns.
class ForeignContent final : public Content {
 public:
  ForeignContent(std::shared_ptr<const void> owner, base::ByteView bytes);
  std::size_t size() const override { return bytes_.size; }
  const unsigned char* data() const override { return bytes_.data; }

 private:
  const std::shared_ptr<const void> owner_;
  const base::ByteView bytes_;
};

/// Room in ordinary memory, to be written: for small outputs.
class HeapContent final : public Content {
 public:
  explicit HeapContent(std::size_t size_bytes);
  std::size_t size() const override { return size_; }
  const unsigned char* data() const override { return data_; }
  unsigned char* writable() { return data_; }
  /// Before it is shared.
  void shrink(std::size_t size_bytes) { size_ = size_bytes; }
  ~HeapContent() override;

 private:
  unsigned char* const data_;
  std::size_t size_;
};

/// Blobs that were held after their call and are viewed no more: filled by whoever drops the last
/// view, emptied by the loop. Thread-safe. Outlives the loop by shared ownership.
class Releases {
 public:
  Releases();
  void post(const wire::BlobRef& ref);
  std::vector<wire::BlobRef> take();
  /// Readable while there is something to take.
  int event_fd() const { return event_fd_.get(); }

 private:
  const base::UniqueFd event_fd_;
  std::atomic<bool> any_{false};
  std::mutex mutex_;
  std::vector<wire::BlobRef> refs_;  // guarded by mutex_
};

/// An input in shared memory. Keeps its region mapped.
class ViewContent final : public Content {
 public:
  /// Throws ProtocolError when `ref` leaves the region.
  ViewContent(std::shared_ptr<blob::Region> region, const wire::BlobRef& ref,
              std::shared_ptr<Releases> releases);
  ~ViewContent() override;
  std::size_t size() const override { return ref_.size_bytes; }
  const unsigned char* data() const override { return data_; }
  std::shared_ptr<unsigned char> map_private() const override { return region_->map_private(ref_); }
  /// The call's result says that this is viewed still, so its end is to be reported.
  void set_held() { held_.store(true, std::memory_order_relaxed); }

 private:
  const std::shared_ptr<blob::Region> region_;
  const wire::BlobRef ref_;
  const unsigned char* const data_;
  const std::shared_ptr<Releases> releases_;
  std::atomic<bool> held_{false};
};

/// An output in shared memory. Its extent goes back to the room when it was not sent.
class RoomContent final : public Content {
 public:
  RoomContent(std::shared_ptr<Room> room, blob::Arena::Allocation allocation)
      : Content(Kind::room),
        room_(std::move(room)),
        allocation_(std::move(allocation)),
        size_(allocation_.ref.size_bytes) {}
  ~RoomContent() override;
  std::size_t size() const override { return size_; }
  const unsigned char* data() const override { return allocation_.data; }
  std::shared_ptr<unsigned char> map_private() const override {
    return allocation_.region->map_private(allocation_.ref);
  }
  unsigned char* writable() { return allocation_.data; }
  /// Before it is shared.
  void shrink(std::size_t size_bytes) { size_ = size_bytes; }
  /// So many of its bytes were copied from other memory: for the report of the task.
  void note_copied(std::uint64_t bytes) { copied_bytes_ += bytes; }
  std::uint64_t copied_bytes() const { return copied_bytes_; }

  /// Hands the blob to the governor: true the first time, if it lies in `room`. `ref` then says
  /// where. A second time it is bytes like any others.
  bool send(const Room& room, wire::BlobRef& ref);

 private:
  const std::shared_ptr<Room> room_;
  const blob::Arena::Allocation allocation_;
  std::size_t size_;
  std::uint64_t copied_bytes_ = 0;
  std::atomic<bool> sent_{false};
};

/// A file or directory, or some bytes of a file; looked at when needed, mapped when its bytes are.
class FileContent final : public Content {
 public:
  explicit FileContent(std::string path) : Content(Kind::file), path_(std::move(path)) {}
  /// Some bytes: they have no path of their own.
  FileContent(std::string path, std::uint64_t offset_bytes, std::uint64_t size_bytes)
      : Content(Kind::bytes),
        path_(std::move(path)),
        part_(wire::Extent{offset_bytes, size_bytes}) {}
  ~FileContent() override;
  const std::string& path() const { return path_; }
  // These throw SystemError when the file can't be looked at or mapped, data() also for a
  // directory.
  bool is_directory() const;
  std::size_t size() const override;
  const unsigned char* data() const override;
  std::shared_ptr<unsigned char> map_private() const override;
  const unsigned char* mapped() const override;

 private:
  const std::string path_;
  const std::optional<wire::Extent> part_;  // none: all of it
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  mutable void* mapping_ = nullptr;
  mutable std::size_t mapping_bytes_ = 0;
  mutable const unsigned char* data_ = nullptr;  // null: not asked for yet
  mutable std::size_t size_ = 0;                 // then
};

}  // namespace tasklib::executor
