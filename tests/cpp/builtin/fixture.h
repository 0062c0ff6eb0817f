#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "governor.h"
#include "wire/cbor.h"

namespace rain::builtin {

using graph::FailureKind;
using graph::ObjectRecord;
using graph::ObjectRef;
using graph::ObjectState;
using graph::OnError;
using graph::SessionRef;
using graph::TaskRecord;
using graph::TaskRef;
using graph::TaskState;
using tasklib::base::ByteView;
using tasklib::wire::DataType;
using tasklib::wire::RawValue;
using tasklib::wire::Writer;

inline std::size_t entries(const std::string& path) {
  std::size_t count = 0;
  DIR* directory = ::opendir(path.c_str());
  while (::readdir(directory)) ++count;
  ::closedir(directory);
  return count;
}

/// A Governor without registered executors. At the end of each test nothing of it is left: no
/// descriptor, no thread, no file.
class BuiltinTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::thread([] {}).join();  // a sanitizer starts its own with the first
    fds_before_ = entries("/proc/self/fd");
    threads_before_ = entries("/proc/self/task");
    start();
  }
  void TearDown() override {
    session = {};
    if (governor) {
      const std::string run_directory = governor->run_directory();
      governor.reset();
      EXPECT_NE(::access(run_directory.c_str(), F_OK), 0);
    }
    EXPECT_EQ(entries("/proc/self/fd"), fds_before_);
    // A joined thread may still be listed for a moment.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (entries("/proc/self/task") > threads_before_ &&
           std::chrono::steady_clock::now() < deadline) {
      ::usleep(1000);
    }
    EXPECT_LE(entries("/proc/self/task"), threads_before_);
  }

  void start(std::uint32_t cpus = 2, std::uint64_t memory_bytes = 256u << 20, bool spill = true) {
    session = {};
    governor.reset();
    GovernorOptions options;
    options.cpus = cpus;
    options.memory_bytes = memory_bytes;
    options.spill = spill;
    options.launcher_program = RAIN_LAUNCHER;
    governor = std::make_unique<Governor>(options);
    session = governor->new_session("builtin", OnError::continue_);
  }

  ObjectRef object(DataType type = DataType::blob, const std::string& label = "") {
    ObjectRef ref(new ObjectRecord);
    ref->id = {session->id, ++last_id_};
    ref->session = session.get();
    ref->kept = true;
    auto annex = std::make_unique<ObjectAnnex>();
    annex->data_type = type;
    annex->label = label;
    ref->annex = std::move(annex);
    return ref;
  }
  ObjectRef constant(const std::string& text) {
    auto ref = object();
    ref->data = governor->put(ByteView(std::string_view(text)));
    ref->kept = false;
    return ref;
  }
  /// `config`: one encoded item, or empty.
  TaskRef task(const std::string& type, std::vector<ObjectRef> inputs, RawValue config,
               std::vector<ObjectRef> outputs) {
    TaskRef ref(new TaskRecord);
    ref->id = {session->id, ++last_id_};
    ref->session = session.get();
    const auto method = governor->intern_method(type);
    ref->type = method.type;
    ref->method = method.method;
    ref->inputs = std::move(inputs);
    for (auto& output : outputs) output->producer = ref.get();
    ref->outputs = std::move(outputs);
    auto annex = std::make_unique<TaskAnnex>();
    annex->config = std::move(config);
    ref->annex = std::move(annex);
    return ref;
  }
  void submit(const std::vector<TaskRef>& tasks) {
    std::vector<ObjectRef> objects;
    for (const auto& task : tasks) {
      for (const auto& input : task->inputs) {
        if (!input->producer && input->state == ObjectState::draft &&
            std::find(objects.begin(), objects.end(), input) == objects.end()) {
          objects.push_back(input);
        }
      }
      for (const auto& output : task->outputs) objects.push_back(output);
    }
    governor->submit(session, tasks, objects);
  }
  void wait(const std::vector<TaskRef>& tasks) {
    while (governor->wait(tasks, {}, {}) != Governor::Wait::done) {
    }
  }
  /// Submits it and waits until it is terminal.
  TaskRef run(const std::string& type, std::vector<ObjectRef> inputs, RawValue config,
              std::vector<ObjectRef> outputs) {
    auto one = task(type, std::move(inputs), std::move(config), std::move(outputs));
    submit({one});
    wait({one});
    return one;
  }
  std::string text(const ObjectRef& object) {
    auto view = governor->view(object);
    return view ? std::string(view->bytes.text()) : "<nothing>";
  }
  /// The failure's message; empty when it finished.
  std::string error(const TaskRef& task) {
    auto failure = governor->failure(task);
    return failure ? failure->message : "";
  }

  static RawValue number(double value) {
    RawValue raw;
    Writer(raw).number(value);
    return raw;
  }
  static RawValue string(const std::string& value) {
    RawValue raw;
    Writer(raw).text(value);
    return raw;
  }

  std::unique_ptr<Governor> governor;
  SessionRef session;

 private:
  std::int32_t last_id_ = 9;
  std::size_t fds_before_ = 0, threads_before_ = 0;
};

}  // namespace rain::builtin
