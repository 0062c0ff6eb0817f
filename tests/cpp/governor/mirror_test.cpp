// A Governor in mirror mode, fed by hand with what others say of its tasks.

#include "mirror.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "annex.h"
#include "base/errors.h"
#include "governor.h"

namespace rain {
namespace {

using graph::ObjectRecord;
using graph::ObjectRef;
using graph::OnError;
using graph::SessionRef;
using graph::TaskRecord;
using graph::TaskRef;
using graph::TaskState;
using remote::TaskUpdate;
using tasklib::base::ByteView;
using Ids = std::vector<std::int32_t>;

template <class Note>
std::vector<Note> only(const std::vector<remote::Note>& notes) {
  std::vector<Note> found;
  for (const auto& note : notes)
    if (const auto* one = std::get_if<Note>(&note)) found.push_back(*one);
  return found;
}

class MirrorTest : public ::testing::Test {
 protected:
  void SetUp() override { start(); }
  void start(std::uint64_t memory_bytes = 64u << 20) {
    GovernorOptions options;
    ExecutorSpec spec;
    spec.name = "there";
    spec.prestart = 1;
    options.executors = {spec};
    options.cpus = 8;
    options.memory_bytes = memory_bytes;
    options.spill = false;
    options.launcher_program = RAIN_LAUNCHER;
    options.mirror = true;
    governor = std::make_unique<Governor>(options);
    outgoing = governor->outgoing();
  }

  SessionRef session(OnError on_error = OnError::fail) {
    auto made = governor->new_session("mirrored", on_error);
    outgoing->take();
    return made;
  }
  ObjectRef constant(const SessionRef& session, const std::string& text) {
    ObjectRef ref(new ObjectRecord);
    ref->id = {session->id, ++last_id_};
    ref->session = session.get();
    ref->data = governor->put(ByteView(std::string_view(text)));
    return ref;
  }
  TaskRef task(const SessionRef& session, std::vector<ObjectRef> inputs = {}, bool kept = true) {
    TaskRef ref(new TaskRecord);
    ref->id = {session->id, ++last_id_};
    ref->session = session.get();
    const auto method = governor->intern_method("there/work");
    ref->type = method.type;
    ref->method = method.method;
    ref->inputs = std::move(inputs);
    ObjectRef output(new ObjectRecord);
    output->id = {session->id, ++last_id_};
    output->session = session.get();
    output->kept = kept;
    output->producer = ref.get();
    ref->outputs.push_back(output);
    return ref;
  }
  static ObjectRef out(const TaskRef& task) { return task->outputs[0]; }
  std::shared_ptr<const remote::Submission> submit(const SessionRef& session,
                                                   const std::vector<TaskRef>& tasks,
                                                   const std::vector<ObjectRef>& objects = {}) {
    governor->submit(session, tasks, objects);
    const auto submitted = only<remote::Submitted>(outgoing->take());
    return submitted.empty() ? nullptr : submitted.at(0).submission;
  }

  static TaskUpdate finished(const TaskRef& task, std::uint64_t size = 100'000) {
    TaskUpdate update;
    update.id = task->id.id;
    update.run_time = std::chrono::milliseconds(3);
    update.pid = 4711;
    update.executor = 5;
    update.attempts = 2;
    for (const auto& output : task->outputs) {
      update.outputs.emplace_back();
      update.outputs.back().id = output->id.id;
      update.outputs.back().size_bytes = size;
    }
    return update;
  }
  static TaskUpdate small(const TaskRef& task, std::string content) {
    TaskUpdate update = finished(task, content.size());
    update.outputs[0].content = std::move(content);
    return update;
  }
  static TaskUpdate failed(const TaskRef& task) {
    TaskUpdate update;
    update.id = task->id.id;
    update.state = TaskState::failed;
    graph::Failure failure;
    failure.origin = {99, task->id.id};  // in the session that it had there
    failure.message = "it broke there";
    failure.attempts = {{graph::FailureKind::task, "it broke there", {}, 4711, {}}};
    update.failure = std::make_shared<const graph::Failure>(failure);
    return update;
  }
  void apply(const SessionRef& session, std::vector<TaskUpdate> ends) {
    governor->apply_updates(session->id, {std::move(ends), {}});
  }
  void start(const SessionRef& session, const std::vector<TaskRef>& tasks) {
    remote::Updates updates;
    for (const auto& task : tasks) updates.started.push_back(task->id.id);
    governor->apply_updates(session->id, std::move(updates));
  }
  std::string text(const ObjectRef& object) {
    const auto view = governor->view(object);
    return view ? std::string(view->bytes.text()) : "<nothing>";
  }

