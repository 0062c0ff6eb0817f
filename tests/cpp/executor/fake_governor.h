#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blob/board.h"
#include "blob/region.h"
#include "tasklib/executor.h"
#include "wire/connection.h"
#include "wire/messages.h"

namespace tasklib::executor::test {

/// A governor as an executor sees it, for tests: a real listening socket in a directory of its
/// own, with the executor in a thread of this process. Every wait has a deadline, after which the
/// test fails.
class FakeGovernor {
 public:
  static constexpr std::uint64_t kInlineLimitBytes = 1024;

  explicit FakeGovernor(wire::Protocol protocol, const std::string& type = "tester",
                        const std::string& subdirectory = "");
  /// Fails the test when something came that nobody looked at.
  ~FakeGovernor();

  Executor executor;
  bool with_board = true;

  /// Starts the executor and takes its registration; welcomes it (cbor-2).
  void start(unsigned threads = 1);
  void start_without_welcome(unsigned threads = 1);
  wire::Register registration;
  std::string registration_frame;

  void send(const wire::ToExecutor& message);
  void send_bytes(const std::string& bytes);
  /// Several messages that arrive together.
  void send_all(const std::vector<wire::ToExecutor>& messages);
  /// The next message. Its views are valid as long as this.
  wire::ToGovernor receive();
  wire::Result receive_result();

  /// A call with the next sequence number; queues it on the board.
  wire::Call call(const std::string& method, std::vector<wire::Location> inputs = {},
                  std::size_t outputs = 1);
  /// Sends it and takes its result.
  wire::Result run(const wire::Call& call);
  wire::Result run(const std::string& method, std::vector<wire::Location> inputs = {},
                   std::size_t outputs = 1) {
    return run(call(method, std::move(inputs), outputs));
  }

  /// A region that the executor may read, or write if `request` is given.
  std::shared_ptr<blob::Region> send_region(std::uint64_t size_bytes);
  std::shared_ptr<blob::Region> lease(std::uint64_t size_bytes, std::uint32_t request = 0);
  /// The bytes of an output, wherever they lie.
  std::string bytes_of(const wire::Location& location);

  /// End of start(): its exception's text, or "" when it returned.
  std::string end_by_shutdown();
  std::string end_by_closing();
  std::string wait_for_end();

  const std::string& directory() const { return directory_; }
  blob::CallBoard& board() { return *board_; }

 private:
  void pump(short events);

  const wire::Protocol protocol_;
  std::string root_, directory_;
  base::UniqueFd listener_;
  std::optional<wire::Connection> connection_;
  std::optional<blob::CallBoard> board_;
  std::map<std::uint32_t, std::shared_ptr<blob::Region>> regions_;
  std::deque<std::string> frames_;
  std::uint32_t last_sequence_ = 0, last_region_ = 0;
  std::int32_t last_id_ = 10;
  std::future<std::string> end_;
};

/// A location with bytes in the message; `text` must live until it is sent.
wire::Location memory(std::string_view text);

}  // namespace tasklib::executor::test
