#include "launcher/processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>

namespace rain::launcher {
namespace {

std::string read_file(const char* path) {
  std::string content;
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return content;
  char buffer[8192];
  ssize_t got;
  while ((got = ::read(fd, buffer, sizeof buffer)) > 0) {
    content.append(buffer, static_cast<size_t>(got));
  }
  ::close(fd);
  return content;
}

/// After `unshare --pid` without a fresh mount /proc numbers processes differently than kill().
bool proc_is_ours() {
  char target[16] = {};
  return ::readlink("/proc/self", target, sizeof target - 1) > 0 && ::atoi(target) == ::getpid();
}

bool read_entry(pid_t pid, ProcessEntry& entry) {
  char path[40];
  ::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const std::string stat = read_file(path);
  // "pid (name) state parent group session ..."; the name may hold anything, also ')'.
  const size_t open = stat.find('('), close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos) return false;
  char state;
  int parent, group, session;
  if (::sscanf(stat.c_str() + close + 1, " %c %d %d %d", &state, &parent, &group, &session) != 4) {
    return false;
  }
  entry = {pid, parent, session, state == 'Z' || state == 'X',
           stat.compare(open + 1, close - open - 1, "rain-launcher") == 0};
  return true;
}

double now_seconds() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

void kill_below(const std::vector<ProcessEntry>& table, pid_t parent, pid_t inner,
                bool spare_launchers) {
  for (const ProcessEntry& entry : table) {
    if (entry.parent != parent) continue;
    if (spare_launchers && entry.launcher && entry.pid != inner) continue;
    if (!entry.zombie) ::kill(entry.pid, SIGKILL);
    kill_below(table, entry.pid, inner, spare_launchers);
  }
}

}  // namespace

std::vector<ProcessEntry> all_processes() {
  std::vector<ProcessEntry> table;
  DIR* proc = proc_is_ours() ? ::opendir("/proc") : nullptr;
  if (proc == nullptr) return table;
  while (const dirent* e = ::readdir(proc)) {
    ProcessEntry entry;
    const int pid = ::atoi(e->d_name);
    if (pid > 0 && read_entry(pid, entry)) table.push_back(entry);
  }
  ::closedir(proc);
  return table;
}

std::vector<pid_t> own_children() {
  std::vector<pid_t> children;
  char path[64];
  ::snprintf(path, sizeof path, "/proc/self/task/%d/children", ::getpid());
  if (::access(path, R_OK) != 0) {  // a kernel without CONFIG_PROC_CHILDREN
    for (const ProcessEntry& entry : all_processes()) {
      if (entry.parent == ::getpid()) children.push_back(entry.pid);
    }
    return children;
  }
  const std::string list = read_file(path);
  const char* p = list.c_str();
  for (char* end; *p != '\0'; p = end) {
    const long pid = ::strtol(p, &end, 10);
    if (end == p) break;
    children.push_back(static_cast<pid_t>(pid));
  }
  return children;
}

std::vector<pid_t> tree_of(const std::vector<ProcessEntry>& table, pid_t root) {
  std::vector<pid_t> tree{root};
  for (size_t i = 0; i < tree.size(); ++i) {
    for (const ProcessEntry& entry : table) {
      if (entry.parent == tree[i]) tree.push_back(entry.pid);
    }
  }
  return tree;
}

Answer started_with(pid_t pid, const char* assignment) {
  const std::string base = "/proc/" + std::to_string(pid);
  const std::string environment = read_file((base + "/environ").c_str());
  if (environment.empty()) {
    // Really empty only if the kernel knows where it lies: fields 50 and 51, from 3 on here.
    const std::string stat = read_file((base + "/stat").c_str());
    const size_t close = stat.rfind(')');
    const char* at = close == std::string::npos ? "" : stat.c_str() + close + 1;
    for (int field = 3; field < 50 && *at != '\0'; ++field) at += 1 + ::strcspn(at + 1, " ");
    unsigned long start = 0, end = 0;
    if (::sscanf(at, "%lu %lu", &start, &end) != 2 || end == 0) return Answer::unknown;
    return start == end ? Answer::no : Answer::unknown;
  }
  for (size_t at = 0; at < environment.size();) {
    const char* variable = environment.c_str() + at;
    if (::strcmp(variable, assignment) == 0) return Answer::yes;
    at += ::strlen(variable) + 1;
  }
  return Answer::no;
}

void end_all_descendants(pid_t inner) {
  const double start = now_seconds(), patience = proc_is_ours() ? 10 : 0.5;
  sigset_t child_signal;
  ::sigemptyset(&child_signal);
  ::sigaddset(&child_signal, SIGCHLD);
  for (;;) {
    const double waited = now_seconds() - start;
    kill_below(all_processes(), ::getpid(), inner, waited < 0.5);
    pid_t reaped;
    do {
      reaped = ::waitpid(-1, nullptr, WNOHANG | __WALL);
    } while (reaped > 0);
    // Every descendant hangs below a child of ours: no child, no descendant.
    if (reaped < 0 && errno == ECHILD) return;
    if (waited > patience) return;
    const timespec pause{0, 10'000'000};
    ::sigtimedwait(&child_signal, nullptr, &pause);
  }
}

}  // namespace rain::launcher
