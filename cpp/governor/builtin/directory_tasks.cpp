// The built-in tasks that put directories together and take them apart: make_directory,
// slice_directory. Data never change, so files get further names instead of copies.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/syscall.h"
#include "builtin/builtin.h"
#include "builtin/file_data.h"
#include "launcher/remove_tree.h"

namespace rain::builtin {

using tasklib::base::checked;
using tasklib::base::retry_interrupted;
using tasklib::base::SystemError;
using tasklib::base::UniqueFd;
using tasklib::wire::Reader;

namespace {

using Keep = std::shared_ptr<graph::ObjectData>;

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/// The directory `path`, which is removed again unless it is kept.
class NewTree {
 public:
  explicit NewTree(std::string path) : path_(std::move(path)) {}
  ~NewTree() {
    if (!path_.empty()) launcher::remove_tree(path_.c_str());
  }
  NewTree(const NewTree&) = delete;
  NewTree& operator=(const NewTree&) = delete;
  const std::string& path() const { return path_; }
  std::string keep() { return std::exchange(path_, {}); }

 private:
  std::string path_;
};

// ---- make_directory --------------------------------------------------------------------------

/// What goes where.
struct Item {
  std::string path;                     // as given
  std::vector<std::string> components;  // of it, without "."
  std::size_t input = 0;
  Keep data;
};

class MakeDirectoryJob final : public PoolJob {
 public:
  MakeDirectoryJob(const Call& call, std::vector<Item> items)
      : PoolJob(call),
        items_(std::move(items)),
        place_(call.host.data_directory()),
        releases_(call.host.releases()) {}

 private:
  Outcome work() override {
    for (Item& item : items_) {
      check_relative(item.path);
      item.components = path_components(item.path);
    }
    // A directory comes before what is put into it.
    std::stable_sort(items_.begin(), items_.end(),
                     [](const Item& a, const Item& b) { return a.components < b.components; });
    NewTree tree(place_.fresh());
    auto item = items_.begin();
    if (item != items_.end() && item->components.empty()) {
      const auto& data = static_cast<const Data&>(*item->data);
      if (!data.is_directory()) {
        throw TaskError("Path '" + printable(item->path) + "' is the directory itself, but input " +
                        std::to_string(item->input) + " is a blob");
      }
      copy_tree(data.path(), tree.path(), Copy::linked, stop_flag());
      ++item;
    } else {
      checked("mkdir", tree.path(), [&] { return ::mkdir(tree.path().c_str(), 0700); });
    }
    const UniqueFd top(
        checked("open", tree.path(), [&] { return ::open(tree.path().c_str(), kDirectoryFlags); }));
    for (; item != items_.end(); ++item) {
      check_stop();
      put(tree.path(), top.get(), *item);
    }
    const TreeSize size = adopt_tree(tree.path(), {});
    return Outcome::of(std::make_shared<DirectoryData>(releases_, tree.keep(), size.bytes));
  }

  /// Follows no link on the way: one that is in an input leads nowhere where things may be put.
  void put(const std::string& root, int top, const Item& item) {
    if (item.components.empty()) throw collision(item);
    UniqueFd parent;
    int directory = top;
    std::string path = root;
    for (std::size_t i = 0; i + 1 < item.components.size(); ++i) {
      const std::string& name = item.components[i];
      if (::mkdirat(directory, name.c_str(), 0700) != 0 && errno != EEXIST) throw failed(item);
      UniqueFd next(
          retry_interrupted([&] { return ::openat(directory, name.c_str(), kDirectoryFlags); }));
      if (!next) {
        if (errno == ENOTDIR || errno == ELOOP) throw collision(item);
        throw failed(item);
      }
      parent = std::move(next);
      directory = parent.get();
      path += "/" + name;
    }
    const std::string& name = item.components.back();
    path += "/" + name;
    struct stat status;
    if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
      throw collision(item);
    }
    const auto& data = static_cast<const Data&>(*item.data);
    if (data.is_directory()) {
      copy_tree(data.path(), path, Copy::linked, stop_flag());
      return;
    }
    if (data.is_on_disk() &&
        ::linkat(AT_FDCWD, data.path().c_str(), directory, name.c_str(), 0) == 0) {
      return;
    }
    const UniqueFd file(retry_interrupted([&] {
      return ::openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                      0400 | executable_bits(data));
    }));
    if (!file) throw failed(item);
    write_data(data, file.get(), printable(item.path), stop_flag());
  }

