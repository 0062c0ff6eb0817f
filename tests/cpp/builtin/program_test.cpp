#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/errors.h"
#include "fixture.h"

namespace rain::builtin {
namespace {

namespace fs = std::filesystem;

struct In {
  std::string path;
  bool write = false;
};

RawValue run_config(const std::vector<std::string>& args, const std::vector<In>& in_paths = {},
                    const std::vector<std::string>& out_paths = {}) {
  RawValue raw;
  Writer writer(raw);
  writer.map(3);
  writer.text("args");
  writer.array(args.size());
  for (const auto& arg : args) writer.text(arg);
  writer.text("in_paths");
  writer.array(in_paths.size());
  for (const auto& in : in_paths) {
    writer.map(2);
    writer.text("path");
    writer.text(in.path);
    writer.text("write");
    writer.boolean(in.write);
  }
  writer.text("out_paths");
  writer.array(out_paths.size());
  for (const auto& path : out_paths) writer.text(path);
  return raw;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ProgramTest : public BuiltinTest {
 protected:
  /// What /bin/sh makes of the script, with stdout as the output.
  std::string sh(const std::string& script, std::vector<ObjectRef> inputs = {},
                 const std::vector<In>& in_paths = {}) {
    auto out = object();
    auto done = run("buildin/run", std::move(inputs),
                    run_config({"/bin/sh", "-c", script}, in_paths, {"+out"}), {out});
    return error(done).empty() ? text(out) : "error: " + error(done);
  }
  std::string sh_error(const std::string& script, std::vector<ObjectRef> inputs = {},
                       const std::vector<In>& in_paths = {},
                       const std::vector<std::string>& out_paths = {},
                       std::vector<ObjectRef> outputs = {}) {
    return error(run("buildin/run", std::move(inputs),
                     run_config({"/bin/sh", "-c", script}, in_paths, out_paths),
                     std::move(outputs)));
  }
  TaskRef start_sh(const std::string& script) {
    auto one = task("buildin/run", {}, run_config({"/bin/sh", "-c", script}), {});
    submit({one});
    return one;
  }
  /// A kept directory {a: "1", d/b: "22"}.
  ObjectRef directory() {
    auto out = object(DataType::directory);
    auto made = run(
        "buildin/run", {},
        run_config({"/bin/sh", "-c", "mkdir -p o/d; printf 1 >o/a; printf 22 >o/d/b"}, {}, {"o"}),
        {out});
    EXPECT_EQ(error(made), "");
    return out;
  }
  std::string path(const ObjectRef& object) { return governor->view(object)->path; }
  /// Whether all sandboxes are empty.
  bool left_nothing() {
    for (const auto& entry : fs::directory_iterator(governor->run_directory() + "/programs")) {
      const fs::path work = entry.path() / "work";
      if (fs::exists(work) && !fs::is_empty(work)) return false;
    }
    return true;
  }
  /// Processes with `mark` in their command line.
  static int count_processes(const std::string& mark) {
    int count = 0;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      if (read(entry.path() / "cmdline").find(mark) != std::string::npos) ++count;
    }
    return count;
  }
  template <class Condition>
  static bool wait_for(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < end) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return condition();
  }
};

TEST_F(ProgramTest, runs_a_program_from_the_path_in_an_empty_directory_of_its_own) {
  auto out = object();
  EXPECT_EQ(error(run("buildin/run", {}, run_config({"ls", "-A"}, {}, {"+out"}), {out})), "");
  EXPECT_EQ(text(out), "");
  EXPECT_EQ(sh("pwd").rfind(governor->run_directory() + "/programs/", 0), 0u);
  EXPECT_EQ(sh("cat"), "");  // stdin is empty
  EXPECT_TRUE(left_nothing());
}

TEST_F(ProgramTest, takes_stdin_stdout_and_stderr) {
  auto out = object(), err = object();
  auto done =
      run("buildin/run", {constant("b\na\n")},
          run_config({"/bin/sh", "-c", "sort; echo to err >&2"}, {{"+in"}}, {"+out", "+err"}),
          {out, err});
  EXPECT_EQ(error(done), "");
  EXPECT_EQ(text(out), "a\nb\n");
  EXPECT_EQ(text(err), "to err\n");
}

TEST_F(ProgramTest, inputs_of_every_size_are_read_only_files_at_their_paths) {
  const std::string large(300'000, 'x');
  EXPECT_EQ(sh("cat a; cat deep/er/b | wc -c; stat -c %A a deep/er/b",
               {constant("small "), constant(large)}, {{"a"}, {"deep/er/b"}}),
            "small 300000\n-r--------\n-r--------\n");
  EXPECT_TRUE(left_nothing());
}

TEST_F(ProgramTest, write_gives_a_copy_that_can_be_changed) {
  auto data = constant(std::string(100'000, 'x'));
  data->kept = true;
  EXPECT_EQ(sh("echo more >>f; wc -c <f", {data}, {{"f", true}}), "100005\n");
  EXPECT_EQ(text(data), std::string(100'000, 'x'));
}

TEST_F(ProgramTest, outputs_are_files_of_every_size_and_keep_x_bits) {
  auto small = object(), large = object(), tool = object(), empty = object();
  auto done = run("buildin/run", {},
                  run_config({"/bin/sh", "-c",
                              "printf s >s; head -c 200000 /dev/zero >l; : >e; mkdir d; "
                              "printf '#!/bin/sh\\necho works' >d/t; chmod +x d/t"},
                             {}, {"s", "l", "d/t", "e"}),
                  {small, large, tool, empty});
  ASSERT_EQ(error(done), "");
  EXPECT_EQ(text(small), "s");
  EXPECT_EQ(text(large), std::string(200'000, '\0'));
  EXPECT_EQ(text(empty), "");
  EXPECT_EQ(sh("./tool", {tool}, {{"tool"}}), "works\n");
  EXPECT_TRUE(left_nothing());
}

TEST_F(ProgramTest, an_input_may_be_an_output) {
  auto data = constant(std::string(100'000, 'x'));
  data->kept = true;
  auto moved = object(), linked = object();
  auto done = run(
      "buildin/run", {data},
      run_config({"/bin/sh", "-c", "ln -s in l; mv in out; ln -s out in"}, {{"in"}}, {"out", "l"}),
      {moved, linked});
  EXPECT_EQ(error(done), "Path 'l' now found.");  // it was moved as `out`
  auto same = object();
  done =
      run("buildin/run", {data}, run_config({"/bin/ln", "-s", "in", "l"}, {{"in"}}, {"l"}), {same});
  ASSERT_EQ(error(done), "");
  EXPECT_EQ(text(same), std::string(100'000, 'x'));
  EXPECT_EQ(text(data), std::string(100'000, 'x'));
}

TEST_F(ProgramTest, directories_go_in_and_out) {
  auto tree = directory();
  EXPECT_EQ(tree->data->size_bytes, 3u);
  EXPECT_EQ(read(path(tree) + "/d/b"), "22");
  EXPECT_EQ(sh("cat x/in/a x/in/d/b; touch x/in/new && ls x/in", {tree}, {{"x/in"}}),
            "122a\nd\nnew\n");
  EXPECT_EQ(sh("echo 3 >>w/a; cat w/a", {tree}, {{"w", true}}), "13\n");
  EXPECT_EQ(read(path(tree) + "/a"), "1");
  EXPECT_FALSE(fs::exists(path(tree) + "/new"));
  auto again = object(DataType::directory), empty = object(DataType::directory);
  auto done = run(
      "buildin/run", {tree},
      run_config({"/bin/sh", "-c", "mkdir e; mv in/d in/moved; mv in out"}, {{"in"}}, {"out", "e"}),
      {again, empty});
  ASSERT_EQ(error(done), "");
  EXPECT_EQ(read(path(again) + "/moved/b"), "22");
  EXPECT_EQ(read(path(tree) + "/d/b"), "22");
  EXPECT_TRUE(fs::is_empty(path(empty)));
  EXPECT_TRUE(left_nothing());
}

TEST_F(ProgramTest, failures_say_code_signal_and_the_tail_of_stderr) {
  EXPECT_EQ(sh_error("echo oops >&2; exit 3"), "Program exit with exit code 3\nStderr: oops\n\n");
  EXPECT_EQ(sh_error("echo bye >&2; kill -SEGV $$")
                .rfind("Program terminated by signal\nStderr: bye\n", 0),
            0u);
  EXPECT_NE(sh_error("kill -SEGV $$").find("SIGSEGV"), std::string::npos);
  const std::string text = sh_error("head -c 100000000 /dev/zero >&2; echo last >&2; exit 1");
  EXPECT_LT(text.size(), 100'000u);
  EXPECT_EQ(text.substr(text.size() - 6), "last\n\n");
  EXPECT_TRUE(left_nothing());
}

TEST_F(ProgramTest, programs_that_cannot_be_started_are_named) {
  const auto start_error = [&](const std::string& program) {
    return error(run("buildin/run", {}, run_config({program}), {}));
  };
  EXPECT_EQ(start_error("no-such-program"),
            "Program 'no-such-program' failed: \"No such file or directory\"; it is not in the "
            "PATH");
  EXPECT_NE(start_error("/etc/passwd").find("Program '/etc/passwd' failed: \"Permission denied\""),
            std::string::npos);
  EXPECT_NE(start_error(std::string(300'000, 'x')).find("the limit is"), std::string::npos);
  EXPECT_EQ(sh("echo on"), "on\n");
}

TEST_F(ProgramTest, outputs_that_are_not_there_or_lead_outside_are_named) {
  EXPECT_EQ(sh_error("true", {}, {}, {"gone"}, {object()}), "Path 'gone' now found.");
  EXPECT_EQ(sh_error("ln -s /etc/passwd l", {}, {}, {"l"}, {object()}),
            "Path 'l' leads outside of the directory, to '/etc/passwd'");
  EXPECT_NE(sh_error("ln -s /etc l", {}, {}, {"l"}, {object(DataType::directory)})
                .find("Path 'l' leads outside of the directory, to '/etc'"),
            std::string::npos);
  EXPECT_NE(sh_error("mkdir d; ln -s /etc d/l", {}, {}, {"d"}, {object(DataType::directory)})
                .find("d/l' is a symbolic link to '/etc'"),
            std::string::npos);
  EXPECT_NE(sh_error("mkfifo p", {}, {}, {"p"}, {object()}).find("neither"), std::string::npos);
  EXPECT_EQ(sh_error("mkdir d", {}, {}, {"d"}, {object(DataType::blob, "o")}),
            "Output 'o' (content_type=) expects type blob, but dir is provided");
  EXPECT_EQ(sh_error("touch f", {}, {}, {"f"}, {object(DataType::directory, "o")}),
            "Output 'o' (content_type=) expects type dir, but blob is provided");
  EXPECT_EQ(sh_error("true", {}, {}, {}, {object()}), "Some of outputs were not produced");
  EXPECT_NE(sh_error("true", {}, {}, {"."}, {object(DataType::directory)}).find("Path '.'"),
            std::string::npos);
  EXPECT_TRUE(left_nothing());
}

TEST_F(ProgramTest, paths_outside_of_the_sandbox_and_collisions_are_refused) {
  EXPECT_EQ(sh_error("true", {constant("")}, {{"/etc/x"}}), "Path '/etc/x' is not relative");
  EXPECT_NE(sh_error("true", {constant("")}, {{"a/../../x"}}).find("contains '..'"),
            std::string::npos);
  EXPECT_EQ(sh_error("true", {}, {}, {"/etc/passwd"}, {object()}),
            "Path '/etc/passwd' is not relative");
  EXPECT_NE(sh_error("true", {}, {}, {"../err"}, {object()}).find("contains '..'"),
            std::string::npos);
  auto first = constant("1"), second = constant("2");
  auto colliding =
      task("buildin/run", {first, second}, run_config({"true"}, {{"a/b"}, {"./a//b"}}), {});
  static_cast<TaskAnnex&>(*colliding->annex).input_labels = {"one", "two"};
  submit({colliding});
  wait({colliding});
  EXPECT_EQ(error(colliding),
            "Path './a//b' of input 'two' collides with path 'a/b' of input 'one': give each input "
            "a path of its own");
  EXPECT_NE(sh_error("true", {constant("1"), constant("2")}, {{"a/b"}, {"a"}}).find("collides"),
            std::string::npos);
}

TEST_F(ProgramTest, configs_of_wrong_shape_are_refused) {
  EXPECT_EQ(error(run("buildin/run", {}, {}, {})),
            "Task config is empty, but non-empty config is expected");
  EXPECT_EQ(error(run("buildin/run", {}, string("x"), {})).rfind("Cannot parse task config: ", 0),
            0u);
  EXPECT_EQ(error(run("buildin/run", {}, run_config({}), {})), "Arguments are empty");
  EXPECT_NE(error(run("buildin/run", {constant("")}, run_config({"true"}), {})).find("in_paths"),
            std::string::npos);
}

TEST_F(ProgramTest, programs_see_the_clients_environment_without_what_executors_read) {
  ::setenv("RAIN_TEST_INHERITED", "yes", 1);
  ::setenv("RAIN_EXECUTOR_SOCKET", "/surrounding", 1);
  start();
  EXPECT_EQ(sh("env | grep -E '^RAIN_(EXECUTOR|PROGRAM|TEST_INHERITED)' | cut -d= -f1 | sort"),
            "RAIN_PROGRAM\nRAIN_TEST_INHERITED\n");
  ::unsetenv("RAIN_TEST_INHERITED");
  ::unsetenv("RAIN_EXECUTOR_SOCKET");
}

TEST_F(ProgramTest, what_a_program_leaves_running_ends_with_it) {
  const std::string mark = "3" + std::to_string(::getpid());
  EXPECT_EQ(sh_error("setsid sleep " + mark + " & (setsid sh -c 'sleep " + mark + " & sleep " +
                     mark + "' &) ; sleep " + mark + " & true"),
            "");
  EXPECT_EQ(count_processes("sleep" + std::string(1, '\0') + mark), 0);
}

TEST_F(ProgramTest, cancel_kills_the_whole_tree_whatever_it_ignores) {
  const std::string mark = "4" + std::to_string(::getpid());
  auto running = start_sh("trap '' TERM INT HUP; touch made; setsid sleep " + mark +
                          " & (setsid sh -c 'sleep " + mark + " & sleep " + mark +
                          "' &) ; while :; do sleep " + mark + "; done");
  const std::string command = "sleep" + std::string(1, '\0') + mark;
  ASSERT_TRUE(wait_for([&] { return count_processes(command) >= 4; }));
  governor->cancel({running});
  wait({running});
  EXPECT_EQ(running->state, TaskState::cancelled);
  EXPECT_TRUE(wait_for([&] { return count_processes(command) == 0; }));
  EXPECT_EQ(sh("echo on"), "on\n");
  EXPECT_TRUE(wait_for([&] { return left_nothing(); }));
}

TEST_F(ProgramTest, close_ends_running_programs_and_removes_their_files) {
  const std::string mark = "5" + std::to_string(::getpid());
  start_sh("touch made; setsid sleep " + mark + " & sleep " + mark);
  const std::string command = "sleep" + std::string(1, '\0') + mark;
  ASSERT_TRUE(wait_for([&] { return count_processes(command) >= 2; }));
  const std::string run_directory = governor->run_directory();
  governor->close();
  EXPECT_EQ(count_processes(command), 0);
  EXPECT_FALSE(fs::exists(run_directory));
}

TEST_F(ProgramTest, many_short_programs_share_a_few_sandboxes) {
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 200; ++i) tasks.push_back(task("buildin/run", {}, run_config({"true"}), {}));
  submit(tasks);
  wait(tasks);
  for (const auto& each : tasks) EXPECT_EQ(error(each), "");
  EXPECT_LE(entries(governor->run_directory() + "/programs"), 2u + 2);
}

TEST_F(ProgramTest, a_sandbox_whose_mode_was_changed_is_not_used_again) {
  EXPECT_EQ(sh_error("chmod 0 ."), "");
  EXPECT_EQ(sh("stat -c %a ."), "700\n");
  EXPECT_EQ(sh_error("mkdir -p a/b; chmod 0 a/b a .; exit 1").rfind("Program exit", 0), 0u);
  EXPECT_EQ(sh("ls -A; stat -c %a ."), "700\n");
  EXPECT_EQ(sh_error("rmdir $PWD"), "");
  EXPECT_EQ(sh("ls -A"), "");
}

TEST_F(ProgramTest, put_directory_copies_and_its_view_outlives_the_session) {
  char name[] = "/tmp/rain-put-XXXXXX";
  const fs::path mine = ::mkdtemp(name);
  std::ofstream(mine / "f") << "content";
  auto input = object(DataType::directory);
  input->data = governor->put_directory(mine);
  std::ofstream(mine / "f") << "changed";
  EXPECT_EQ(sh("cat in/f", {input}, {{"in"}}), "content");
  const auto view = governor->view(input);
  EXPECT_TRUE(view->directory);
  governor->close_session(session);
  input = {};
  EXPECT_EQ(read(view->path + "/f"), "content");
  fs::create_symlink("/etc", mine / "l");
  EXPECT_THROW(governor->put_directory(mine), tasklib::base::Error);
  EXPECT_THROW(governor->put_directory(mine / "f"), tasklib::base::Error);
  fs::remove_all(mine);
}

TEST_F(ProgramTest, a_directory_that_nobody_needs_is_removed) {
  auto tree = directory();
  const std::string where = path(tree);
  governor->unkeep({tree});
  EXPECT_TRUE(wait_for([&] {
    governor->store_usage();  // drives
    return !fs::exists(where);
  }));
}

}  // namespace
}  // namespace rain::builtin
