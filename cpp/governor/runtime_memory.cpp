// What the Runtime does when the store is short of memory: asks for leases back, spills, waits.

#include <algorithm>
#include <iterator>
#include <map>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/errors.h"
#include "blob/memory_limit.h"
#include "runtime.h"

namespace rain {

using tasklib::base::Clock;
using tasklib::base::StoreFull;
using tasklib::base::SystemError;
using tasklib::wire::BlobRef;
using tasklib::wire::Protocol;

void Runtime::touch(Data& data) {
  if (auto* blob = dynamic_cast<BlobData*>(&whole_of(data))) blob->last_used = ++uses_;
}

std::string Runtime::spill_path() {
  if (!spill_.on()) return {};
  try {
    return spill_.fresh();
  } catch (const tasklib::base::Error& error) {
    spill_trouble_ = error.what();
    return {};
  }
}

// ---- fresh pages
// ---------------------------------------------------------------------------------

namespace {

/// Gives a fresh region its pages while the writer begins to fill it.
struct PopulateWork final : builtin::Pool::Work {
  PopulateWork(std::shared_ptr<tasklib::blob::Region> region, std::uint64_t size_bytes)
      : region(std::move(region)), size_bytes(size_bytes) {}
  void run() noexcept override {
    region->populate(size_bytes);
    region.reset();
  }
  void finish() override {}

  std::shared_ptr<tasklib::blob::Region> region;
  const std::uint64_t size_bytes;
};

}  // namespace

void Runtime::populate(const std::shared_ptr<tasklib::blob::Region>& region,
                       std::uint64_t size_bytes) {
  constexpr std::uint64_t kLeastBytes = 4u << 20;
  if (size_bytes < kLeastBytes || region->resident_bytes() != 0) return;
  const auto busy = std::count_if(sessions_.begin(), sessions_.end(),
                                  [](const auto& entry) { return entry.second->in_flight() > 0; });
  if (busy >= static_cast<long>(std::thread::hardware_concurrency())) return;
  builtin_.pool().submit(std::make_shared<PopulateWork>(region, size_bytes));
}

// ---- leases that wait ---------------------------------------------------------------------------

// What is kept for Task.reproduce() goes first, and what can be fetched again.
tasklib::blob::Store::Lease Runtime::lease(tasklib::blob::Holder holder, std::uint64_t size_bytes) {
  try {
    return store_.lease(holder, size_bytes);
  } catch (const StoreFull&) {
    if (!failed_inputs_.forget_all() && !(mirror_ && Mirror::let_go(*open_))) throw;
    drain_releases(Clock::now());
    return store_.lease(holder, size_bytes);
  }
}

void Runtime::grant_lease(Session& session, const tasklib::wire::LeaseRequest& request) {
  auto lease = this->lease(session.id, request.size_bytes);
  tasklib::wire::Region region;
  region.id = lease.region->id();
  region.size_bytes = lease.region->size_bytes();
  region.writable = true;
  region.request = request.request;
  region.free = std::move(lease.free);
  populate(lease.region, request.size_bytes);
  session.send(region, lease.region->open_read_write());
  session.may_have_idle_leases = true;
}

// Serves what can be served, oldest first: a small one passes a large one, which gets its turn at
// the latest when nothing else moves. Then the youngest that waits is refused: its task ends, and
// what it held may be enough for the others.
void Runtime::serve_waiting() {
  const auto refuse = [&](std::size_t index, const std::string& text) {
    const WaitingLease waiting = waiting_leases_[index];
    waiting_leases_.erase(waiting_leases_.begin() + static_cast<std::ptrdiff_t>(index));
    Session& session = *sessions_.at(waiting.executor);
    session.send(tasklib::wire::LeaseRefused{waiting.request.request, text});
    dirty_.push_back(&session);
    spill_trouble_.clear();
    ++room_changes_;
  };
  while (true) {
    std::erase_if(waiting_leases_, [&](const WaitingLease& waiting) {
      const auto session = sessions_.find(waiting.executor);
      return session == sessions_.end() || session->second->exited;
    });
    std::optional<std::string> full;  // why the youngest doesn't get it
    std::uint64_t least = 0;
    for (std::size_t i = 0; i < waiting_leases_.size();) {
      const WaitingLease waiting = waiting_leases_[i];
      Session& session = *sessions_.at(waiting.executor);
      try {
        grant_lease(session, waiting.request);
        dirty_.push_back(&session);
        waiting_leases_.erase(waiting_leases_.begin() + static_cast<std::ptrdiff_t>(i));
      } catch (const StoreFull& error) {
        const std::uint64_t size = waiting.request.size_bytes;
        if (size > store_.usage().budget_bytes) {
          refuse(i, explain(error));
          continue;
        }
        full = explain(error);
        least = least == 0 ? size : std::min(least, size);
        ++i;
      } catch (const SystemError& error) {
        refuse(i, error.what());
      }
    }
    if (!full) return;
    if (make_room(least) || end_idle_holder()) return;
    refuse(waiting_leases_.size() - 1, *full);
  }
}

bool Runtime::is_blocked(const Session& session) const {
  const auto waiting = static_cast<std::uint32_t>(
      std::count_if(waiting_leases_.begin(), waiting_leases_.end(),
                    [&](const WaitingLease& lease) { return lease.executor == session.id; }));
  return waiting >= std::min(session.in_flight(), session.traits().threads);
}

// True while an answer is due from a process that has time to answer.
bool Runtime::ask_for_leases() {
  bool due = false;
  for (auto& [id, session] : sessions_) {
    if (!session->gives_leases_back() || session->exited || session->kill_sent) continue;
    if (!session->leases_asked && session->may_have_idle_leases && store_.has_leases(id)) {
      session->leases_asked = true;
      session->may_have_idle_leases = false;
      session->send(tasklib::wire::LeaseWanted{});
      dirty_.push_back(session.get());
    }
    due = due || (session->leases_asked && is_blocked(*session));
  }
  return due;
}

bool Runtime::make_room(std::uint64_t size_bytes) {
  if (size_bytes > store_.usage().budget_bytes) return false;
  give_up_idle_leases();
  if (ask_for_leases() || spilling_ > 0) return true;
  if (start_spilling(size_bytes)) return true;
  if (builtin_.busy()) return true;
  const bool spills = spill_.on() && spill_trouble_.empty();
  return std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
    const Session& session = *entry.second;
    if (session.exited || session.kill_sent || session.hung_up)
      return store_.holds_anything(session.id);
    if (session.registered() && (session.in_flight() == 0 || is_blocked(session))) return false;
    if (!session.registered() && session.spare) return false;
    // Without spilling, the end of any call may end the need for data that nobody views.
    return !spills || store_.holds_anything(session.id);
  });
}

