#include "executor/reproduce.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <utility>

#include "base/clock.h"
#include "base/errors.h"
#include "base/syscall.h"
#include "base/unique_fd.h"
#include "executor/access.h"
#include "executor/call.h"
#include "executor/content.h"
#include "executor/visible_devices.h"
#include "wire/codec.h"

namespace tasklib::executor {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVariable = "RAIN_REPRODUCE";

std::string read_call(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw base::Error(std::string(kVariable) + ": there is no " + path +
                      "; it must name a directory that Task.reproduce() has written");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

wire::Call decode(const std::string& payload, const std::string& path) {
  try {
    auto message = wire::decode_to_executor(base::ByteView(payload), wire::Protocol::cbor2);
    if (auto* call = std::get_if<wire::Call>(&message)) return std::move(*call);
  } catch (const base::ProtocolError& error) {
    throw base::Error(path + " can't be read: " + error.what() +
                      ". Was it written by another version?");
  }
  throw base::Error(path + " holds a message that is no call");
}

/// A file's bytes, mapped: page-aligned as in shared memory.
std::shared_ptr<Content> bytes_of(const std::string& path) {
  const base::UniqueFd file(
      base::checked("open", path, [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  struct stat status;
  base::checked("fstat", path, [&] { return ::fstat(file.get(), &status); });
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return std::make_shared<CopiedContent>(base::ByteView());
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (mapped == MAP_FAILED) throw base::SystemError("mmap", path, errno);
  const std::shared_ptr<const void> owner(
      mapped, [size](const void* bytes) { ::munmap(const_cast<void*>(bytes), size); });
  return std::make_shared<ForeignContent>(owner, base::ByteView(mapped, size));
}

DataInstancePtr make_input(const fs::path& directory, wire::Call& call, std::size_t index) {
  wire::ObjectIn& input = call.inputs[index];
  const auto* given = std::get_if<wire::Path>(&input.location);
  if (given == nullptr && !std::holds_alternative<wire::Memory>(input.location))
    throw base::Error("input " + std::to_string(index) +
                      " of the call is neither a path nor bytes");
  const std::string path = directory / (given ? given->path : "inputs/" + std::to_string(index));
  struct stat status;
  base::checked("stat", path, [&] { return ::stat(path.c_str(), &status); });
  auto content = given ? std::make_shared<FileContent>(path) : bytes_of(path);

  auto metadata = std::make_unique<Metadata>();
  metadata->spec = std::move(input.spec);
  if (input.info) metadata->info = std::move(*input.info);
  metadata->task_label = call.spec.inputs[index].label;
  metadata->input = true;
  return Access::make(std::move(content), std::move(metadata));
}

void write_output(const DataInstance& output, const fs::path& path) {
  const Content& content = *Access::content(output);
  if (content.kind() == Content::Kind::file) {
    const std::string& source = static_cast<const FileContent&>(content).path();
    fs::copy(source, path, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    return;
  }
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(content.data()),
             static_cast<std::streamsize>(content.size()));
  if (!file.flush()) throw base::SystemError("write", path, errno);
}

void say(const std::string& text) { std::fprintf(stderr, "tasklib: %s\n", text.c_str()); }

std::string milliseconds(base::Duration duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f ms",
                std::chrono::duration<double, std::milli>(duration).count());
  return text;
}

}  // namespace

std::optional<std::string> reproduce_directory() {
  const char* value = std::getenv(kVariable);
  if (value == nullptr || *value == '\0') return std::nullopt;
  std::string directory = fs::absolute(value).lexically_normal();
  ::unsetenv(kVariable);
  return directory;
}

void reproduce(const std::string& type, Methods& methods, const std::string& directory) {
  const std::string payload = read_call(directory + "/call");
  wire::Call call = decode(payload, directory + "/call");
  const std::string& task_type = call.spec.task_type;
  const auto found = methods.find(task_type);
  if (found == methods.end()) throw base::Error(unknown_method(type, methods, task_type));

  DataInstanceVec inputs, outputs;
  for (std::size_t i = 0; i < call.inputs.size(); ++i)
    inputs.push_back(make_input(directory, call, i));

  const std::unique_ptr<Context> context = Access::make_context();
  CallState& state = Access::state(*context);
  state.alone = true;
  state.begin(call, inputs.size());
  const base::TimePoint start = base::Clock::now();
  {
    const VisibleDevices devices(call.spec, true);
    run_function(found->second.function, *context, inputs, outputs);
  }
  const std::string took = milliseconds(base::Clock::now() - start);

  if (!state.info.debug.empty()) say("debug: " + state.info.debug);
  if (state.failed) {
    const std::string text = "task '" + task_type + "' failed after " + took + ": " + state.error;
    say(text);
    throw std::runtime_error(text);
  }
  const fs::path place = fs::path(directory) / "outputs";
  fs::remove_all(place);
  fs::create_directory(place);
  for (std::size_t i = 0; i < outputs.size(); ++i)
    write_output(*outputs[i], place / std::to_string(i));
  say("task '" + task_type + "' finished in " + took + ", " + std::to_string(outputs.size()) +
      (outputs.size() == 1 ? " output" : " outputs") + " in " + place.string());
}

}  // namespace tasklib::executor
