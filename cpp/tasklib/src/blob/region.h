#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/ids.h"
#include "base/unique_fd.h"
#include "wire/messages.h"

namespace tasklib::blob {

/// One shared-memory object (memfd, nameless), mapped whole for as long as this lives. Sealed
/// against shrinking and growing, so that a mapped page can't vanish (no SIGBUS). Shared by
/// std::shared_ptr: views keep the mapping alive; nothing is ever unmapped under a view.
/// Thread-safe (immutable after construction, but for its pages).
class Region {
 public:
  enum class Access { read_only, read_write };

  /// Makes a new region of `size_bytes` (governor). The memory is not populated yet.
  /// Requires: size_bytes > 0. Throws SystemError.
  static std::shared_ptr<Region> create(base::RegionId id, std::uint64_t size_bytes);
  /// Maps a received one. Throws SystemError; ProtocolError when the descriptor is no memfd of
  /// exactly that size with both seals (a peer's mistake).
  static std::shared_ptr<Region> map(base::RegionId id, std::uint64_t size_bytes, base::UniqueFd fd,
                                     Access access);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  base::RegionId id() const { return id_; }
  std::uint64_t size_bytes() const { return size_bytes_; }
  unsigned char* data() const { return data_; }
  Access access() const { return access_; }

  /// The bytes of `ref`. The one bounds-checked way from an offset to a pointer.
  /// Throws ProtocolError when `ref` names another region or leaves this one.
  unsigned char* at(const wire::BlobRef& ref) const;

  /// A private view of `ref`, which must keep its contents meanwhile: base::map_private.
  /// Requires: ref.size_bytes > 0. Throws as at(), SystemError.
  std::shared_ptr<unsigned char> map_private(const wire::BlobRef& ref) const;

  /// Before something is written there for the first time: maps those pages of `ref` that exist
  /// already, several times as quickly as one fault after the other does. Makes no page.
  /// Only the first call does anything: what is mapped would cost time again.
  void map_existing(const wire::BlobRef& ref) noexcept;

  /// New descriptors to send. Requires: made by create().
  base::UniqueFd open_read_only() const;
  base::UniqueFd open_read_write() const;

  /// Memory that its pages take up now. Requires: made by create().
  std::uint64_t resident_bytes() const;
  /// Gives its pages back at once, though others may still map it; whoever looks sees zeroes.
  /// Requires: made by create(), and nobody views anything in it.
  void discard() noexcept;
  /// Gives the first `size_bytes` their pages, the last ones first, since the writer comes from
  /// the other end. Takes long, for a thread of its own. Ends early once stop_populating(), a
  /// punch() or discard() came, or the kernel can't. Requires: made by create().
  void populate(std::uint64_t size_bytes) noexcept;
  void stop_populating() noexcept { may_populate_ = false; }
  /// The same for a part: whole pages of it. False: the kernel can't.
  bool punch(std::uint64_t offset_bytes, std::uint64_t size_bytes) noexcept;

 private:
  Region(base::RegionId id, std::uint64_t size_bytes, base::UniqueFd fd, unsigned char* data,
         Access access);

  const base::RegionId id_;
  const std::uint64_t size_bytes_;
  const base::UniqueFd fd_;
  unsigned char* const data_;
  const Access access_;
  std::atomic<bool> pages_mapped_{false};
  std::mutex populating_;  // a page that is given back stays so
  std::atomic<bool> may_populate_{true};
};

}  // namespace tasklib::blob
