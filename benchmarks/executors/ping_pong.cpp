// ping_pong N apart|free: two processes send 64 bytes to and fro over a socketpair, blocking, N
// times; prints the median round trip in microseconds. `apart`: on two CPUs, as a client and an
// executor that work at the same time are; `free`: wherever the scheduler puts them, which is often
// one CPU, where a wake-up is a mere switch.
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

void pin_to_allowed_cpu(int index) {
  cpu_set_t allowed, one;
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || index-- > 0) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 2000;
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) return 1;
  char message[64] = {};
  const bool apart = argc > 2 && std::strcmp(argv[2], "apart") == 0;
  const pid_t peer = ::fork();
  if (apart) pin_to_allowed_cpu(peer == 0 ? 1 : 0);
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
