#include "wire/connection.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>

#include "base/errors.h"
#include "base/syscall.h"
#include "frames.h"

namespace tasklib::wire {
namespace {

std::string frame(const std::string& payload) {
  std::string out;
  for (std::size_t i = 0; i < kFrameHeaderBytes; ++i)
    out += static_cast<char>(payload.size() >> 8 * i & 0xFF);
  return out + payload;
}

void feed(FrameBuffer& buffer, std::string_view bytes) {
  while (!bytes.empty()) {
    std::size_t room = 0;
    unsigned char* place = buffer.prepare(1, &room);
    const std::size_t size = std::min(room, bytes.size());
    std::memcpy(place, bytes.data(), size);
    buffer.commit(size);
    bytes.remove_prefix(size);
  }
}

// ---- FrameBuffer --------------------------------------------------------------------------------

TEST(FrameBuffer, gives_frames_out_whatever_the_pieces_they_come_in) {
  const std::string bytes = frame("one") + frame("two") + frame(std::string(100000, 'x'));
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{5}, std::size_t{4096}, bytes.size()}) {
    FrameBuffer buffer;
    std::vector<std::string> frames;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      feed(buffer, std::string_view(bytes).substr(at, piece));
      while (auto payload = buffer.next()) frames.emplace_back(payload->text());
    }
    ASSERT_EQ(frames.size(), 3u) << piece;
    EXPECT_EQ(frames[1], "two");
    EXPECT_EQ(frames[2], std::string(100000, 'x'));
    EXPECT_FALSE(buffer.mid_frame());
  }
}

TEST(FrameBuffer, tells_how_much_is_missing) {
  FrameBuffer buffer;
  EXPECT_EQ(buffer.missing_bytes(), 0u);
  feed(buffer, frame("hello").substr(0, 3));
  EXPECT_EQ(buffer.missing_bytes(), 0u);
  EXPECT_TRUE(buffer.mid_frame());
  feed(buffer, frame("hello").substr(3, 2));
  EXPECT_EQ(buffer.missing_bytes(), 4u);
  EXPECT_EQ(buffer.next(), std::nullopt);
  feed(buffer, "ello");
  EXPECT_EQ(buffer.missing_bytes(), 0u);
  EXPECT_EQ(buffer.next()->text(), "hello");
}

TEST(FrameBuffer, refuses_length_zero_and_lengths_beyond_the_limit) {
  FrameBuffer zero;
  feed(zero, test::from_hex("00000000"));
  EXPECT_THROW(zero.next(), base::ProtocolError);
  FrameBuffer longer;
  feed(longer, test::from_hex("01000008"));
  EXPECT_THROW(longer.next(), base::ProtocolError);
  FrameBuffer longest;
  feed(longest, test::from_hex("00000008"));
  EXPECT_EQ(longest.next(), std::nullopt);
  EXPECT_EQ(longest.missing_bytes(), kMaxFrameBytes);
}

TEST(FrameBuffer, does_not_grow_by_what_a_header_announces_and_shrinks_after_a_huge_frame) {
  FrameBuffer buffer;
  feed(buffer, test::from_hex("00000008"));
  std::size_t room = 0;
  buffer.prepare(1, &room);
  EXPECT_LT(room, 1u << 20);

  FrameBuffer large;
  feed(large, frame(std::string(40u << 20, 'x')));
  EXPECT_EQ(large.next()->size, 40u << 20);
  large.prepare(1, &room);
  EXPECT_LT(room, 1u << 20);
}

// ---- Connection ---------------------------------------------------------------------------------

struct Pair {
  Pair() : Pair(make()) {}
  explicit Pair(std::pair<int, int> fds)
      : a(base::UniqueFd(fds.first)), b(base::UniqueFd(fds.second)) {}
  static std::pair<int, int> make() {
    int fds[2];
    base::checked("socketpair", "",
                  [&] { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds); });
    return {fds[0], fds[1]};
  }
  Connection a, b;
};

/// A descriptor whose identity can be checked after it was passed.
base::UniqueFd some_fd() {
  int fds[2];
  base::checked("pipe2", "", [&] { return ::pipe2(fds, O_CLOEXEC); });
  ::close(fds[1]);
  return base::UniqueFd(fds[0]);
}

ino_t inode(int fd) {
  struct stat status {};
  EXPECT_EQ(::fstat(fd, &status), 0);
  return status.st_ino;
}

TEST(Connection, carries_several_frames_in_one_call_each_way) {
  Pair pair;
  pair.a.out() = frame("one") + frame("two");
  ASSERT_EQ(pair.a.send(), Connection::Io::done);
  EXPECT_FALSE(pair.a.has_output());
  ASSERT_EQ(pair.b.receive(), Connection::Io::done);
  EXPECT_EQ(pair.b.next_frame()->text(), "one");
  EXPECT_EQ(pair.b.next_frame()->text(), "two");
  EXPECT_EQ(pair.b.next_frame(), std::nullopt);
  EXPECT_EQ(pair.b.receive(), Connection::Io::would_block);
  EXPECT_EQ(pair.a.sent_bytes(), 14u);
  EXPECT_EQ(pair.b.received_bytes(), 14u);
}