  static SystemError failed(const Item& item) {
    return SystemError("make_directory", printable(item.path), errno);
  }

  /// Something is at its path, or where a directory on the way to it should be. It was put there
  /// by the last of those before it that are it or contain it.
  TaskError collision(const Item& item) const {
    const Item* other = nullptr;
    for (const Item& each : items_) {
      if (&each == &item) break;
      if (each.components.size() <= item.components.size() &&
          std::equal(each.components.begin(), each.components.end(), item.components.begin())) {
        other = &each;
      }
    }
    std::string text =
        "Path '" + printable(item.path) + "' of input " + std::to_string(item.input) + " is taken";
    if (other) {
      text += ": it collides with path '" + printable(other->path) + "' of input " +
              std::to_string(other->input);
    }
    return TaskError(text);
  }

  std::vector<Item> items_;
  DataDirectory& place_;
  const std::shared_ptr<ReleaseQueue> releases_;
};

// ---- slice_directory -------------------------------------------------------------------------

class SliceJob final : public PoolJob {
 public:
  SliceJob(const Call& call, std::string path)
      : PoolJob(call),
        path_(std::move(path)),
        data_(call.task.inputs[0]->data),
        output_(call.task.outputs.empty() ? graph::ObjectRef() : call.task.outputs[0]),
        place_(call.host.data_directory()),
        releases_(call.host.releases()) {}

 private:
  Outcome work() override {
    const auto found = resolve_inside(static_cast<const Data&>(*data_).path(), path_);
    if (!found) throw TaskError("Path '" + printable(path_) + "' now found.");
    struct stat status;
    checked("stat", printable(*found), [&] { return ::stat(found->c_str(), &status); });
    const bool is_directory = S_ISDIR(status.st_mode);
    if (output_) {
      const std::string mismatch = mismatch_text(*output_, is_directory);
      if (!mismatch.empty()) throw TaskError(mismatch);
    }
    if (!is_directory) return Outcome::of(share_as_data(*found, place_, stop_flag()));
    NewTree tree(place_.fresh());
    copy_tree(*found, tree.path(), Copy::linked, stop_flag());
    const TreeSize size = adopt_tree(tree.path(), {});
    return Outcome::of(std::make_shared<DirectoryData>(releases_, tree.keep(), size.bytes));
  }

  const std::string path_;
  const Keep data_;
  const graph::ObjectRef output_;
  DataDirectory& place_;
  const std::shared_ptr<ReleaseQueue> releases_;
};

}  // namespace

Begun make_directory(const Call& call) {
  auto paths = call.parse_config([](Reader& reader) {
    std::vector<std::string> result;
    bool seen = false;
    reader.set_place("config", "");
    auto map = reader.enter_map();
    while (reader.more(map)) {
      reader.set_place("config", "paths");
      const std::string key = reader.read_text();
      if (key != "paths" || seen) {
        reader.fail((seen ? "duplicate field '" : "unknown field '") + key + "', expected 'paths'");
      }
      seen = true;
      auto array = reader.enter_array();
      while (reader.more(array)) result.push_back(reader.read_text());
    }
    if (!seen) reader.fail("missing field 'paths'");
    return result;
  });
  call.expect_inputs(paths.size());
  std::vector<Item> items(paths.size());
  for (std::size_t i = 0; i < paths.size(); ++i) {
    items[i].path = std::move(paths[i]);
    items[i].input = i;
    items[i].data = call.task.inputs[i]->data;
  }
  return in_pool(call, std::make_shared<MakeDirectoryJob>(call, std::move(items)));
}

Begun slice_directory(const Call& call) {
  call.expect_inputs(1);
  std::string path = call.parse_path();
  if (!call.input_is_directory(0)) throw TaskError("Input 0 object is not directory");
  return in_pool(call, std::make_shared<SliceJob>(call, std::move(path)));
}

}  // namespace rain::builtin
