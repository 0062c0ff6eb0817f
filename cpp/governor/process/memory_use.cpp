#include "process/memory_use.h"

#include <dirent.h>

#include <memory>
#include <sstream>
#include <vector>

#include "base/cgroup.h"

namespace rain::process {
namespace {

constexpr std::size_t kMostProcesses = 4096;  // of one executor; the rest isn't looked at

/// The kB behind "`key`:" in a file of /proc.
std::uint64_t field_bytes(const std::string& text, const std::string& key) {
  const auto at = ("\n" + text).find("\n" + key + ":");
  if (at == std::string::npos) return 0;
  const auto begin = text.find_first_of("0123456789", at + key.size());
  if (begin == std::string::npos) return 0;
  return tasklib::base::leading_number(text.substr(begin, 20)).value_or(0) * 1024;
}

void add_children(const std::string& process, std::vector<std::int32_t>& pids) {
  const std::string threads = process + "/task";
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(threads.c_str()), ::closedir);
  if (!directory) return;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] == '.') continue;
    std::istringstream children(
        tasklib::base::read_text(threads + "/" + entry->d_name + "/children"));
    for (std::int32_t pid; pids.size() < kMostProcesses && children >> pid;) pids.push_back(pid);
  }
}

}  // namespace

std::uint64_t own_memory_bytes(std::int32_t pid, const std::string& root) {
  const auto path = [&](std::int32_t of) { return root + "/proc/" + std::to_string(of); };
  std::vector<std::int32_t> pids{pid};
  for (std::size_t i = 0; i < pids.size(); ++i) add_children(path(pids[i]), pids);
  if (pids.size() == 1)
    return field_bytes(tasklib::base::read_text(path(pid) + "/status"), "RssAnon");
  std::uint64_t sum = 0;
  for (const std::int32_t each : pids)
    sum += field_bytes(tasklib::base::read_text(path(each) + "/smaps_rollup"), "Pss_Anon");
  return sum;
}

std::uint64_t kernel_oom_kills(const std::string& root) {
  const tasklib::base::CgroupPath cgroup = tasklib::base::find_cgroup("memory", root);
  std::uint64_t kills = 0;
  const auto look = [&](const std::string& file) {
    std::istringstream events(tasklib::base::read_text(file));
    std::string key;
    for (std::uint64_t count; events >> key >> count;)
      if (key == "oom_kill") kills += count;
  };
  if (!cgroup.v1.empty()) look(cgroup.v1.front() + "/memory.oom_control");
  if (!cgroup.v2.empty()) look(cgroup.v2.front() + "/memory.events");
  return kills;
}

}  // namespace rain::process
