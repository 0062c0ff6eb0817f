// plain_executor TYPE PROTOCOL [TRICK]: an executor for the governor's tests, without the executor
// library. Methods: echo (passes input 0 through), upper (one output), none, fail, slow (answers
// after the cancel request), stop (ends with code 3), crash, hang, big (a blob in a region), wrong
// (answers for another task), garbage.
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "blob/arena.h"
#include "blob/board.h"
#include "wire/codec.h"
#include "wire/connection.h"

using namespace tasklib;
using wire::Connection;

namespace {

base::UniqueFd connect_to(const char* path) {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  return fd;
}

void send_all(Connection& connection) {
  while (connection.send() == Connection::Io::would_block) {
    pollfd poll_fd{connection.fd(), POLLOUT, 0};
    ::poll(&poll_fd, 1, -1);
  }
}

/// The next message; exits when the governor is gone.
base::ByteView next(Connection& connection) {
  while (true) {
    if (auto frame = connection.next_frame()) return *frame;
    pollfd poll_fd{connection.fd(), POLLIN, 0};
    ::poll(&poll_fd, 1, -1);
    if (connection.receive() == Connection::Io::closed) std::exit(0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string type = argv[1];
  const auto protocol =
      std::string(argv[2]) == "cbor-2" ? wire::Protocol::cbor2 : wire::Protocol::cbor1;
  const std::string trick = argc > 3 ? argv[3] : "";
  std::fprintf(stderr, "plain executor says hello\n");
  if (trick == "exit_at_once") return 7;
  if (trick == "never_connect") ::pause();
  Connection connection(connect_to(std::getenv("RAIN_EXECUTOR_SOCKET")));
  if (trick == "never_register") ::pause();
  if (trick == "close_at_once") return 0;
  if (trick == "close_and_stay") {
    { Connection gone = std::move(connection); }
    ::pause();
  }

  wire::Register reg;
  reg.protocol = trick == "wrong_protocol" ? "cbor-9" : argv[2];
  reg.executor_id = std::atoi(std::getenv("RAIN_EXECUTOR_ID")) + (trick == "wrong_id" ? 40 : 0);
  if (trick == "digits_id") {
    reg.executor_id = static_cast<int>(std::strlen(std::getenv("RAIN_EXECUTOR_ID")));
  }
  reg.executor_type = trick == "wrong_type" ? "other" : type;
  reg.features = {wire::kFeatureBoard};
  if (trick == "garbage") {
    connection.out().append("\x03\0\0\0\xff\xff\xff", 7);
  } else if (trick == "oversize") {
    connection.out().append("\xff\xff\xff\x7f", 4);
  } else if (trick == "empty_frame") {
    connection.out().append(4, '\0');
  } else if (trick == "truncated") {
    connection.out().append("\x10\0\0\0\x82", 5);
    send_all(connection);
    return 0;
  } else {
    wire::encode_frame(connection.out(), reg, protocol);
    if (trick == "register_twice") wire::encode_frame(connection.out(), reg, protocol);
  }
  send_all(connection);

  std::unique_ptr<blob::CallBoard> board;
  blob::Arena arena;
  std::map<base::RegionId, std::shared_ptr<blob::Region>> regions;
  std::string upper;
  std::uint32_t slow = 0;
  base::TaskId slow_task;
  while (true) {
    auto message = wire::decode_to_executor(next(connection), protocol);
    if (auto* welcome = std::get_if<wire::Welcome>(&message)) {
      if (welcome->board) {
        board = std::make_unique<blob::CallBoard>(blob::CallBoard::map(*connection.take_fd()));
      }
      continue;
    }
    if (auto* region = std::get_if<wire::Region>(&message)) {
      const auto access =
          region->writable ? blob::Region::Access::read_write : blob::Region::Access::read_only;
      auto mapped =
          blob::Region::map(region->id, region->size_bytes, *connection.take_fd(), access);
      if (region->writable) arena.add_lease(mapped, region->free);
      regions[region->id] = mapped;
      continue;
    }
    if (auto* freed = std::get_if<wire::Freed>(&message)) {
      for (const auto& extent : freed->extents) {
        arena.free({freed->region, extent.offset_bytes, extent.size_bytes});
      }
      continue;
    }
    if (std::get_if<wire::Shutdown>(&message)) return 0;
    if (std::get_if<wire::Cancel>(&message) && slow != 0) {
      wire::Result result;
      result.task = slow_task;
      result.sequence = slow;
      result.cancelled = true;
      board->finish(slow);
      slow = 0;
      wire::encode_frame(connection.out(), result, protocol);
      send_all(connection);
      continue;
    }
    auto* call = std::get_if<wire::Call>(&message);
    if (!call) continue;
    if (board && !board->start(call->sequence)) continue;
    const std::string method = call->spec.task_type.substr(call->spec.task_type.find('/') + 1);
    wire::Result result;
    result.task = call->spec.id;
    result.sequence = call->sequence;
    result.success = true;
    if (method == "echo") {
      wire::ObjectOut out;
      out.location = wire::OtherObject{call->spec.inputs[0].id};
      result.outputs.push_back(out);
    } else if (method == "upper") {
      base::ByteView bytes;
      const auto& location = call->inputs[0].location;
      if (auto* memory = std::get_if<wire::Memory>(&location)) bytes = memory->bytes;
      if (auto* ref = std::get_if<wire::BlobRef>(&location)) {
        bytes = base::ByteView(regions.at(ref->region)->at(*ref), ref->size_bytes);
      }
      upper.assign(bytes.text());
      for (auto& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      wire::ObjectOut out;
      out.location = wire::Memory{base::ByteView(std::string_view(upper))};
      out.info.content_type = "text";
      result.outputs.push_back(out);
    } else if (method == "big") {
      constexpr std::uint64_t kSize = 1 << 20;
      auto allocation = arena.allocate(kSize);
      if (!allocation) {
        wire::encode_frame(connection.out(), wire::LeaseRequest{5, kSize}, protocol);
        send_all(connection);
        auto answer = wire::decode_to_executor(next(connection), protocol);
        // What was released while nothing ran may be told first, and be room enough.
        while (auto* freed = std::get_if<wire::Freed>(&answer)) {
          for (const auto& extent : freed->extents)
            arena.free({freed->region, extent.offset_bytes, extent.size_bytes});
          answer = wire::decode_to_executor(next(connection), protocol);
        }
        if (auto* refused = std::get_if<wire::LeaseRefused>(&answer)) {
          allocation = arena.allocate(kSize);
          result.success = allocation.has_value();
          if (!allocation) result.info.error = "StoreFull: " + refused->message;
        } else {
          auto& region = std::get<wire::Region>(answer);
          auto mapped = blob::Region::map(region.id, region.size_bytes, *connection.take_fd(),
                                          blob::Region::Access::read_write);
          arena.add_lease(mapped, region.free);
          regions[region.id] = mapped;
          allocation = arena.allocate(kSize);
        }
      }
      if (allocation) {
        std::memset(allocation->data, 'b', kSize);
        wire::ObjectOut out;
        out.location = allocation->ref;
        if (trick == "out_of_range") {
          auto ref = allocation->ref;
          ref.offset_bytes = ~0ull - 63;
          out.location = ref;
        }
        if (trick == "foreign_region") {
          out.location = wire::BlobRef{base::RegionId{999}, 0, kSize};
        }
        result.outputs.push_back(out);
      }
    } else if (method == "fail") {
      result.success = false;
      result.info.error = "it \"failed\"\n";
      result.info.debug = "debug line";
    } else if (method == "slow") {
      slow = call->sequence;
      slow_task = call->spec.id;
      continue;
    } else if (method == "stop") {
      return 3;
    } else if (method == "crash") {
      ::signal(SIGSEGV, SIG_DFL);  // sanitizers make an exit of it
      ::raise(SIGSEGV);
    } else if (method == "hang") {
      ::pause();
    } else if (method == "wrong") {
      result.task.id += 1000;
    } else if (method == "garbage") {
      connection.out().append("\x03\0\0\0\xff\xff\xff", 7);
      send_all(connection);
      ::pause();
    } else if (method == "few_outputs") {
      // none, though some are declared
    } else if (method == "outside") {
      wire::ObjectOut out;
      out.location = wire::Path{"/etc/passwd"};
      result.outputs.push_back(out);
    } else if (method == "file") {
      const std::string path =
          std::string(std::getenv("RAIN_EXECUTOR_SOCKET"))
              .substr(0, std::string(std::getenv("RAIN_EXECUTOR_SOCKET")).rfind('/')) +
          "/result";
      FILE* file = std::fopen(path.c_str(), "w");
      std::fputs("from a file", file);
      std::fclose(file);
      wire::ObjectOut out;
      out.location = wire::Path{path};
      result.outputs.push_back(out);
    }
    if (board) board->finish(call->sequence);
    wire::encode_frame(connection.out(), result, protocol);
    send_all(connection);
  }
}
