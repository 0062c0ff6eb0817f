// What executors tell the Runtime besides results: lines for the log, answers to pings.

#include <algorithm>
#include <chrono>
#include <utility>

#include "runtime.h"

namespace rain {

using tasklib::base::Clock;
using tasklib::base::ExecutorId;

void Runtime::on_log(Session& session, const graph::TaskRecord& task,
                     const tasklib::wire::Log& message) {
  LogLine line;
  line.task = task.id;
  line.task_type = methods_.name(task.method);
  line.executor_type = session.type_name;
  line.pid = session.peer_pid();
  line.level = message.level;
  line.text = message.text;
  line.time =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  line.lost = message.lost;
  note_log(session, line);
  logs_->push(std::move(line));
}

std::uint32_t Runtime::start_ping() {
  const std::uint32_t number = ++last_ping_;
  Ping& ping = pings_[number];
  ping.sent = Clock::now();
  for (const auto& [id, session] : sessions_) {
    if (!session->registered() || session->exited) continue;
    Pinged line;
    line.executor = id;
    line.executor_type = session->type_name;
    line.pid = session->peer_pid();
    line.can_answer = session->answers_pings();
    ping.lines.push_back(std::move(line));
    if (!session->answers_pings()) continue;
    ++ping.missing;
    session->send(tasklib::wire::Ping{number});
    dirty_.push_back(session.get());
  }
  pump();
  return number;
}

bool Runtime::ping_is_answered(std::uint32_t number) const {
  const auto found = pings_.find(number);
  return found == pings_.end() || found->second.missing == 0;
}

std::vector<Pinged> Runtime::end_ping(std::uint32_t number) {
  const auto node = pings_.extract(number);
  return node ? std::move(node.mapped().lines) : std::vector<Pinged>();
}

void Runtime::on_pong(Session& session, std::uint32_t number) {
  const auto found = pings_.find(number);
  if (found == pings_.end()) return;  // too late: nobody waits any more
  for (Pinged& line : found->second.lines) {
    if (line.executor != session.id || line.seconds) continue;
    line.seconds = std::chrono::duration<double>(Clock::now() - found->second.sent).count();
    --found->second.missing;
    ++changes_;
  }
}

void Runtime::forget_pinged(ExecutorId executor) {
  for (auto& [number, ping] : pings_) {
    const auto line = std::find_if(ping.lines.begin(), ping.lines.end(),
                                   [&](const Pinged& each) { return each.executor == executor; });
    if (line == ping.lines.end()) continue;
    if (line->can_answer && !line->seconds) --ping.missing;
    ping.lines.erase(line);
    ++changes_;
  }
}

}  // namespace rain
