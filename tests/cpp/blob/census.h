#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>
#include <fstream>
#include <string>

#include "base/unique_fd.h"

namespace tasklib::blob {

inline int count_entries(const char* directory) {
  int count = 0;
  DIR* listing = ::opendir(directory);
  while (::readdir(listing) != nullptr) ++count;
  ::closedir(listing);
  return count;
}

inline int count_mappings(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);)
    count += line.find(name) != std::string::npos ? 1 : 0;
  return count;
}

/// Every test leaves as many descriptors and mappings of shared memory as it found.
class CensusTest : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(count_entries("/proc/self/fd"), fds_before_);
    EXPECT_EQ(count_mappings("memfd:rain-"), mappings_before_);
  }

 private:
  const int fds_before_ = count_entries("/proc/self/fd");
  const int mappings_before_ = count_mappings("memfd:rain-");
};

inline void send_fd(int socket, int fd) {
  char byte = 'r';
  iovec io{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  ASSERT_EQ(::sendmsg(socket, &message, 0), 1);
}

inline base::UniqueFd receive_fd(int socket) {
  char byte;
  iovec io{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return {};
  int fd = base::UniqueFd::kNone;
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message))
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return base::UniqueFd(fd);
}

}  // namespace tasklib::blob
