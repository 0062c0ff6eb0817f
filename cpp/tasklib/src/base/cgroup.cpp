#include "base/cgroup.h"

#include <fcntl.h>
#include <unistd.h>

#include <sstream>

#include "base/syscall.h"
#include "base/unique_fd.h"

namespace tasklib::base {
namespace {

// "8:cpu,cpuacct:/path" in /proc/self/cgroup; the unified hierarchy is "0::/path".
struct Membership {
  std::string controllers, path;
};

// What matters of a line of /proc/self/mountinfo: the subtree that is mounted, where, and the
// file system's type and own options (v1: its controllers).
struct Mount {
  std::string subtree, point, type, options;
};

bool lists(const std::string& comma_separated, const std::string& word) {
  return ("," + comma_separated + ",").find("," + word + ",") != std::string::npos;
}

// Blanks in paths are written as \040 and the like.
std::string unescape(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string code = text[i] == '\\' ? text.substr(i + 1, 3) : "";
    if (code.size() == 3 && code.find_first_not_of("01234567") == std::string::npos) {
      plain += static_cast<char>(std::stoi(code, nullptr, 8));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::vector<Membership> read_memberships(const std::string& root) {
  std::vector<Membership> memberships;
  std::istringstream file(read_text(root + "/proc/self/cgroup"));
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    memberships.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return memberships;
}

std::vector<Mount> read_cgroup_mounts(const std::string& root) {
  std::vector<Mount> mounts;
  std::istringstream file(read_text(root + "/proc/self/mountinfo"));
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string skipped, subtree, point, type, options;
    words >> skipped >> skipped >> skipped >> subtree >> point >> skipped;
    while (words >> skipped && skipped != "-") {  // optional fields
    }
    words >> type >> skipped >> options;
    if (type == "cgroup" || type == "cgroup2")
      mounts.push_back({unescape(subtree), unescape(point), type, options});
  }
  return mounts;
}

// The directories of `path` in the mount, innermost first. A container often sees but a subtree
// of the hierarchy while `path` counts from the top; a path outside of what is mounted ("/..", or
// another subtree) leaves the mount point, which is as near as we can get.
std::vector<std::string> directories(const Mount& mount, std::string path,
                                     const std::string& root) {
  const std::string subtree = mount.subtree == "/" ? "" : mount.subtree;
  const bool inside = path.compare(0, subtree.size(), subtree) == 0 &&
                      (path.size() == subtree.size() || path[subtree.size()] == '/') &&
                      (path + "/").find("/../") == std::string::npos;
  path = inside ? path.substr(subtree.size()) : "";
  while (!path.empty() && path.back() == '/') path.pop_back();
  std::vector<std::string> found;
  for (; !path.empty(); path.resize(path.rfind('/'))) found.push_back(root + mount.point + path);
  found.push_back(root + mount.point);
  return found;
}

}  // namespace

CgroupPath find_cgroup(const std::string& controller, const std::string& root) {
  CgroupPath path;
  const std::vector<Mount> mounts = read_cgroup_mounts(root);
  for (const Membership& membership : read_memberships(root)) {
    const bool v2 = membership.controllers.empty();
    if (!v2 && !lists(membership.controllers, controller)) continue;
    for (const Mount& mount : mounts) {
      const bool matches =
          v2 ? mount.type == "cgroup2" : mount.type == "cgroup" && lists(mount.options, controller);
      if (!matches) continue;
      (v2 ? path.v2 : path.v1) = directories(mount, membership.path, root);
      break;
    }
  }
  return path;
}

std::string read_text(const std::string& path) {
  std::string text;
  const UniqueFd fd(retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  char buffer[4096];
  ssize_t count = -1;
  while (fd &&
         (count = retry_interrupted([&] { return ::read(fd.get(), buffer, sizeof buffer); })) > 0)
    text.append(buffer, static_cast<std::size_t>(count));
  return count == 0 ? text : std::string();
}

std::optional<std::uint64_t> leading_number(const std::string& text) {
  const std::string word = text.substr(0, text.find_first_of(" \n"));
  if (word.empty() || word.size() > 19 || word.find_first_not_of("0123456789") != word.npos)
    return std::nullopt;
  return std::stoull(word);
}

}  // namespace tasklib::base
