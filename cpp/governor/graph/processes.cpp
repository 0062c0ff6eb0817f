// Processes without work: those that are started ahead of it, and those that end.

#include <algorithm>

#include "graph/state.h"

namespace rain::graph {
namespace {

/// Those of the type that take calls, or will.
std::uint32_t usable(const ExecutorType& type) {
  return static_cast<std::uint32_t>(
      std::count_if(type.executors.begin(), type.executors.end(), [](const Executor* each) {
        using Phase = Executor::Phase;
        return !each->outdated && (each->phase == Phase::starting || each->phase == Phase::running);
      }));
}

}  // namespace

void Core::State::prestart(TypeIndex index, std::uint32_t count) {
  if (lost_cause || options.mirror) return;
  const ExecutorType& type = executors.type(index);
  const std::uint32_t limit = options_of(index).max_processes;
  for (std::uint32_t have = usable(type); have < count; ++have) {
    if (limit > 0 && type.executors.size() >= limit) return;
    commands.emplace_back(SpawnExecutor{executors.add(index, nullptr).id, index, 1, true});
  }
}

void Core::State::end_if_outdated(Executor& executor) {
  if (executor.outdated && executor.phase == Executor::Phase::running && executor.calls.empty())
    end(executor);
}

void Core::State::end(Executor& executor) {
  executor.phase = Executor::Phase::ending;
  commands.emplace_back(EndExecutor{executor.id});
}

void Core::State::end_idle() {
  for (std::size_t index = 0; index < executors.types().size(); ++index) {
    const TypeOptions wanted = options_of(static_cast<TypeIndex>(index));
    if (wanted.idle_time.count() == 0) continue;
    const ExecutorType& type = *executors.types()[index];
    std::uint32_t have = usable(type);
    for (Executor* each : type.executors) {
      if (have <= wanted.prestart) break;
      if (!each->idle() || now < each->progress_at + wanted.idle_time) continue;
      end(*each);
      --have;
    }
  }
}

std::optional<TimePoint> Core::State::next_idle_end() const {
  std::optional<TimePoint> next;
  for (std::size_t index = 0; index < executors.types().size(); ++index) {
    const TypeOptions wanted = options_of(static_cast<TypeIndex>(index));
    const ExecutorType& type = *executors.types()[index];
    if (wanted.idle_time.count() == 0 || type.executors.size() <= wanted.prestart) continue;
    if (usable(type) <= wanted.prestart) continue;
    for (const Executor* each : type.executors)
      if (each->idle())
        next = std::min(next.value_or(TimePoint::max()), each->progress_at + wanted.idle_time);
  }
  return next;
}

}  // namespace rain::graph
