#include "remote/cut.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

namespace rain::remote {
namespace {

constexpr std::uint32_t kNone = 0xffffffff;
constexpr std::uint32_t kPartsPerSlot = 4;
/// Less measured work than this is not worth a part of its own.
constexpr double kWorthwhileSeconds = 0.01;

/// Sets of tasks that are connected.
class Components {
 public:
  explicit Components(const CutTasks& tasks) : parent_(tasks.size()) {
    std::iota(parent_.begin(), parent_.end(), 0u);
    for (std::uint32_t task = 0; task < tasks.size(); ++task)
      for (std::uint32_t at = tasks.first[task]; at < tasks.first[task + 1]; ++at)
        join(task, tasks.producers[at]);
  }

  /// The first of the tasks that `task` is connected with.
  std::uint32_t of(std::uint32_t task) {
    while (parent_[task] != task) task = parent_[task] = parent_[parent_[task]];
    return task;
  }

 private:
  void join(std::uint32_t left, std::uint32_t right) {
    left = of(left);
    right = of(right);
    parent_[std::max(left, right)] = std::min(left, right);
  }

  std::vector<std::uint32_t> parent_;
};

class Cutter {
 public:
  Cutter(const CutTasks& tasks, const CutLimits& limits)
      : tasks_(tasks), limits_(limits), part_of_(tasks.size(), kNone) {
    set_target();
  }

  std::vector<std::vector<std::uint32_t>> cut() {
    Components components(tasks_);
    std::vector<Weight> weights(tasks_.size());  // by first task
    for (std::uint32_t task = 0; task < tasks_.size(); ++task) {
      Weight& weight = weights[components.of(task)];
      ++weight.count;
      weight.seconds += tasks_.seconds[task];
      weight.where &= tasks_.where[task];
      weight.alone = weight.alone || tasks_.alone[task];
    }
    std::vector<std::vector<std::uint32_t>> large;
    std::vector<std::uint32_t> large_of(tasks_.size(), kNone);  // by first task
    for (std::uint32_t task = 0; task < tasks_.size(); ++task) {
      const std::uint32_t component = components.of(task);
      const Weight& weight = weights[component];
      if (fits_whole(weight)) {
        part_of_[task] = component == task ? pack(weight) : part_of_[component];
      } else {
        if (component == task) {
          large_of[component] = static_cast<std::uint32_t>(large.size());
          large.emplace_back();
        }
        large[large_of[component]].push_back(task);
      }
    }
    if (!large.empty()) {
      find_consumers();
      for (const auto& members : large) cut_large(members);
    }
    return in_order();
  }

 private:
  struct Weight {
    std::uint32_t count = 0;
    double seconds = 0;
    std::uint64_t where = ~std::uint64_t{0};
    bool alone = false;
  };
  struct PartState : Weight {
    std::uint32_t level = 0;  // longer than that of what it needs
    bool closed = false;
  };

  void set_target() {
    const double wanted = kPartsPerSlot * static_cast<double>(std::max(limits_.slots, 1u));
    const auto most = std::max(limits_.max_tasks, 1u);
    const bool all_known = std::ranges::none_of(tasks_.seconds, [](float s) { return s <= 0; });
    target_count_ = most;
    target_seconds_ = limits_.max_seconds;
    if (all_known) {
      const double total = std::accumulate(tasks_.seconds.begin(), tasks_.seconds.end(), 0.0);
      target_seconds_ = std::min(limits_.max_seconds, std::max(total / wanted, kWorthwhileSeconds));
    } else {
      const double share = static_cast<double>(tasks_.size()) / wanted;
      target_count_ = static_cast<std::uint32_t>(std::clamp<double>(share + 0.999999, 1, most));
    }
  }

  bool fits_whole(const Weight& component) const {
    return component.count <= target_count_ && component.where != 0 && !component.alone &&
           (component.count == 1 || component.seconds <= target_seconds_);
  }

  bool has_room(const Weight& part, std::uint32_t count, double seconds, bool beyond_target) const {
    const std::uint32_t most = beyond_target ? std::max(limits_.max_tasks, 1u) : target_count_;
    const double longest = beyond_target ? limits_.max_seconds : target_seconds_;
    return part.count == 0 || (part.count + count <= most && part.seconds + seconds <= longest);
  }

  std::uint32_t new_part(std::uint32_t level) {
    parts_.emplace_back().level = level;
    return static_cast<std::uint32_t>(parts_.size() - 1);
  }

  /// A part for a component that fits whole.
  std::uint32_t pack(const Weight& component) {
    const auto [open, added] = packs_.try_emplace(component.where, kNone);
    if (added || !has_room(parts_[open->second], component.count, component.seconds, false))
      open->second = new_part(0);
    PartState& part = parts_[open->second];
    part.count += component.count;
    part.seconds += component.seconds;
    part.where &= component.where;
    return open->second;
  }

