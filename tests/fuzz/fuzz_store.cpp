// The governor's blob store, driven as hostile executors would drive it: sealing, viewing,
// releasing and returning what is theirs, is somebody else's, or doesn't exist. Only ProtocolError
// and StoreFull may come out, and the books must balance after each step.
//
// The input is a script, one operation after the other: a byte that names it, then its arguments,
// a byte each.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "base/errors.h"
#include "blob/store.h"

namespace tasklib::blob {
namespace {

using base::RegionId;
using wire::BlobRef;

constexpr std::uint64_t kBudget = 1 << 20, kOrdinary = 64 << 10;
constexpr std::size_t kMaxOperations = 400;  // so that a long input tells nothing new

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not true: %s\n", what);
  std::abort();
}

class Script {
 public:
  Script(const unsigned char* data, std::size_t size) : data_(data), left_(size) {}
  bool at_end() const { return left_ == 0; }
  unsigned byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }

 private:
  const unsigned char* data_;
  std::size_t left_;
};

class Attack {
 public:
  explicit Attack(Script script) : script_(script), store_(limits()) {}

  void run() {
    for (std::size_t i = 0; i < kMaxOperations && !script_.at_end(); ++i) {
      try {
        step();
      } catch (const base::ProtocolError&) {
      } catch (const base::StoreFull&) {
      }
      check();
    }
    for (unsigned holder = 0; holder < kHolders; ++holder) store_.drop_holder({holder}, now_);
    for (const auto& [ref, owners] : owned_)
      for (std::uint32_t i = 0; i < owners; ++i)
        store_.release({{ref.region}, ref.offset, ref.size}, now_);
    const Store::Usage left = store_.usage();
    require(left.blobs == 0 && left.blobs_bytes == 0, "no blob is left without owners and views");
    require(left.views == 0, "no view is left without holders");
    require(left.regions_bytes == left.warm_bytes, "what is left is warm");
  }

 private:
  static constexpr unsigned kHolders = 4;

  static Store::Limits limits() {
    Store::Limits limits;
    limits.budget_bytes = kBudget;
    limits.region_bytes = kOrdinary;
    limits.headroom_bytes = [] { return std::optional<std::uint64_t>(); };
    return limits;
  }

  struct Key {
    std::uint32_t region;
    std::uint64_t offset, size;
    friend bool operator<(const Key& a, const Key& b) {
      return std::tie(a.region, a.offset, a.size) < std::tie(b.region, b.offset, b.size);
    }
  };
  /// All blobs of 0 bytes in a region are one.
  static Key key_of(const BlobRef& ref) {
    return {ref.region.value, ref.size_bytes == 0 ? 0 : ref.offset_bytes, ref.size_bytes};
  }

  /// What overlaps a blob that was just sealed was free.
  void note_sealed(const Key& key) {
    std::erase_if(sealed_, [&key](const Key& old) {
      return old.region == key.region && old.offset < key.offset + key.size &&
             key.offset < old.offset + old.size;
    });
    sealed_.insert(key);
  }
  /// The blob of which `ref` is all or a part: owners of a part are owners of the whole.
  Key whole_of(const BlobRef& ref) const {
    const Key part = key_of(ref);
    for (const Key& key : sealed_)
      if (key.size != 0 && part.size != 0 && key.region == part.region &&
          key.offset <= part.offset && part.offset + part.size <= key.offset + key.size)
        return key;
    return part;
  }

  Holder holder() { return Holder{script_.byte() % kHolders}; }
  RegionId region() { return RegionId{script_.byte() % 24}; }
  /// Mostly a plausible extent, sometimes one of far away.
  BlobRef ref() {
    BlobRef ref;
    ref.region = region();
    ref.offset_bytes = std::uint64_t{script_.byte()} * 64;
    ref.size_bytes = std::uint64_t{script_.byte()} * 16;
    const unsigned twist = script_.byte();
    if (twist == 1) ref.offset_bytes += 1;
    if (twist == 2) ref.offset_bytes = UINT64_MAX - ref.offset_bytes;
    if (twist == 3) ref.size_bytes = UINT64_MAX - ref.size_bytes;
    if (twist == 4) ref.size_bytes <<= 40;
    if (twist == 5) ref.region.value = UINT32_MAX;
    return ref;
  }

  void step() {
    switch (script_.byte() % 12) {
      case 0: {
        const Holder writer = holder();
        const std::uint64_t size = std::uint64_t{script_.byte()} << script_.byte() % 24;
        const Store::Lease lease = store_.lease(writer, size);
        require(store_.is_leased(lease.region->id()), "what was leased is leased");
        for (const wire::Extent& extent : lease.free)
          require(extent.offset_bytes <= lease.region->size_bytes() &&
                      extent.size_bytes <= lease.region->size_bytes() - extent.offset_bytes,
                  "a free extent lies in its region");
        break;
      }
      case 1:
      case 2: {
        const Holder writer = holder();
        const BlobRef blob = ref();
        store_.seal(writer, blob);
        note_sealed(key_of(blob));
        ++owned_[key_of(blob)];
        require(blob.size_bytes <= kBudget, "a sealed blob fits the budget");
        break;
      }
      case 3: {
        const BlobRef blob = ref();
        store_.retain(blob);
        ++owned_[whole_of(blob)];
        break;
      }
      case 4:
      case 5: {
        const BlobRef blob = ref();
        store_.release(blob, now_);
        const auto owned = owned_.find(whole_of(blob));
        require(owned != owned_.end(), "only what has an owner can be released");
        if (--owned->second == 0) owned_.erase(owned);
        break;
      }
      case 6: {
        const Holder reader = holder();
        store_.add_view(reader, ref());
        break;
      }
      case 7: {
        const Holder reader = holder();
        store_.drop_view(reader, ref(), now_);
        break;
      }
      case 8: {
        const Holder writer = holder();
        store_.return_lease(writer, region(), now_);
        break;
      }
      case 9:
        store_.drop_holder(holder(), now_);
        break;
      case 10: {
        const Holder who = holder();
        store_.take_freed(who);
        store_.take_dropped(who);
        break;
      }
      default:
        now_ += std::chrono::seconds(script_.byte());
        store_.tick(now_);
    }
  }

  void check() {
    const Store::Usage usage = store_.usage();
    require(usage.regions_bytes <= usage.budget_bytes, "the budget is kept");
    require(usage.warm_bytes <= usage.regions_bytes, "warm regions are regions");
    require(usage.blobs_bytes <= usage.regions_bytes, "blobs lie in regions");
    require(usage.blobs >= owned_.size(), "a blob with an owner lives");
    for (const auto& [key, owners] : owned_)
      store_.views({{key.region}, key.offset, key.size});  // throws when it doesn't
  }

  Script script_;
  Store store_;
  base::TimePoint now_{};
  std::map<Key, std::uint32_t> owned_;
  std::set<Key> sealed_;  // those that live, and some that don't
};

}  // namespace
}  // namespace tasklib::blob

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  tasklib::blob::Attack(tasklib::blob::Script(data, size)).run();
  return 0;
}