// Before a task fails for want of room: a process without calls may keep leases that it was asked
// for, or views. The next task of its type starts another one.
bool Runtime::end_idle_holder() {
  for (auto& [id, session] : sessions_) {
    if (!session->registered() || session->exited || session->kill_sent || session->hung_up ||
        session->in_flight() > 0 || !store_.holds_anything(id))
      continue;
    put_down(*session, "it kept shared memory while it had no task, and others needed it");
    return true;
  }
  return false;
}

// ---- spilling -----------------------------------------------------------------------------------

/// Whose data are one blob, or slices of it.
struct Runtime::BlobUse {
  std::shared_ptr<BlobData> blob;
  std::vector<graph::ObjectRecord*> whole;
  std::unordered_map<const SliceData*, std::vector<graph::ObjectRecord*>> slices;

  void add(graph::ObjectRecord& record) {
    if (const auto* slice = dynamic_cast<const SliceData*>(record.data.get()))
      slices[slice].push_back(&record);
    else
      whole.push_back(&record);
  }
  /// Whoever else has a reference may be reading: a view of the client, a job. `references`: to
  /// the blob, of those who ask.
  bool by_nobody_else(long references) const {
    for (const auto& [slice, records] : slices)
      if (records.front()->data.use_count() != static_cast<long>(records.size())) return false;
    return blob.use_count() == static_cast<long>(whole.size() + slices.size()) + references;
  }
};

std::unordered_map<const BlobData*, Runtime::BlobUse> Runtime::blob_uses() const {
  std::unordered_map<const BlobData*, BlobUse> uses;
  for (const auto& session : *open_) {
    for (const auto& object : session->holding) {
      const auto* slice = dynamic_cast<const SliceData*>(object->data.get());
      auto blob = std::dynamic_pointer_cast<BlobData>(
          slice ? std::shared_ptr<graph::ObjectData>(slice->whole) : object->data);
      if (!blob) continue;
      BlobUse& use = uses[blob.get()];
      use.blob = std::move(blob);
      use.add(*object);
    }
  }
  return uses;
}