TEST(Connection, carries_a_frame_of_the_limit_through_a_small_socket_buffer) {
  Pair pair;
  std::string payload(kMaxFrameBytes, 'x');
  for (std::size_t i = 0; i < payload.size(); i += 4096) payload[i] = static_cast<char>(i >> 12);
  pair.a.out() = frame(payload);
  std::optional<base::ByteView> received;
  while (!received) {
    ASSERT_NE(pair.a.send(), Connection::Io::closed);
    const Connection::Io io = pair.b.receive();
    ASSERT_NE(io, Connection::Io::closed);
    received = pair.b.next_frame();
  }
  EXPECT_TRUE(received->text() == payload);
  EXPECT_FALSE(pair.a.has_output());
  EXPECT_LT(pair.a.out().capacity(), 8u << 20);
}

TEST(Connection, sees_the_end_and_a_torn_frame) {
  Pair pair;
  pair.a.out() = frame("hello").substr(0, 6);
  ASSERT_EQ(pair.a.send(), Connection::Io::done);
  pair.a = Connection(some_fd());
  ASSERT_EQ(pair.b.receive(), Connection::Io::done);
  EXPECT_EQ(pair.b.next_frame(), std::nullopt);
  EXPECT_EQ(pair.b.receive(), Connection::Io::closed);
  EXPECT_TRUE(pair.b.mid_frame());
  pair.b.out() = frame("answer");
  EXPECT_EQ(pair.b.send(), Connection::Io::closed);  // and no SIGPIPE
}

TEST(Connection, passes_descriptors_in_order_with_their_frames) {
  Pair pair;
  std::vector<ino_t> sent;
  const auto attach = [&] {
    base::UniqueFd fd = some_fd();
    sent.push_back(inode(fd.get()));
    pair.a.attach_fd(std::move(fd));
  };
  pair.a.out() += frame("none");
  attach();
  pair.a.out() += frame("one");
  attach();
  attach();
  pair.a.out() += frame("two of them");
  pair.a.out() += frame("none again");
  ASSERT_EQ(pair.a.send(), Connection::Io::done);

  std::vector<std::string> names;
  std::vector<ino_t> received;
  while (names.size() < 4) {
    ASSERT_EQ(pair.b.receive(), Connection::Io::done);
    while (auto payload = pair.b.next_frame()) {
      names.emplace_back(payload->text());
      const std::size_t expected = names.back() == "one"           ? 1
                                   : names.back() == "two of them" ? 2
                                                                   : 0;
      for (std::size_t i = 0; i < expected; ++i) {
        auto fd = pair.b.take_fd();
        ASSERT_TRUE(fd) << names.back();
        EXPECT_TRUE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC);
        received.push_back(inode(fd->get()));
      }
    }
  }
  EXPECT_EQ(received, sent);
  EXPECT_FALSE(pair.b.take_fd());
}

TEST(Connection, passes_descriptors_behind_output_that_did_not_fit) {
  Pair pair;
  pair.a.out() += frame(std::string(3u << 20, 'x'));
  EXPECT_EQ(pair.a.send(), Connection::Io::would_block);
  base::UniqueFd fd = some_fd();
  const ino_t sent = inode(fd.get());
  pair.a.attach_fd(std::move(fd));
  pair.a.out() += frame("with");
  std::vector<std::size_t> sizes;
  while (sizes.size() < 2) {
    ASSERT_NE(pair.a.send(), Connection::Io::closed);
    ASSERT_NE(pair.b.receive(), Connection::Io::closed);
    while (auto payload = pair.b.next_frame()) sizes.push_back(payload->size);
  }
  EXPECT_EQ(sizes, (std::vector<std::size_t>{3u << 20, 4}));
  auto received = pair.b.take_fd();
  ASSERT_TRUE(received);
  EXPECT_EQ(inode(received->get()), sent);
}

TEST(Connection, refuses_more_waiting_descriptors_than_the_limit_and_leaks_none) {
  const auto lowest_free = [] { return some_fd().get(); };
  const int before = lowest_free();
  {
    Pair pair;
    for (std::size_t i = 0; i <= Connection::kMaxWaitingFds; ++i) {
      pair.a.attach_fd(some_fd());
      pair.a.out() += frame("x");
    }
    ASSERT_EQ(pair.a.send(), Connection::Io::done);
    const auto receive_all = [&] {
      while (pair.b.receive() == Connection::Io::done) {
      }
    };
    EXPECT_THROW(receive_all(), base::ProtocolError);
    for (std::size_t i = 0; i < Connection::kMaxWaitingFds; ++i) pair.a.attach_fd(some_fd());
    EXPECT_THROW(pair.a.attach_fd(some_fd()), base::Error);
  }
  EXPECT_EQ(lowest_free(), before);
}

}  // namespace
}  // namespace tasklib::wire
