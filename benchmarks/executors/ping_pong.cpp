// ping_pong N: two processes send 64 bytes to and fro over a socketpair, blocking, N times; prints
// the median round trip in microseconds. The machine's own limit for a task's round trip.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 2000;
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) return 1;
  char message[64] = {};
  const pid_t peer = ::fork();
  if (peer == 0) {
    ::close(sockets[0]);
    while (::read(sockets[1], message, sizeof message) == sizeof message) {
      if (::write(sockets[1], message, sizeof message) != sizeof message) break;
    }
    ::_exit(0);
  }
  ::close(sockets[1]);
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    if (::write(sockets[0], message, sizeof message) != sizeof message) return 1;
    if (::read(sockets[0], message, sizeof message) != sizeof message) return 1;
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
    times.push_back(time.count());
  }
  ::close(sockets[0]);
  ::waitpid(peer, nullptr, 0);
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  std::printf("%.3f\n", times[static_cast<std::size_t>(rounds) / 2]);
}