  void find_consumers() {
    const std::size_t count = tasks_.size();
    first_consumer_.assign(count + 1, 0);
    for (const std::uint32_t producer : tasks_.producers) ++first_consumer_[producer + 1];
    std::partial_sum(first_consumer_.begin(), first_consumer_.end(), first_consumer_.begin());
    consumers_.resize(tasks_.producers.size());
    std::vector<std::uint32_t> next(first_consumer_.begin(), first_consumer_.end() - 1);
    waits_for_.resize(count);
    for (std::uint32_t task = 0; task < count; ++task) {
      waits_for_[task] = tasks_.first[task + 1] - tasks_.first[task];
      for (std::uint32_t at = tasks_.first[task]; at < tasks_.first[task + 1]; ++at)
        consumers_[next[tasks_.producers[at]]++] = task;
    }
    has_placed_consumer_.assign(count, false);
  }

  /// Depth first, so that what follows from a task comes right after it.
  void cut_large(const std::vector<std::uint32_t>& members) {
    open_.clear();
    std::vector<std::uint32_t> stack;
    for (const std::uint32_t source : members) {
      if (tasks_.first[source] != tasks_.first[source + 1]) continue;
      stack.push_back(source);
      while (!stack.empty()) {
        const std::uint32_t task = stack.back();
        stack.pop_back();
        place(task);
        for (std::uint32_t at = first_consumer_[task + 1]; at-- > first_consumer_[task];)
          if (--waits_for_[consumers_[at]] == 0) stack.push_back(consumers_[at]);
      }
    }
  }

  void place(std::uint32_t task) {
    std::uint32_t highest = kNone;  // of the parts of its producers
    bool unique = true, continues = true;
    for (std::uint32_t at = tasks_.first[task]; at < tasks_.first[task + 1]; ++at) {
      const std::uint32_t producer = tasks_.producers[at];
      const std::uint32_t part = part_of_[producer];
      continues = continues && !has_placed_consumer_[producer];
      if (highest == kNone || parts_[part].level > parts_[highest].level) {
        highest = part;
        unique = true;
      } else if (part != highest && parts_[part].level == parts_[highest].level) {
        unique = false;
      }
    }
    // A chain goes on beyond the target: cutting it would make nothing more parallel.
    if (highest != kNone && unique && joins(task, highest, continues))
      part_of_[task] = highest;
    else
      part_of_[task] = open_part(task, highest == kNone ? 0 : parts_[highest].level + 1);
    PartState& part = parts_[part_of_[task]];
    ++part.count;
    part.seconds += tasks_.seconds[task];
    part.where &= tasks_.where[task];
    part.closed = part.closed || tasks_.alone[task];
    for (std::uint32_t at = tasks_.first[task]; at < tasks_.first[task + 1]; ++at)
      has_placed_consumer_[tasks_.producers[at]] = true;
  }

  bool joins(std::uint32_t task, std::uint32_t part, bool beyond_target) const {
    const PartState& state = parts_[part];
    return !state.closed && !tasks_.alone[task] && (state.where & tasks_.where[task]) != 0 &&
           has_room(state, 1, tasks_.seconds[task], beyond_target);
  }

  std::uint32_t open_part(std::uint32_t task, std::uint32_t level) {
    if (tasks_.alone[task]) return new_part(level);
    std::uint32_t& open = open_.try_emplace({level, tasks_.where[task]}, kNone).first->second;
    if (open == kNone || !joins(task, open, false)) open = new_part(level);
    return open;
  }

  std::vector<std::vector<std::uint32_t>> in_order() const {
    std::vector<std::uint32_t> order(parts_.size());
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::stable_sort(order, {}, [this](std::uint32_t part) { return parts_[part].level; });
    std::vector<std::uint32_t> number(parts_.size());
    std::vector<std::vector<std::uint32_t>> result(parts_.size());
    for (std::uint32_t i = 0; i < order.size(); ++i) {
      number[order[i]] = i;
      result[i].reserve(parts_[order[i]].count);
    }
    for (std::uint32_t task = 0; task < tasks_.size(); ++task)
      result[number[part_of_[task]]].push_back(task);
    return result;
  }

  const CutTasks& tasks_;
  const CutLimits limits_;
  std::uint32_t target_count_ = 1;
  double target_seconds_ = 0;
  std::vector<PartState> parts_;
  std::vector<std::uint32_t> part_of_;
  std::map<std::uint64_t, std::uint32_t> packs_;  // by `where`: the part that is being filled
  // Of large components.
  std::vector<std::uint32_t> first_consumer_, consumers_, waits_for_;
  std::vector<bool> has_placed_consumer_;
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint32_t> open_;  // by level and `where`
};

}  // namespace

std::vector<std::vector<std::uint32_t>> cut(const CutTasks& tasks, const CutLimits& limits) {
  return Cutter(tasks, limits).cut();
}

}  // namespace rain::remote
