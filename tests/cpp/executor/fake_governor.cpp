#include "fake_governor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "base/syscall.h"
#include "wire/codec.h"

namespace tasklib::executor::test {
namespace {

constexpr int kDeadlineMs = 30'000;

std::string new_directory() {
  std::string path = (std::filesystem::temp_directory_path() / "executor-test-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp " + path);
  return path;
}

}  // namespace

wire::Location memory(std::string_view text) { return wire::Memory{base::ByteView(text)}; }

FakeGovernor::FakeGovernor(wire::Protocol protocol, const std::string& type,
                           const std::string& subdirectory)
    : executor(type),
      protocol_(protocol),
      root_(new_directory()),
      directory_(root_ + subdirectory) {
  std::filesystem::create_directories(directory_);
  const std::string path = directory_ + "/socket";
  // Bound by a short name, wherever it is.
  const base::UniqueFd directory(
      base::checked("open", directory_, [&] { return ::open(directory_.c_str(), O_PATH); }));
  const std::string name = "/proc/self/fd/" + std::to_string(directory.get()) + "/socket";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  base::checked("bind", path, [&] {
    return ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  });
  base::checked("listen", path, [&] { return ::listen(listener_.get(), 1); });
  ::setenv("RAIN_EXECUTOR_SOCKET", path.c_str(), 1);
  ::setenv("RAIN_EXECUTOR_ID", "4711", 1);
  if (protocol_ == wire::Protocol::cbor2)
    ::setenv("RAIN_EXECUTOR_PROTOCOLS", ("cbor-2@" + path).c_str(), 1);
  else
    ::unsetenv("RAIN_EXECUTOR_PROTOCOLS");
}

FakeGovernor::~FakeGovernor() {
  if (end_.valid()) {
    EXPECT_EQ(end_by_closing(), "");
  }
  std::filesystem::remove_all(root_);
  for (const char* name : {"RAIN_EXECUTOR_SOCKET", "RAIN_EXECUTOR_ID", "RAIN_EXECUTOR_PROTOCOLS"})
    ::unsetenv(name);
}

void FakeGovernor::start_without_welcome(unsigned threads) {
  end_ = std::async(std::launch::async, [this, threads]() -> std::string {
    try {
      executor.start(threads);
      return "";
    } catch (const std::exception& error) {
      return error.what();
    }
  });
  pollfd waited{listener_.get(), POLLIN, 0};
  if (::poll(&waited, 1, kDeadlineMs) != 1)
    throw std::runtime_error("the executor never connected");
  connection_.emplace(base::UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  registration = std::get<wire::Register>(receive());
  registration_frame = frames_.back();
}

void FakeGovernor::start(unsigned threads) {
  start_without_welcome(threads);
  if (protocol_ == wire::Protocol::cbor1) return;
  wire::Welcome welcome;
  welcome.credit = 100;
  welcome.inline_limit_bytes = kInlineLimitBytes;
  welcome.board = with_board;
  if (with_board) {
    board_ = blob::CallBoard::create();
    connection_->attach_fd(board_->duplicate_fd());
  }
  send(welcome);
}

void FakeGovernor::send_all(const std::vector<wire::ToExecutor>& messages) {
  for (const wire::ToExecutor& message : messages)
    wire::encode_frame(connection_->out(), message, protocol_);
  send_bytes("");
}

void FakeGovernor::send(const wire::ToExecutor& message) { send_all({message}); }

void FakeGovernor::send_bytes(const std::string& bytes) {
  connection_->out() += bytes;
  while (connection_->send() == wire::Connection::Io::would_block) pump(POLLOUT);
}

void FakeGovernor::pump(short events) {
  pollfd waited{connection_->fd(), events, 0};
  if (::poll(&waited, 1, kDeadlineMs) != 1)
    throw std::runtime_error("nothing came from the executor in time");
}

wire::ToGovernor FakeGovernor::receive() {
  for (;;) {
    if (const auto payload = connection_->next_frame()) {
      frames_.emplace_back(payload->text());
      // The first frame says which protocol it is.
      const auto protocol = frames_.size() == 1 ? wire::Protocol::cbor2 : protocol_;
      return wire::decode_to_governor(base::ByteView(frames_.back()), protocol);
    }
    switch (connection_->receive()) {
      case wire::Connection::Io::done:
        break;
      case wire::Connection::Io::would_block:
        pump(POLLIN);
        break;
      case wire::Connection::Io::closed:
        throw std::runtime_error("the executor closed the connection: " + wait_for_end());
    }
  }
}

wire::Result FakeGovernor::receive_result() { return std::get<wire::Result>(receive()); }

wire::Call FakeGovernor::call(const std::string& method, std::vector<wire::Location> inputs,
                              std::size_t outputs) {
  wire::Call call;
  call.sequence = ++last_sequence_;
  call.spec.task_type = "tester/" + method;
  call.spec.id = {1, ++last_id_};
  for (wire::Location& location : inputs) {
    wire::ObjectIn object;
    object.spec.id = {1, ++last_id_};
    object.info.emplace();
    object.location = std::move(location);
    call.spec.inputs.push_back({object.spec.id, ""});
    call.inputs.push_back(std::move(object));
  }
  for (std::size_t i = 0; i < outputs; ++i) {
    wire::ObjectIn object;
    object.spec.id = {1, ++last_id_};
    call.spec.outputs.push_back(object.spec.id);
    call.outputs.push_back(std::move(object));
  }
  if (board_) board_->queue(call.sequence);
  return call;
}

wire::Result FakeGovernor::run(const wire::Call& call) {
  send(call);
  wire::Result result = receive_result();
  EXPECT_EQ(result.task, call.spec.id);
  if (protocol_ == wire::Protocol::cbor2) {
    EXPECT_EQ(result.sequence, call.sequence);
  }
  return result;
}

std::shared_ptr<blob::Region> FakeGovernor::send_region(std::uint64_t size_bytes) {
  auto region = blob::Region::create({++last_region_}, size_bytes);
  regions_[region->id().value] = region;
  wire::Region message;
  message.id = region->id();
  message.size_bytes = size_bytes;
  connection_->attach_fd(region->open_read_only());
  send(message);
  return region;
}

std::shared_ptr<blob::Region> FakeGovernor::lease(std::uint64_t size_bytes, std::uint32_t request) {
  auto region = blob::Region::create({++last_region_}, size_bytes);
  regions_[region->id().value] = region;
  wire::Region message;
  message.id = region->id();
  message.size_bytes = size_bytes;
  message.writable = true;
  message.request = request;
  message.free = {{0, size_bytes}};
  connection_->attach_fd(region->open_read_write());
  send(message);
  return region;
}

std::string FakeGovernor::bytes_of(const wire::Location& location) {
  if (const auto* memory = std::get_if<wire::Memory>(&location))
    return std::string(memory->bytes.text());
  if (const auto* ref = std::get_if<wire::BlobRef>(&location)) {
    const unsigned char* data = regions_.at(ref->region.value)->at(*ref);
    return std::string(reinterpret_cast<const char*>(data), ref->size_bytes);
  }
  const std::string& path = std::get<wire::Path>(location).path;
  std::string bytes(std::filesystem::file_size(path), '\0');
  std::ifstream(path, std::ios::binary).read(bytes.data(), static_cast<long>(bytes.size()));
  return bytes;
}

std::string FakeGovernor::wait_for_end() {
  if (end_.wait_for(std::chrono::milliseconds(kDeadlineMs)) != std::future_status::ready) {
    ADD_FAILURE() << "start() did not return";
    std::abort();  // its thread can't be ended
  }
  return end_.get();
}

std::string FakeGovernor::end_by_shutdown() {
  send(wire::Shutdown{});
  return wait_for_end();
}

std::string FakeGovernor::end_by_closing() {
  if (connection_) {
    EXPECT_FALSE(connection_->next_frame()) << "a message that nobody looked at";
    connection_.reset();
  }
  return wait_for_end();
}

}  // namespace tasklib::executor::test
