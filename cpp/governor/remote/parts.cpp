#include "remote/parts.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "remote/id_table.h"

namespace rain::remote {
namespace {

constexpr const char* kBuiltin = "buildin";  // each governor has it
constexpr const char* kExport = "buildin/export";

/// What the cut needs to know of a task type.
struct TypeOfTask {
  std::uint64_t where = 0;
  bool alone = false;
  float seconds = 0;
};

TypeOfTask type_of(const std::string& task_type,
                   const std::vector<std::set<std::string>>& distinct_offers) {
  constexpr std::size_t kBits = 64;
  const std::string executor = task_type.substr(0, task_type.find('/'));
  TypeOfTask type;
  type.alone = task_type == kExport;
  if (distinct_offers.empty() || executor == kBuiltin) {
    type.where = ~std::uint64_t{0};
    return type;
  }
  // More sorts than bits: some share one, which is then had where all of them have it.
  for (std::size_t bit = 0; bit < std::min(kBits, distinct_offers.size()); ++bit) {
    bool offered = true;
    for (std::size_t i = bit; i < distinct_offers.size(); i += kBits)
      offered = offered && distinct_offers[i].contains(executor);
    if (offered) type.where |= std::uint64_t{1} << bit;
  }
  return type;
}

class SubmittedTasks {
 public:
  SubmittedTasks(const Submission& submission, const std::vector<std::set<std::string>>& offers)
      : submission_(submission) {
    const std::set<std::set<std::string>> distinct(offers.begin(), offers.end());
    offers_.assign(distinct.begin(), distinct.end());
    std::size_t outputs = 0;
    for (const auto& task : submission.tasks) outputs += task->outputs.size();
    makers_.reserve(outputs);
    for (std::uint32_t i = 0; i < submission.tasks.size(); ++i)
      for (const auto& output : submission.tasks[i]->outputs) makers_.add(output->id.id, i);
  }

  CutTasks tasks() {
    CutTasks tasks;
    const std::size_t count = submission_.tasks.size();
    tasks.first.reserve(count + 1);
    tasks.seconds.reserve(count);
    tasks.where.reserve(count);
    tasks.alone.reserve(count);
    for (const auto& task : submission_.tasks) {
      for (const auto& input : task->inputs)
        if (const auto* maker = makers_.find(input->id.id)) tasks.producers.push_back(*maker);
      tasks.first.push_back(static_cast<std::uint32_t>(tasks.producers.size()));
      const TypeOfTask& type = this->type(task->method);
      tasks.seconds.push_back(type.seconds);
      tasks.where.push_back(type.where);
      tasks.alone.push_back(type.alone);
    }
    return tasks;
  }

  /// Ids of objects that tasks of other parts than their own take.
  std::unordered_set<std::int32_t> shared(const std::vector<std::vector<std::uint32_t>>& parts) {
    std::vector<std::uint32_t> part_of(submission_.tasks.size());
    for (std::uint32_t part = 0; part < parts.size(); ++part)
      for (const std::uint32_t task : parts[part]) part_of[task] = part;
    std::unordered_set<std::int32_t> ids;
    for (std::uint32_t i = 0; i < submission_.tasks.size(); ++i) {
      for (const auto& input : submission_.tasks[i]->inputs) {
        const auto* maker = makers_.find(input->id.id);
        if (maker && part_of[*maker] != part_of[i]) ids.insert(input->id.id);
      }
    }
    return ids;
  }

 private:
  const TypeOfTask& type(std::uint32_t method) {
    const auto [found, added] = types_.try_emplace(method);
    if (added) {
      found->second = type_of(submission_.methods->name(method), offers_);
      if (submission_.run_means)
        found->second.seconds = static_cast<float>(submission_.run_means->seconds(method));
    }
    return found->second;
  }

  const Submission& submission_;
  std::vector<std::set<std::string>> offers_;  // that differ
  IdTable<std::uint32_t> makers_;              // of objects: tasks
  std::unordered_map<std::uint32_t, TypeOfTask> types_;
};

double seconds_of(const CutTasks& tasks, const std::vector<std::uint32_t>& part) {
  double sum = 0;
  for (const std::uint32_t task : part) {
    if (tasks.seconds[task] <= 0) return 0;
    sum += tasks.seconds[task];
  }
  return sum;
}

}  // namespace

std::vector<Part> cut_submission(const Submission& submission, const CutLimits& limits,
                                 const std::vector<std::set<std::string>>& offers) {
  SubmittedTasks submitted(submission, offers);
  const CutTasks tasks = submitted.tasks();
  const auto parts = cut(tasks, limits);
  const auto shared = submitted.shared(parts);
  std::vector<Part> encoded;
  encoded.reserve(parts.size());
  for (const auto& part : parts) {
    encoded.push_back(encode_part(submission, part, shared));
    encoded.back().seconds = seconds_of(tasks, part);
  }
  return encoded;
}

}  // namespace rain::remote