bool Runtime::start_spilling(std::uint64_t size_bytes) {
  if (!spill_.on() || !spill_trouble_.empty() || open_ == nullptr) return false;
  auto found = blob_uses();
  std::erase_if(found, [&](const auto& entry) {
    return !entry.second.by_nobody_else(1) || store_.views(entry.first->ref) != 0;
  });
  std::vector<std::shared_ptr<BlobData>> order;
  for (auto& [blob, use] : found) order.push_back(std::move(use.blob));
  // What lies in somebody's lease makes room only for its holder: last.
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    const auto key = [&](const BlobData& data) {
      return std::pair(store_.is_leased(data.ref.region), data.last_used);
    };
    return key(*a) < key(*b);
  });
  const std::uint64_t enough = std::max(size_bytes, store_.usage().budget_bytes / 16);
  std::uint64_t chosen = 0;
  for (const auto& blob : order) {
    if (chosen >= enough) break;
    std::string path = spill_path();
    if (path.empty()) return false;
    chosen += blob->ref.size_bytes;
    ++spilling_;
    builtin_.pool().submit(std::make_shared<SpillWork>(
        blob, std::move(path), [this](SpillWork& work) { on_spilled(work); }));
  }
  return chosen > 0;
}

void Runtime::on_spilled(SpillWork& work) {
  --spilling_;
  ++room_changes_;
  if (!work.error.empty()) {
    spill_trouble_ = work.error;
    return;
  }
  auto uses = blob_uses();
  const auto found = uses.find(work.data.get());
  // Somebody came to use it meanwhile, or it is gone: the file goes, nothing else.
  if (found == uses.end() || !found->second.by_nobody_else(2) || store_.views(work.data->ref) != 0)
    return;
  for (auto* record : found->second.whole) record->data = work.spilled;
  for (const auto& [slice, records] : found->second.slices) {
    const auto moved =
        std::make_shared<SliceData>(work.spilled, slice->offset_bytes, slice->size_bytes);
    for (auto* record : records) record->data = moved;
  }
  count_spilled(work.spilled->size_bytes);
}

void Runtime::count_spilled(std::uint64_t size_bytes) {
  spilled_bytes_ += size_bytes;
  ++spilled_blobs_;
}

// ---- what there is ------------------------------------------------------------------------------

namespace {

/// Which data of a table have bytes that are counted with others there.
class Counted {
 public:
  /// First, of all data.
  void note(const Data& data) {
    if (!dynamic_cast<const SliceData*>(&data)) whole_.insert(&data);
  }
  /// Then, of one after the other: a slice is counted with the whole if that is there, else with
  /// what it has in common with those before it.
  bool is_shared(const Data& data) {
    const auto* slice = dynamic_cast<const SliceData*>(&data);
    if (!slice) return !seen_.insert(&data).second;
    if (whole_.count(slice->whole.get()) != 0) return true;
    auto& ranges = ranges_[slice->whole.get()];
    const std::uint64_t begin = slice->offset_bytes, end = begin + slice->size_bytes;
    const auto next = ranges.lower_bound(begin);
    if (next != ranges.end() && next->first < end) return true;
    if (next != ranges.begin() && std::prev(next)->second > begin) return true;
    ranges.emplace(begin, end);
    return false;
  }

 private:
  std::unordered_set<const Data*> whole_, seen_;
  std::unordered_map<const Data*, std::map<std::uint64_t, std::uint64_t>> ranges_;
};

}  // namespace

/// What can be said of the data alone.
BlobLine Runtime::line_of(const graph::ObjectRecord& object, graph::ObjectData& data) const {
  const Data& whole = whole_of(data);
  const auto* slice = dynamic_cast<const SliceData*>(&data);
  BlobLine line;
  line.id = object.id;
  if (const ObjectAnnex* annex = annex_of(object)) line.label = annex->label;
  line.size_bytes = data.size_bytes;
  line.where = whole.path();
  if (const auto* blob = dynamic_cast<const BlobData*>(&whole)) {
    const BlobRef ref = slice ? slice->ref_in(*blob) : blob->ref;
    line.place = "region";
    line.where =
        "region " + std::to_string(ref.region.value) + " +" + std::to_string(ref.offset_bytes);
    line.views = store_.views(blob->ref);
    for (const auto holder : store_.viewers(blob->ref))
      if (const auto found = sessions_.find(holder); found != sessions_.end())
        line.viewers.push_back(found->second->pid);
  } else if (const auto* file = dynamic_cast<const FileData*>(&whole)) {
    line.place = file->is_spilled ? "spilled" : "file";
    if (slice) line.where += " +" + std::to_string(slice->offset_bytes);
  } else if (dynamic_cast<const RemoteData*>(&whole)) {
    line.place = "remote";
  } else {
    line.place = whole.is_directory() ? "directory" : "inline";
  }
  return line;
}

