#include "executor/content.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "base/errors.h"
#include "base/private_mapping.h"
#include "base/syscall.h"
#include "blob/extents.h"

namespace tasklib::executor {
namespace {

constexpr unsigned char kNothing = 0;
constexpr std::align_val_t kAlignment{blob::kBlobAlignmentBytes};

struct ::stat look_at(const std::string& path) {
  struct ::stat found;
  base::checked("stat", path, [&] { return ::stat(path.c_str(), &found); });
  return found;
}

}  // namespace

Content::~Content() {
  if (unsigned char* aligned = aligned_.load(std::memory_order_relaxed))
    ::operator delete(aligned, kAlignment);
}

const unsigned char* Content::aligned_copy(const unsigned char* bytes, std::size_t size) const {
  unsigned char* copy = aligned_.load(std::memory_order_acquire);
  if (copy != nullptr) return copy;
  auto* made = static_cast<unsigned char*>(::operator new(size == 0 ? 1 : size, kAlignment));
  std::memcpy(made, bytes, size);
  if (!aligned_.compare_exchange_strong(copy, made)) {
    ::operator delete(made, kAlignment);  // another thread was quicker
    return copy;
  }
  copied_bytes_.store(size, std::memory_order_release);
  return made;
}

CopiedContent::CopiedContent(base::ByteView bytes) : Content(Kind::bytes), size_(bytes.size) {
  unsigned char* to = small_;
  if (size_ > sizeof small_) {
    large_.reset(new unsigned char[size_]);
    to = large_.get();
  }
  if (size_ > 0) std::memcpy(to, bytes.data, size_);
}

ForeignContent::ForeignContent(std::shared_ptr<const void> owner, base::ByteView bytes)
    : Content(Kind::bytes),
      owner_(std::move(owner)),
      bytes_(bytes.size == 0 ? base::ByteView(&kNothing, 0) : bytes) {}

HeapContent::HeapContent(std::size_t size_bytes)
    : Content(Kind::bytes),
      data_(static_cast<unsigned char*>(
          ::operator new(size_bytes == 0 ? 1 : size_bytes, kAlignment))),
      size_(size_bytes) {}

HeapContent::~HeapContent() { ::operator delete(data_, kAlignment); }

Releases::Releases()
    : event_fd_(
          base::checked("eventfd", "", [] { return ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); })) {}

void Releases::post(const wire::BlobRef& ref) {
  std::lock_guard<std::mutex> lock(mutex_);
  refs_.push_back(ref);
  if (any_.exchange(true)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_fd_.get(), &one, sizeof one);
}

std::vector<wire::BlobRef> Releases::take() {
  if (!any_.load(std::memory_order_acquire)) return {};
  std::lock_guard<std::mutex> lock(mutex_);
  any_ = false;
  std::uint64_t count;
  [[maybe_unused]] const ssize_t read = ::read(event_fd_.get(), &count, sizeof count);
  return std::exchange(refs_, {});
}

ViewContent::ViewContent(std::shared_ptr<blob::Region> region, const wire::BlobRef& ref,
                         std::shared_ptr<Releases> releases)
    : Content(Kind::view),
      region_(std::move(region)),
      ref_(ref),
      data_(region_->at(ref)),
      releases_(std::move(releases)) {}

ViewContent::~ViewContent() {
  if (held_.load(std::memory_order_relaxed)) releases_->post(ref_);
}

RoomContent::~RoomContent() {
  if (sent_.load(std::memory_order_relaxed))
    room_->end_view(allocation_.ref);
  else
    room_->give_back(allocation_.ref);
}

bool RoomContent::send(const Room& room, wire::BlobRef& ref) {
  if (room_.get() != &room || sent_.exchange(true)) return false;
  ref = room_->seal(allocation_.ref, size_);
  return true;
}

FileContent::~FileContent() {
  if (mapping_bytes_ > 0) ::munmap(mapping_, mapping_bytes_);
}

bool FileContent::is_directory() const { return !part_ && S_ISDIR(look_at(path_).st_mode); }

std::size_t FileContent::size() const {
  if (part_) return static_cast<std::size_t>(part_->size_bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  return data_ != nullptr ? size_ : static_cast<std::size_t>(look_at(path_).st_size);
}

const unsigned char* FileContent::mapped() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return data_;
}

const unsigned char* FileContent::data() const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (data_ != nullptr) return data_;
  const base::UniqueFd fd(
      base::checked("open", path_, [&] { return ::open(path_.c_str(), O_RDONLY | O_CLOEXEC); }));
  struct ::stat found;
  base::checked("fstat", path_, [&] { return ::fstat(fd.get(), &found); });
  if (S_ISDIR(found.st_mode))
    throw base::Error(path_ + " is a directory: it has no bytes of its own, use get_path()");
  const auto file_bytes = static_cast<std::uint64_t>(found.st_size);
  const wire::Extent part = part_ ? *part_ : wire::Extent{0, file_bytes};
  if (part.size_bytes > file_bytes || part.offset_bytes > file_bytes - part.size_bytes)
    throw base::Error(path_ + " of " + std::to_string(file_bytes) + " bytes has no " +
                      std::to_string(part.size_bytes) + " bytes at offset " +
                      std::to_string(part.offset_bytes));
  size_ = static_cast<std::size_t>(part.size_bytes);
  if (size_ == 0) return data_ = &kNothing;
  const std::uint64_t in_page =
      part.offset_bytes % static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  mapping_ = ::mmap(nullptr, size_ + in_page, PROT_READ, MAP_PRIVATE, fd.get(),
                    static_cast<off_t>(part.offset_bytes - in_page));
  if (mapping_ == MAP_FAILED) throw base::SystemError("mmap", path_, errno);
  mapping_bytes_ = size_ + in_page;
  return data_ = static_cast<const unsigned char*>(mapping_) + in_page;
}

std::shared_ptr<unsigned char> FileContent::map_private() const {
  const base::UniqueFd fd(
      base::checked("open", path_, [&] { return ::open(path_.c_str(), O_RDONLY | O_CLOEXEC); }));
  return base::map_private(fd, part_ ? part_->offset_bytes : 0, size(), path_);
}

}  // namespace tasklib::executor
