#include "executor/reproduce.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "base/errors.h"
#include "executor/access.h"
#include "tasklib/executor.h"
#include "wire/codec.h"

namespace tasklib {
namespace {

namespace fs = std::filesystem;

/// A directory as Task.reproduce() writes it, and an executor to run it.
class Reproduced : public ::testing::Test {
 protected:
  Reproduced() {
    char name[] = "/tmp/reproduce-XXXXXX";
    directory_ = ::mkdtemp(name);
    fs::create_directory(directory_ / "inputs");
    call_.spec.id = {3, 12};
    call_.spec.task_type = "ex/task";
  }
  ~Reproduced() override {
    ::unsetenv("RAIN_REPRODUCE");
    fs::remove_all(directory_);
  }

  wire::ObjectIn& add_input(wire::Location location) {
    const base::DataObjectId id{3, 20 + static_cast<std::int32_t>(call_.inputs.size())};
    call_.spec.inputs.push_back({id, ""});
    wire::ObjectIn& input = call_.inputs.emplace_back();
    input.spec.id = id;
    input.location = location;
    return input;
  }
  void add_bytes(const std::string& bytes) {
    write("inputs/" + std::to_string(call_.inputs.size()), bytes);
    add_input(wire::Memory{});
  }
  void declare_outputs(std::size_t count) {
    call_.outputs.resize(count);
    call_.spec.outputs.resize(count);
  }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(directory_ / name, std::ios::binary) << bytes;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(directory_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  void start() {
    std::string frame;
    wire::encode_frame(frame, call_, wire::Protocol::cbor2);
    write("call", frame.substr(4));
    ::setenv("RAIN_REPRODUCE", directory_.c_str(), 1);
    executor_.start(4);
  }
  std::string error_of_start() {
    try {
      start();
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "no error";
  }

  fs::path directory_;
  wire::Call call_;
  Executor executor_{"ex"};
};

TEST_F(Reproduced, call_has_what_the_task_had) {
  add_bytes("some text");
  write("inputs/1", "in a file");
  wire::ObjectIn& file = add_input(wire::Path{"inputs/1"});
  file.spec.label = "its label";
  file.spec.user = {{"key", executor::encode_value("client's")}};
  file.info = wire::ObjectInfo{9, "text", "", "", {{"key", executor::encode_value("producer's")}}};
  call_.spec.inputs[1].label = "the task's";
  fs::create_directory(directory_ / "inputs/2");
  write("inputs/2/name", "below");
  add_input(wire::Path{"inputs/2"}).spec.data_type = wire::DataType::directory;
  call_.spec.config = executor::encode_value(Value::Map{{"a", 1}});
  call_.spec.user = {{"of task", executor::encode_value(7)}};
  call_.spec.resources = {{"gpu", {"5"}}};
  declare_outputs(1);

  executor_.add_task("task", [&](Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
    ASSERT_EQ(inputs.size(), 3u);
    EXPECT_EQ(inputs[0]->read_as_string(), "some text");
    EXPECT_EQ(inputs[0]->get_path(), "");
    EXPECT_EQ(inputs[1]->read_as_string(), "in a file");
    EXPECT_EQ(inputs[1]->get_path(), directory_ / "inputs/1");
    EXPECT_EQ(inputs[1]->get_label(), "the task's");
    EXPECT_EQ(inputs[1]->get_content_type(), "text");
    EXPECT_EQ(inputs[1]->get_spec_attributes().at("key").as_string(), "client's");
    EXPECT_EQ(inputs[1]->get_attributes().at("key").as_string(), "producer's");
    EXPECT_TRUE(inputs[2]->is_directory());
    EXPECT_EQ(inputs[2]->get_path(), directory_ / "inputs/2");
    EXPECT_EQ(ctx.config().at("a").as_int(), 1);
    EXPECT_EQ(ctx.get_attribute("of task").as_int(), 7);
    EXPECT_STREQ(std::getenv("CUDA_VISIBLE_DEVICES"), "5");
    outputs.push_back(std::move(inputs[0]));
  });
  start();
  EXPECT_EQ(read("outputs/0"), "some text");
}

TEST_F(Reproduced, outputs_are_bytes_files_and_directories) {
  declare_outputs(3);
  executor_.add_task("task", [&](Context& ctx, DataInstanceVec&, DataInstanceVec& outputs) {
    MutableBlob blob = ctx.alloc(100'000);
    std::fill_n(blob.data(), 100'000, 'x');
    outputs.push_back(std::move(blob).seal());
    write("made", "a file");
    outputs.push_back(std::make_unique<FileDataInstance>(directory_ / "made"));
    fs::create_directories(directory_ / "tree/below");
    write("tree/below/name", "deep");
    outputs.push_back(std::make_unique<FileDataInstance>(directory_ / "tree"));
  });
  start();
  EXPECT_EQ(read("outputs/0"), std::string(100'000, 'x'));
  EXPECT_EQ(read("outputs/1"), "a file");
  EXPECT_EQ(read("outputs/2/below/name"), "deep");
}

TEST_F(Reproduced, runs_again_and_again) {
  add_bytes("old");
  declare_outputs(1);
  executor_.add_task("task", [](Context&, DataInstanceVec& inputs, DataInstanceVec& outputs) {
    outputs.push_back(std::move(inputs[0]));
  });
  start();
  write("inputs/0", "new and longer");
  start();
  EXPECT_EQ(read("outputs/0"), "new and longer");
  write("inputs/0", "");
  start();
  EXPECT_EQ(read("outputs/0"), "");
}

TEST_F(Reproduced, start_throws_the_error_of_the_task) {
  executor_.add_task("task", [](Context&, DataInstanceVec&, DataInstanceVec&) {
    throw std::out_of_range("beyond the end");
  });
  const std::string error = error_of_start();
  EXPECT_NE(error.find("task 'ex/task' failed after "), std::string::npos) << error;
  EXPECT_NE(error.find("beyond the end"), std::string::npos) << error;
  EXPECT_FALSE(fs::exists(directory_ / "outputs"));
}

TEST_F(Reproduced, a_governor_in_the_task_is_not_misled) {
  executor_.add_task("task", [](Context&, DataInstanceVec&, DataInstanceVec&) {
    EXPECT_EQ(std::getenv("RAIN_REPRODUCE"), nullptr);
  });
  start();
  EXPECT_EQ(std::getenv("RAIN_REPRODUCE"), nullptr);
}

TEST_F(Reproduced, says_what_is_missing) {
  executor_.add_task("other", [](Context&, DataInstanceVec&, DataInstanceVec&) {});
  EXPECT_EQ(error_of_start(), "Method 'ex/task' not found in executor 'ex'; it has: other");

  call_.spec.task_type = "ex/other";
  add_input(wire::Memory{});
  EXPECT_EQ(error_of_start(),
            "stat(" + (directory_ / "inputs/0").string() + "): No such file or directory");

  fs::remove(directory_ / "call");
  ::setenv("RAIN_REPRODUCE", directory_.c_str(), 1);
  EXPECT_THROW(executor_.start(), std::runtime_error);
}

TEST_F(Reproduced, bytes_that_are_no_call_are_refused) {
  executor_.add_task("task", [](Context&, DataInstanceVec&, DataInstanceVec&) {});
  for (const std::string& bytes : {std::string("\x82"), std::string("\x82hshutdown\xA0")}) {
    write("call", bytes);
    ::setenv("RAIN_REPRODUCE", directory_.c_str(), 1);
    try {
      executor_.start();
      ADD_FAILURE() << "no error";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find((directory_ / "call").string()), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace tasklib