std::vector<BlobLine> Runtime::blobs() const {
  std::vector<BlobLine> lines;
  if (open_ == nullptr) return lines;
  Counted counted;
  for (const auto& session : *open_)
    for (const auto& object : session->holding)
      counted.note(static_cast<const Data&>(*object->data));
  for (const auto& session : *open_) {
    for (const auto& object : session->holding) {
      BlobLine line = line_of(*object, *object->data);
      if (object->producer) line.task_type = methods_.name(object->producer->method);
      line.kept = object->kept;
      line.shared = counted.is_shared(static_cast<const Data&>(*object->data));
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

MemoryState Runtime::memory_state() const {
  MemoryState state;
  state.spills = spill_.on();
  state.spill_directory = spill_.directory();
  std::unordered_set<const FileData*> files;
  const std::vector<graph::SessionRef> none;
  for (const auto& session : open_ ? *open_ : none) {
    for (const auto& object : session->holding) {
      const auto* file = dynamic_cast<const FileData*>(&whole_of(*object->data));
      if (file && file->is_spilled && files.insert(file).second)
        state.spilled_bytes += file->size_bytes;
    }
  }
  state.spilled_blobs = files.size();
  state.written_bytes = spilled_bytes_;
  state.written_blobs = spilled_blobs_;
  state.waiting = static_cast<std::uint32_t>(waiting_leases_.size());
  state.huge_pages = tasklib::blob::huge_pages();
  state.headroom_bytes = tasklib::blob::memory_headroom_bytes();
  return state;
}

// ---- words --------------------------------------------------------------------------------------

std::string Runtime::explain(const StoreFull& full) const {
  constexpr std::size_t kNamed = 3;
  std::string text = full.what();
  std::vector<std::pair<std::uint64_t, const graph::ObjectRecord*>> largest;
  if (open_) {
    for (const auto& [blob, use] : blob_uses())
      largest.emplace_back(blob->size_bytes, use.whole.empty() ? use.slices.begin()->second.front()
                                                               : use.whole.front());
  }
  const std::size_t named = std::min(kNamed, largest.size());
  std::partial_sort(largest.begin(), largest.begin() + static_cast<std::ptrdiff_t>(named),
                    largest.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (std::size_t i = 0; i < named; ++i) {
    const graph::ObjectRecord& object = *largest[i].second;
    text += i == 0 ? ". The largest: " : ", ";
    text += std::to_string(largest[i].first) + " bytes of " + describe(object);
    for (const auto holder :
         store_.viewers(static_cast<const BlobData&>(whole_of(*object.data)).ref)) {
      const auto session = sessions_.find(holder);
      if (session == sessions_.end()) continue;
      text += ", viewed by executor " + session->second->type_name + " (pid " +
              std::to_string(session->second->pid) + ")";
    }
  }
  if (!spill_trouble_.empty())
    text += ". Spilling to disk failed: " + spill_trouble_;
  else if (!spill_.on())
    text += ". Spilling to disk is off (" + spill_.directory() + ")";
  return text;
}

std::string Runtime::give_up(const StoreFull& full) {
  std::string text = explain(full);
  spill_trouble_.clear();
  return text;
}

std::string Runtime::describe(const graph::ObjectRecord& object) const {
  const ObjectAnnex* annex = annex_of(object);
  std::string text =
      "object (" + std::to_string(object.id.session) + ", " + std::to_string(object.id.id) + ")";
  if (annex && !annex->label.empty()) text += " '" + annex->label + "'";
  if (object.producer) text += " of task " + methods_.name(object.producer->method);
  if (object.kept) text += ", kept by the client";
  return text;
}

}  // namespace rain