  std::unique_ptr<Governor> governor;
  std::shared_ptr<remote::Outgoing> outgoing;

 private:
  std::int32_t last_id_ = 9;
};

TEST_F(MirrorTest, says_what_is_opened_submitted_and_closed_in_order) {
  const auto s = governor->new_session("first", OnError::continue_);
  pollfd ready{outgoing->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 0), 1);
  const auto a = task(s);
  governor->submit(s, {a}, {});
  governor->close_session(s);
  const auto notes = outgoing->take();
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_EQ(std::get<remote::Opened>(notes[0]).name, "first");
  EXPECT_TRUE(std::get<remote::Opened>(notes[0]).continue_on_error);
  const auto& submission = *std::get<remote::Submitted>(notes[1]).submission;
  EXPECT_EQ(submission.session, s);
  EXPECT_EQ(submission.tasks, std::vector<TaskRef>{a});
  EXPECT_EQ(submission.methods->name(a->method), "there/work");
  EXPECT_EQ(std::get<remote::Closed>(notes[2]).session, s->id);
  EXPECT_EQ(::poll(&ready, 1, 0), 0);
  EXPECT_TRUE(outgoing->take().empty());
  EXPECT_TRUE(governor->executor_pids().empty());
}

TEST_F(MirrorTest, a_chain_finishes_in_whatever_order_its_updates_come) {
  const auto s = session();
  const auto a = task(s, {}, false), b = task(s, {out(a)}, false), c = task(s, {out(b)});
  submit(s, {a, b, c});
  apply(s, {small(c, "result"), finished(b)});
  EXPECT_EQ(c->state, TaskState::waiting);
  EXPECT_EQ(s->unfinished_tasks, 3u);
  apply(s, {finished(a)});
  EXPECT_EQ(c->state, TaskState::finished);
  EXPECT_EQ(governor->wait({a, b, c}, {}, {}), Governor::Wait::done);
  EXPECT_EQ(text(out(c)), "result");
  EXPECT_EQ(governor->late_updates(), 0u);
  EXPECT_TRUE(outgoing->take().empty());
}

TEST_F(MirrorTest, a_task_that_runs_there_is_assigned_here) {
  const auto s = session();
  const auto a = task(s, {}, false), b = task(s, {out(a)}), c = task(s);
  submit(s, {a, b, c});
  start(s, {a});
  EXPECT_EQ(a->state, TaskState::assigned);
  EXPECT_EQ(c->state, TaskState::ready);
  start(s, {a, a});  // of a governor that has it now
  EXPECT_EQ(a->state, TaskState::assigned);
  const auto counts = governor->progress(s, 0).total;
  EXPECT_EQ(counts[static_cast<std::size_t>(TaskState::assigned)], 1u);
  const std::vector<TaskRef> not_here{a, c};
  governor->cancel_unsent(not_here);
  EXPECT_EQ(a->state, TaskState::assigned);
  EXPECT_EQ(c->state, TaskState::cancelled);
  apply(s, {finished(a)});
  start(s, {a, c});
  EXPECT_EQ(a->state, TaskState::finished);
  EXPECT_EQ(c->state, TaskState::cancelled);
  EXPECT_EQ(governor->late_updates(), 0u);
  start(s, {b});
  governor->lose("the server is gone");
  EXPECT_EQ(b->state, TaskState::failed);
}

TEST_F(MirrorTest, a_start_waits_for_the_inputs_and_an_end_is_stronger) {
  const auto s = session(OnError::continue_);
  const auto a = task(s, {}, false), b = task(s, {out(a)}, false), c = task(s, {out(a)}),
             d = task(s, {out(b)}), e = task(s, {out(a)});
  submit(s, {a, b, c, d, e});
  start(s, {b, c, d, e});
  apply(s, {finished(c)});
  start(s, {c});
  governor->cancel({e});
  EXPECT_EQ(b->state, TaskState::waiting);
  apply(s, {finished(a)});
  EXPECT_EQ(b->state, TaskState::assigned);
  EXPECT_EQ(c->state, TaskState::finished);
  EXPECT_EQ(d->state, TaskState::waiting);
  EXPECT_EQ(e->state, TaskState::cancelled);
  remote::Updates both{{finished(b)}, {d->id.id}};
  governor->apply_updates(s->id, std::move(both));
  EXPECT_EQ(b->state, TaskState::finished);
  EXPECT_EQ(d->state, TaskState::assigned);
}

TEST_F(MirrorTest, wakes_who_waits) {
  const auto s = session();
  const auto a = task(s);
  submit(s, {a});
  std::thread there([&] { apply(s, {finished(a)}); });
  while (governor->wait({a}, {}, {}) != Governor::Wait::done) {
  }
  there.join();
  EXPECT_EQ(a->state, TaskState::finished);
}

TEST_F(MirrorTest, what_comes_late_is_counted_and_changes_nothing) {
  const auto s = session();
  const auto a = task(s), b = task(s);
  submit(s, {a, b});
  apply(s, {small(a, "one"), small(a, "two"), failed(a)});
  apply(s, {small(a, "three")});
  EXPECT_EQ(text(out(a)), "one");
  EXPECT_EQ(governor->late_updates(), 3u);
  governor->cancel({b});
  apply(s, {finished(b)});
  EXPECT_EQ(b->state, TaskState::cancelled);
  governor->close_session(s);
  apply(s, {finished(b)});
  EXPECT_EQ(governor->late_updates(), 5u);
}

TEST_F(MirrorTest, a_failure_there_ends_the_rest_here_and_the_rest_is_told) {
  const auto s = session();
  const auto a = task(s), b = task(s, {out(a)}), c = task(s), d = task(s);
  submit(s, {a, b, c, d});
  out(d)->lent = true;  // as of all kept outputs, once they are on their way
  apply(s, {small(d, "made"), failed(a)});
  EXPECT_EQ(a->state, TaskState::failed);
  EXPECT_EQ(a->failure->origin, a->id);
  EXPECT_EQ(a->failure->attempts.at(0).pid, 4711);
  EXPECT_EQ(governor->failure(s)->message, "it broke there");
  EXPECT_EQ(b->state, TaskState::cancelled);
  const auto notes = outgoing->take();
  auto told = only<remote::Cancelled>(notes).at(0).tasks;
  std::sort(told.begin(), told.end());
  EXPECT_EQ(told, (Ids{b->id.id, c->id.id}));
  EXPECT_EQ(only<remote::Unkept>(notes).at(0).objects, Ids{out(d)->id.id});
}

TEST_F(MirrorTest, with_continue_dependants_are_aborted_and_told) {
  const auto s = session(OnError::continue_);
  const auto a = task(s), b = task(s, {out(a)}), c = task(s);
  submit(s, {a, b, c});
  apply(s, {finished(b), failed(a)});  // from before b's input was lost there
  EXPECT_EQ(b->state, TaskState::aborted);
  EXPECT_EQ(only<remote::Cancelled>(outgoing->take()).at(0).tasks, Ids{b->id.id});
  apply(s, {finished(c)});
  EXPECT_EQ(c->state, TaskState::finished);
}

TEST_F(MirrorTest, what_was_cancelled_there_is_not_told_back) {
  const auto s = session(OnError::continue_);
  const auto a = task(s), b = task(s);
  submit(s, {a, b});
  TaskUpdate stopped = failed(a);
  stopped.state = TaskState::cancelled;
  TaskUpdate without_reason;
  without_reason.id = b->id.id;
  without_reason.state = TaskState::aborted;
  apply(s, {stopped, without_reason});
  EXPECT_EQ(a->state, TaskState::cancelled);
  EXPECT_EQ(b->state, TaskState::aborted);
  ASSERT_TRUE(b->failure);
  EXPECT_TRUE(outgoing->take().empty());
  governor->cancel({a, b});
  EXPECT_TRUE(outgoing->take().empty());
}

TEST_F(MirrorTest, what_is_aborted_there_waits_for_its_cause) {
  const auto s = session(OnError::continue_);
  const auto a = task(s), b = task(s, {out(a)}), c = task(s), d = task(s, {out(c)});
  submit(s, {a, b, c, d});
  const auto aborted = [&](const TaskRef& task) {
    TaskUpdate update = failed(task);
    update.state = TaskState::aborted;
    return update;
  };
  apply(s, {aborted(b), aborted(d)});
  EXPECT_EQ(b->state, TaskState::waiting);
  apply(s, {failed(a)});
  EXPECT_EQ(b->state, TaskState::aborted);
  EXPECT_EQ(b->failure->origin, a->id);
  apply(s, {finished(c)});  // that it then failed when it ran again is not told
  EXPECT_EQ(d->state, TaskState::aborted);
}

TEST_F(MirrorTest, a_session_that_may_not_go_on_fails_with_what_is_aborted_there) {
  const auto s = session();
  const auto a = task(s), b = task(s, {out(a)}), c = task(s);
  submit(s, {a, b, c});
  TaskUpdate aborted = failed(b);
  aborted.state = TaskState::aborted;
  apply(s, {finished(a), aborted});
  EXPECT_EQ(b->state, TaskState::failed);
  EXPECT_EQ(governor->failure(s)->message, "it broke there");
  EXPECT_EQ(c->state, TaskState::cancelled);
  EXPECT_EQ(only<remote::Cancelled>(outgoing->take()).at(0).tasks, Ids{c->id.id});
}

TEST_F(MirrorTest, what_a_cancelled_task_may_have_made_is_unkept) {
  const auto s = session();
  const auto a = task(s);
  submit(s, {a});
  out(a)->lent = true;
  governor->cancel({a});
  EXPECT_EQ(only<remote::Unkept>(outgoing->take()).at(0).objects, Ids{out(a)->id.id});
  apply(s, {failed(a)});  // before it was cancelled there
  EXPECT_EQ(a->state, TaskState::cancelled);
  EXPECT_FALSE(s->failed);
}

TEST_F(MirrorTest, cancel_is_told_and_the_session_lives) {
  const auto s = session(OnError::continue_);
  const auto a = task(s), b = task(s);
  submit(s, {a, b});
  governor->cancel({a});
  EXPECT_EQ(only<remote::Cancelled>(outgoing->take()).at(0).tasks, Ids{a->id.id});
  apply(s, {finished(b)});
  EXPECT_EQ(b->state, TaskState::finished);
}

TEST_F(MirrorTest, constants_go_out_with_each_submit_that_takes_them_and_are_let_go) {
  const auto s = session();
  const auto big = constant(s, std::string(100'000, 'b')), little = constant(s, "little");
  const auto a = task(s, {big, little});
  auto first = submit(s, {a}, {big, little});
  ASSERT_EQ(first->constants.size(), 2u);
  EXPECT_EQ(first->constants.at(little->id.id)->bytes().text(), "little");
  const auto b = task(s, {big, out(a)});
  const auto second = submit(s, {b});
  ASSERT_EQ(second->constants.size(), 1u);
  EXPECT_EQ(second->constants.at(big->id.id)->size_bytes, 100'000u);
  apply(s, {finished(a)});
  EXPECT_TRUE(only<remote::Unkept>(outgoing->take()).empty());
  apply(s, {finished(b)});
  EXPECT_EQ(only<remote::Unkept>(outgoing->take()).at(0).objects, Ids{big->id.id});
}

TEST_F(MirrorTest, what_is_here_is_held_elsewhere_only_for_those_that_wait_for_it) {
  const auto s = session();
  const auto a = task(s), b = task(s), c = task(s, {out(b)});
  submit(s, {a, b, c});
  for (const auto& lent : {a, b, c}) out(lent)->lent = true;
  apply(s, {small(a, "of a"), small(b, "of b")});
  EXPECT_EQ(only<remote::Unkept>(outgoing->take()).at(0).objects, Ids{out(a)->id.id});
  EXPECT_EQ(text(out(a)) + text(out(b)), "of aof b");
  const auto d = task(s, {out(a), out(b)});
  const auto second = submit(s, {d});
  ASSERT_EQ(second->constants.size(), 1u);
  EXPECT_EQ(second->constants.at(out(a)->id.id)->bytes().text(), "of a");
  apply(s, {finished(c), finished(d)});
  governor->unkeep({out(a), out(b)});
  EXPECT_EQ(only<remote::Unkept>(outgoing->take()).at(0).objects, Ids{out(b)->id.id});
}

TEST_F(MirrorTest, what_was_lent_is_unkept_once_when_nobody_needs_it) {
  const auto s = session();
  const auto a = task(s), b = task(s, {out(a)}, false), c = task(s), d = task(s, {}, false);
  submit(s, {a, b, c, d});
  for (const auto& lent : {a, c, d}) out(lent)->lent = true;  // d's: for a task of another part
  governor->unkeep({out(a), out(c)});
  EXPECT_TRUE(outgoing->take().empty());
  apply(s, {finished(a), finished(c)});
  EXPECT_EQ(only<remote::Unkept>(outgoing->take()).at(0).objects, Ids{out(c)->id.id});
  apply(s, {finished(b), finished(d)});
  EXPECT_EQ(only<remote::Unkept>(outgoing->take()).at(0).objects,
            (Ids{out(a)->id.id, out(d)->id.id}));
  governor->unkeep({out(a), out(b), out(c), out(d)});
  EXPECT_TRUE(outgoing->take().empty());
}

TEST_F(MirrorTest, tasks_go_out_producers_first) {
  const auto s = session();
  const auto a = task(s), b = task(s);
  a->inputs.push_back(out(b));  // given after its creation
  EXPECT_EQ(submit(s, {a, b})->tasks, (std::vector<TaskRef>{b, a}));
}

TEST_F(MirrorTest, data_are_viewed_once_they_were_supplied) {
  const auto s = session();
  const auto a = task(s), b = task(s);
  submit(s, {a, b});
  const std::string bytes(100'000, 'x');
  apply(s, {finished(a, bytes.size()), small(b, "little")});
  EXPECT_FALSE(governor->view(out(a)));
  EXPECT_EQ(governor->data_size(out(a)), bytes.size());
  EXPECT_EQ(governor->remote_objects({out(a), out(b)}),
            std::vector<graph::DataObjectId>{out(a)->id});
  governor->supply(out(a)->id, governor->put(ByteView(std::string_view(bytes))));
  EXPECT_EQ(text(out(a)), bytes);
  EXPECT_TRUE(governor->remote_objects({out(a), out(b)}).empty());
  // Nobody asked for it, or the session is closed: ignored.
  governor->supply(out(b)->id, governor->put(ByteView(std::string_view("other"))));
  EXPECT_EQ(text(out(b)), "little");
  governor->close_session(s);
  governor->supply(out(a)->id, governor->put(ByteView(std::string_view(bytes))));
  EXPECT_EQ(governor->store_usage().blobs_bytes, 0u);
}

TEST_F(MirrorTest, a_directory_is_taken_over) {
  const auto s = session();
  const auto a = task(s);
  submit(s, {a});
  TaskUpdate update = finished(a, 5);
  update.outputs[0].is_directory = true;
  apply(s, {update});
  ASSERT_EQ(governor->remote_objects({out(a)}).size(), 1u);
  EXPECT_THROW(governor->supply(out(a)->id, governor->put(ByteView(std::string_view("bytes")))),
               tasklib::base::ProtocolError);
  ASSERT_EQ(governor->remote_objects({out(a)}).size(), 1u);
  const std::string path = governor->run_directory() + "/came";
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  std::ofstream(path + "/file") << "bytes";
  governor->supply(out(a)->id, governor->take_directory(path));
  const auto view = governor->view(out(a));
  ASSERT_TRUE(view && view->directory);
  EXPECT_EQ(::access((view->path + "/file").c_str(), R_OK), 0);
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST_F(MirrorTest, copies_that_nobody_looks_at_make_room_for_others) {
  constexpr std::uint64_t kSize = 24u << 20;
  const auto s = session();
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 8; ++i) tasks.push_back(task(s));
  submit(s, tasks);
  for (const auto& each : tasks) apply(s, {finished(each, kSize)});
  for (const auto& each : tasks) {
    ASSERT_EQ(governor->remote_objects({out(each)}).size(), 1u);
    governor->supply(out(each)->id, governor->allocate(kSize).data);
    EXPECT_EQ(governor->view(out(each))->size_bytes, kSize);
  }
  EXPECT_EQ(governor->remote_objects({out(tasks[0])}).size(), 1u);
  // What is being looked at stays.
  governor->supply(out(tasks[0])->id, governor->allocate(kSize).data);
  const auto first = governor->view(out(tasks[0]));
  for (int i = 1; i < 4; ++i) {
    if (governor->remote_objects({out(tasks[i])}).empty()) continue;
    governor->supply(out(tasks[i])->id, governor->allocate(kSize).data);
    governor->view(out(tasks[i]));
  }
  EXPECT_TRUE(governor->remote_objects({out(tasks[0])}).empty());
}

TEST_F(MirrorTest, wrong_updates_are_refused) {
  const auto s = session();
  const auto a = task(s);
  submit(s, {a});
  TaskUpdate none = finished(a);
  none.outputs.clear();
  EXPECT_THROW(apply(s, {none}), tasklib::base::ProtocolError);
  TaskUpdate other = finished(a);
  other.outputs[0].id = 77;
  EXPECT_THROW(apply(s, {other}), tasklib::base::ProtocolError);
  TaskUpdate running = finished(a);
  running.state = TaskState::assigned;
  EXPECT_THROW(apply(s, {running}), tasklib::base::ProtocolError);
  TaskUpdate silent = failed(a);
  silent.failure = nullptr;
  EXPECT_THROW(apply(s, {silent}), tasklib::base::ProtocolError);
  EXPECT_EQ(a->state, TaskState::ready);
}

TEST_F(MirrorTest, reports_say_who_ran_the_task_and_progress_what_there_is) {
  const auto s = session();
  const auto a = task(s), b = task(s, {out(a)});
  governor->record_reports(true);
  submit(s, {a, b});
  auto progress = governor->progress(s, 1);
  EXPECT_EQ(progress.total[static_cast<std::size_t>(TaskState::ready)], 1u);
  apply(s, {finished(b), finished(a, 7)});
  progress = governor->progress(s, 1);
  EXPECT_EQ(progress.total[static_cast<std::size_t>(TaskState::finished)], 2u);
  const auto reports = governor->take_reports();
  ASSERT_EQ(reports.size(), 2u);
  for (const auto& report : reports) {
    EXPECT_EQ(report.pid, 4711);
    EXPECT_EQ(report.executor, 5u);
    EXPECT_EQ(report.attempts, 2u);
    EXPECT_EQ(report.executor_type, "there");
    EXPECT_NEAR(report.run_seconds, 0.003, 1e-9);
  }
  EXPECT_EQ(reports[1].input_bytes, 7u);
}

TEST_F(MirrorTest, what_a_task_said_is_there) {
  const auto s = session();
  const auto a = task(s);
  submit(s, {a});
  TaskUpdate update = small(a, "{}");
  update.info.debug = "said";
  update.info.governor = "east:1";
  update.printed = {0, 4, 0, 0};
  update.stdout_path = "/there/stdout";
  update.outputs[0].info.content_type = "json";
  apply(s, {update});
  ASSERT_TRUE(result_of(*a));
  EXPECT_EQ(result_of(*a)->debug, "said");
  EXPECT_EQ(result_of(*a)->governor, "east:1");
  EXPECT_EQ(static_cast<const TaskResult&>(*a->result).stdout_path, "/there/stdout");
  ASSERT_TRUE(result_of(*out(a)));
  EXPECT_EQ(result_of(*out(a))->content_type, "json");
  EXPECT_EQ(result_of(*out(a))->size, 2u);
}

TEST_F(MirrorTest, a_lost_connection_fails_everything) {
  const auto s = session();
  const auto a = task(s);
  submit(s, {a});
  governor->lose("the service at /run/x ended");
  EXPECT_EQ(a->failure->message, "the service at /run/x ended");
  EXPECT_EQ(a->failure->kind, graph::FailureKind::connection);
  const auto later = session();
  const auto b = task(later);
  EXPECT_EQ(submit(later, {b}), nullptr);
  EXPECT_EQ(b->state, TaskState::failed);
  EXPECT_EQ(governor->wait({a, b}, {}, {}), Governor::Wait::done);
}

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(MirrorTest, writes_a_call_of_inputs_that_are_here) {
  const auto s = session(OnError::continue_);
  const auto made = task(s), other = task(s, {}, false);
  const auto given = constant(s, std::string(20'000, 'c'));
  const auto good = task(s, {given, out(made)}), bad = task(s, {given, out(other)});
  submit(s, {made, other, good, bad}, {given});
  apply(s, {finished(made, 5), finished(other)});
  apply(s, {failed(good), failed(bad)});
  std::string place = ::testing::TempDir() + "mirror-XXXXXX";
  ASSERT_NE(::mkdtemp(place.data()), nullptr);
  const auto refusal = [&](const TaskRef& of) -> std::string {
    try {
      governor->write_call(of, place);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(refusal(bad).find("input 1 of task " + bad->id.to_string()), std::string::npos);
  EXPECT_NE(refusal(bad).find("keep()"), std::string::npos) << refusal(bad);
  EXPECT_NE(refusal(good), "") << "nobody has fetched it";
  ASSERT_EQ(governor->remote_objects({out(made)}).size(), 1u);
  governor->supply(out(made)->id, governor->put(ByteView(std::string_view("fetch"))));
  EXPECT_EQ(refusal(good), "");
  EXPECT_EQ(content(place + "/inputs/0"), std::string(20'000, 'c'));
  EXPECT_EQ(content(place + "/inputs/1"), "fetch");
  EXPECT_NE(content(place + "/call"), "");
  std::filesystem::remove_all(place);
}

TEST_F(MirrorTest, refuses_what_only_an_engine_that_runs_tasks_can_do) {
  const auto s = session();
  const auto a = task(s);
  submit(s, {a});
  apply(s, {failed(a)});
  EXPECT_THROW(governor->learn_tasks("there", {}), UsageError);
  EXPECT_THROW(governor->intern_method("elsewhere/work"), UsageError);
  EXPECT_THROW(governor->intern_method("buildin/nonsense"), UsageError);
  EXPECT_NO_THROW(governor->intern_method("buildin/concat"));
}

TEST(PlainGovernorTest, is_no_mirror) {
  GovernorOptions options;
  options.launcher_program = RAIN_LAUNCHER;
  Governor governor(options);
  EXPECT_THROW(governor.outgoing(), UsageError);
  EXPECT_THROW(governor.apply_updates(1, {}), UsageError);
  EXPECT_THROW(governor.lose("gone"), UsageError);
  EXPECT_TRUE(governor.remote_objects({}).empty());
}

TEST(LiveTasksTest, finds_what_was_added_and_not_removed) {
  LiveTasks tasks;
  std::vector<std::unique_ptr<TaskRecord>> records;
  for (const std::int32_t id : {10, 11, 511, 512, 100'000, -7}) {
    records.push_back(std::make_unique<TaskRecord>());
    records.back()->id = {1, id};
    tasks.add(*records.back());
  }
  for (const auto& each : records) EXPECT_EQ(tasks.find(each->id.id), each.get());
  EXPECT_EQ(tasks.find(12), nullptr);
  EXPECT_EQ(tasks.find(1'000'000), nullptr);
  for (const auto& each : records) {
    tasks.remove(each->id.id);
    EXPECT_EQ(tasks.find(each->id.id), nullptr);
    tasks.remove(each->id.id);
  }
}

}  // namespace
}  // namespace rain
