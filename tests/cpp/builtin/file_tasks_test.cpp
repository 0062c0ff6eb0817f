#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include "fixture.h"

namespace rain::builtin {
namespace {

class FileTasksTest : public BuiltinTest {
 protected:
  void SetUp() override {
    char name[] = "/tmp/rain-file-tasks-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    home = name;
    BuiltinTest::SetUp();
  }
  void TearDown() override {
    BuiltinTest::TearDown();
    std::system(("chmod -R u+rwx " + home + " && rm -rf " + home).c_str());
  }

  std::string at(const std::string& name) const { return home + "/" + name; }
  std::string write(const std::string& name, const std::string& content) {
    std::ofstream(at(name), std::ios::binary) << content;
    return at(name);
  }
  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    return file ? content.str() : "<no file>";
  }
  static mode_t mode(const std::string& path) {
    struct stat status {};
    ::stat(path.c_str(), &status);
    return status.st_mode & 07777;
  }
  static std::string target_of(const std::string& path) {
    char target[4096];
    const ssize_t size = ::readlink(path.c_str(), target, sizeof target);
    return size < 0 ? "<no link>" : std::string(target, static_cast<std::size_t>(size));
  }
  static RawValue path_config(const std::string& path) {
    RawValue raw;
    Writer writer(raw);
    writer.map(1);
    writer.text("path");
    writer.text(path);
    return raw;
  }
  static RawValue paths_config(const std::vector<std::string>& paths) {
    RawValue raw;
    Writer writer(raw);
    writer.map(1);
    writer.text("paths");
    writer.array(paths.size());
    for (const auto& path : paths) writer.text(path);
    return raw;
  }

  TaskRef open(const std::string& path, DataType type = DataType::blob) {
    return run("buildin/open", {}, path_config(path), {object(type, "opened")});
  }
  TaskRef store(const ObjectRef& input, const std::string& path) {
    return run("buildin/export", {input}, path_config(path), {});
  }
  TaskRef make(const std::vector<std::string>& paths, const std::vector<ObjectRef>& inputs) {
    return run("buildin/make_directory", inputs, paths_config(paths),
               {object(DataType::directory, "made")});
  }
  TaskRef slice(const ObjectRef& directory, const std::string& path, DataType type) {
    return run("buildin/slice_directory", {directory}, path_config(path), {object(type, "slice")});
  }
  ObjectRef directory(const std::string& path) {
    auto ref = object(DataType::directory);
    ref->data = governor->put_directory(path);
    return ref;
  }
  /// Where the directory of a finished object lies.
  std::string place(const ObjectRef& object) {
    auto view = governor->view(object);
    return view ? view->path : "<nothing>";
  }

  std::string home;
};

// ---- open ------------------------------------------------------------------------------------

TEST_F(FileTasksTest, open_copies_a_file_whatever_its_size) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{10}, std::size_t{65'536}, std::size_t{3'000'000}}) {
    const std::string path = write("file", std::string(size, 'f'));
    auto opened = open(path);
    EXPECT_EQ(error(opened), "");
    write("file", "changed");
    EXPECT_EQ(text(opened->outputs[0]), std::string(size, 'f'));
    EXPECT_EQ(opened->output_bytes, size);
  }
}

TEST_F(FileTasksTest, open_reads_files_that_hide_their_size) {
  auto opened = open("/proc/self/status");
  EXPECT_EQ(error(opened), "");
  EXPECT_NE(text(opened->outputs[0]).find("Name:"), std::string::npos);
}

TEST_F(FileTasksTest, open_keeps_the_x_bits_of_a_program) {
  const std::string path = write("program", "#!/bin/sh\n");
  ::chmod(path.c_str(), 0755);
  auto opened = open(path);
  EXPECT_EQ(error(opened), "");
  EXPECT_EQ(mode(place(opened->outputs[0])), 0555u);
}

TEST_F(FileTasksTest, open_says_what_is_wrong_with_a_path) {
  EXPECT_EQ(error(open("here")), "Path \"here\" is not absolute");
  EXPECT_EQ(error(open("")), "Path \"\" is not absolute");
  EXPECT_EQ(error(open(at("none"))), "Path '" + at("none") + "' not found");
  const std::string fifo = at("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(error(open(fifo)), "Path '" + fifo + "' is neither a file nor a directory");
  const std::string file = write("f", "x");
  EXPECT_NE(error(open(file + "/below")).find("Not a directory"), std::string::npos);
  EXPECT_NE(error(open(at(std::string(300, 'n')))).find("File name too long"), std::string::npos);
}

TEST_F(FileTasksTest, open_of_the_wrong_kind_is_a_mismatch) {
  EXPECT_EQ(error(open(home)),
            "Output 'opened' (content_type=) expects type blob, but dir is provided");
  EXPECT_EQ(error(open(write("f", "x"), DataType::directory)),
            "Output 'opened' (content_type=) expects type dir, but blob is provided");
}

TEST_F(FileTasksTest, open_and_open_dir_copy_directories) {
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir(at("d/empty").c_str(), 0755), 0);
  write("d/f", "in it");
  ASSERT_EQ(::symlink("f", at("d/link").c_str()), 0);
  for (const char* type : {"buildin/open", "buildin/open_dir"}) {
    auto opened = run(type, {}, path_config(at("d")), {object(DataType::directory)});
    ASSERT_EQ(error(opened), "");
    const std::string root = place(opened->outputs[0]);
    EXPECT_EQ(read(root + "/link"), "in it");
    EXPECT_EQ(::access((root + "/empty").c_str(), F_OK), 0);
    EXPECT_EQ(opened->output_bytes, 5u);
  }
  auto file = run("buildin/open_dir", {}, path_config(at("d/f")), {object(DataType::directory)});
  EXPECT_EQ(error(file), "Path '" + at("d/f") + "' is not a directory");
}

TEST_F(FileTasksTest, open_refuses_a_directory_with_links_that_lead_outside) {
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  ASSERT_EQ(::symlink("/etc", at("d/etc").c_str()), 0);
  const std::string text = error(open(at("d"), DataType::directory));
  EXPECT_NE(text.find(at("d/etc")), std::string::npos) << text;
}

// ---- config ----------------------------------------------------------------------------------

TEST_F(FileTasksTest, a_config_of_the_wrong_shape_is_refused) {
  const auto open_with = [&](RawValue config) {
    return error(run("buildin/open", {}, std::move(config), {object()}));
  };
  EXPECT_EQ(open_with({}), "Task config is empty, but non-empty config is expected");
  RawValue empty_map, unknown, twice, number_path;
  Writer(empty_map).map(0);
  Writer(unknown).map(1);
  unknown += string("file") + string("/x");
  Writer(twice).map(2);
  twice += string("path") + string("/x") + string("path") + string("/y");
  Writer(number_path).map(1);
  number_path += string("path") + number(3);
  for (const auto& config : {number(1), string("/x"), empty_map, unknown, twice, number_path,
                             path_config("/a") + "!", path_config(std::string("/a\0b", 4))}) {
    EXPECT_EQ(open_with(config).find("Cannot parse task config: "), 0u) << open_with(config);
  }
  EXPECT_NE(open_with(empty_map).find("missing field 'path'"), std::string::npos);
  EXPECT_NE(open_with(unknown).find("unknown field 'file'"), std::string::npos);
}

TEST_F(FileTasksTest, the_number_of_inputs_is_checked) {
  EXPECT_EQ(error(run("buildin/open", {constant("x")}, path_config("/x"), {object()})),
            "Invalid number of arguments, expected: 0");
  EXPECT_EQ(error(run("buildin/export", {constant("x"), constant("y")}, path_config("/x"), {})),
            "Invalid number of arguments, expected: 1");
  EXPECT_EQ(error(make({"a", "b"}, {constant("y")})), "Invalid number of arguments, expected: 2");
  EXPECT_EQ(error(run("buildin/slice_directory", {}, path_config("x"), {object()})),
            "Invalid number of arguments, expected: 1");
}

// ---- export ----------------------------------------------------------------------------------

TEST_F(FileTasksTest, export_writes_blobs_of_every_kind) {
  const std::string large(500'000, 'l');
  EXPECT_EQ(error(store(constant("small"), at("small"))), "");
  EXPECT_EQ(read(at("small")), "small");
  EXPECT_EQ(error(store(constant(large), at("large"))), "");
  EXPECT_EQ(read(at("large")), large);
  EXPECT_EQ(error(store(constant(""), at("empty"))), "");
  EXPECT_EQ(read(at("empty")), "");
  auto file = open(at("large"));
  EXPECT_EQ(error(store(file->outputs[0], at("again"))), "");
  EXPECT_EQ(read(at("again")), large);
  EXPECT_EQ(mode(at("again")), mode(at("small"))) << "what the umask leaves, not read-only";
  EXPECT_EQ(entries(home), 2u + 4) << "nothing else is left";
}

TEST_F(FileTasksTest, export_replaces_a_file_and_keeps_its_mode) {
  ::chmod(write("old", "a longer content").c_str(), 0640);
  ASSERT_EQ(::symlink("old", at("link").c_str()), 0);
  EXPECT_EQ(error(store(constant("new"), at("link"))), "");
  EXPECT_EQ(read(at("old")), "new");
  EXPECT_EQ(mode(at("old")), 0640u);
  EXPECT_EQ(target_of(at("link")), "old");
}

TEST_F(FileTasksTest, export_writes_through_further_names_and_links_to_nothing) {
  write("a", "a longer content");
  ASSERT_EQ(::link(at("a").c_str(), at("b").c_str()), 0);
  EXPECT_EQ(error(store(constant("new"), at("a"))), "");
  EXPECT_EQ(read(at("b")), "new");
  ASSERT_EQ(::symlink("not-yet", at("link").c_str()), 0);
  EXPECT_EQ(error(store(constant("there"), at("link"))), "");
  EXPECT_EQ(read(at("not-yet")), "there");
}

TEST_F(FileTasksTest, export_says_what_is_wrong_with_the_target) {
  const auto fails = [&](const std::string& path, const std::string& why) {
    const std::string text = error(store(constant("x"), path));
    EXPECT_NE(text.find(path), std::string::npos) << text;
    EXPECT_NE(text.find(why), std::string::npos) << text;
  };
  EXPECT_EQ(error(store(constant("x"), "x")), "Path \"x\" is not absolute");
  fails(at("no/parent"), "No such file or directory");
  fails(home, "Is a directory");
  fails("/dev/full", "No space left on device");
  fails("/proc/nothing", "No such file or directory");
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  fails(at("fifo"), "neither a file nor a directory");
  if (::geteuid() != 0) {
    ASSERT_EQ(::mkdir(at("closed").c_str(), 0500), 0);
    fails(at("closed/file"), "Permission denied");
  }
  EXPECT_EQ(entries(home), 2u + (::geteuid() != 0 ? 2 : 1)) << "nothing else is left";
}

TEST_F(FileTasksTest, export_copies_a_directory_to_where_nothing_is) {
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  ::chmod(write("d/run", "#!").c_str(), 0755);
  ASSERT_EQ(::symlink("run", at("d/link").c_str()), 0);
  auto data = directory(at("d"));
  EXPECT_EQ(error(store(data, at("copy/"))), "");
  EXPECT_EQ(read(at("copy/link")), "#!");
  EXPECT_EQ(mode(at("copy/run")) & 0111, mode(at("copy")) & 0111);
  EXPECT_EQ(mode(at("copy/run")) & 0200, 0200u);
  EXPECT_EQ(target_of(at("copy/link")), "run");
}

TEST_F(FileTasksTest, export_of_a_directory_onto_something_is_refused) {
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  auto data = directory(at("d"));
  for (const std::string& path : {at("d"), write("file", "precious")}) {
    const std::string text = error(store(data, path));
    EXPECT_NE(text.find(path), std::string::npos) << text;
    EXPECT_NE(text.find("remove it or choose another path"), std::string::npos) << text;
  }
  EXPECT_EQ(read(at("file")), "precious");
  const std::string text = error(store(directory(at("d")), at("no/parent")));
  EXPECT_NE(text.find("No such file or directory"), std::string::npos) << text;
  EXPECT_EQ(entries(home), 2u + 2) << "nothing else is left";
}

// ---- make_directory --------------------------------------------------------------------------

TEST_F(FileTasksTest, make_directory_puts_inputs_at_their_paths) {
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  write("d/inner", "inner");
  ::chmod(write("program", std::string(100'000, '#')).c_str(), 0755);
  auto program = open(at("program"));
  auto made = make({"z/y/x", "./top", "sub//dir/", "program", "sub/dir/added"},
                   {constant("deep"), constant(std::string(200'000, 't')), directory(at("d")),
                    program->outputs[0], constant("added")});
  ASSERT_EQ(error(made), "");
  const std::string root = place(made->outputs[0]);
  EXPECT_EQ(read(root + "/z/y/x"), "deep");
  EXPECT_EQ(read(root + "/top"), std::string(200'000, 't'));
  EXPECT_EQ(read(root + "/sub/dir/inner"), "inner");
  EXPECT_EQ(read(root + "/sub/dir/added"), "added");
  EXPECT_EQ(mode(root + "/program"), 0555u);
  EXPECT_EQ(mode(root + "/top") & 0222, 0u);
  EXPECT_EQ(mode(root) & 0222, 0u);
  EXPECT_EQ(made->output_bytes, 4u + 200'000 + 5 + 5 + 100'000);
}

TEST_F(FileTasksTest, make_directory_of_nothing_is_empty) {
  auto made = make({}, {});
  ASSERT_EQ(error(made), "");
  EXPECT_EQ(entries(place(made->outputs[0])), 2u);
  EXPECT_EQ(made->output_bytes, 0u);
}

TEST_F(FileTasksTest, make_directory_can_begin_with_a_directory) {
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  write("d/a", "a");
  auto made = make({"b", "."}, {constant("b"), directory(at("d"))});
  ASSERT_EQ(error(made), "");
  EXPECT_EQ(read(place(made->outputs[0]) + "/a"), "a");
  EXPECT_EQ(read(place(made->outputs[0]) + "/b"), "b");
  EXPECT_NE(error(make({"."}, {constant("b")})).find("input 0 is a blob"), std::string::npos);
}

TEST_F(FileTasksTest, make_directory_refuses_paths_that_leave_it) {
  EXPECT_EQ(error(make({"/abs"}, {constant("x")})), "Path '/abs' is not relative");
  EXPECT_EQ(error(make({""}, {constant("x")})), "Path '' is not relative");
  const std::string up = error(make({"a/../../b"}, {constant("x")}));
  EXPECT_NE(up.find("a/../../b"), std::string::npos) << up;
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir(at("d/real").c_str(), 0755), 0);
  ASSERT_EQ(::symlink("real", at("d/link").c_str()), 0);
  const std::string link = error(make({"d", "d/link/x"}, {directory(at("d")), constant("x")}));
  EXPECT_NE(link.find("Path 'd/link/x' of input 1 is taken"), std::string::npos) << link;
  const std::string long_name = error(make({std::string(256, 'n')}, {constant("x")}));
  EXPECT_NE(long_name.find("File name too long"), std::string::npos) << long_name;
}

TEST_F(FileTasksTest, make_directory_names_both_inputs_that_collide) {
  const auto collides = [&](const std::string& a, const std::string& b) {
    const std::string text = error(make({a, b}, {constant("a"), constant("b")}));
    EXPECT_NE(text.find("'" + a + "' of input 0"), std::string::npos) << text;
    EXPECT_NE(text.find("'" + b + "' of input 1"), std::string::npos) << text;
  };
  collides("same", "./same");
  collides("a", "a/b");
  collides("a/b/c", "a/b");
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  write("d/f", "f");
  const std::string text = error(make({"d/f", "d"}, {constant("x"), directory(at("d"))}));
  EXPECT_EQ(text, "Path 'd/f' of input 0 is taken: it collides with path 'd' of input 1");
}

TEST_F(FileTasksTest, make_directory_takes_any_file_name) {
  const std::string odd = "new\nline \xc3\xa9 '";
  auto made = make({odd, std::string(255, 'n')}, {constant("x"), constant("y")});
  ASSERT_EQ(error(made), "");
  EXPECT_EQ(read(place(made->outputs[0]) + "/" + odd), "x");
}

// ---- slice_directory -------------------------------------------------------------------------

class SliceTest : public FileTasksTest {
 protected:
  void SetUp() override {
    FileTasksTest::SetUp();
    ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(at("d/sub").c_str(), 0755), 0);
    write("d/small", "small");
    write("d/sub/large", std::string(300'000, 'l'));
    ASSERT_EQ(::symlink("sub/large", at("d/link").c_str()), 0);
    ASSERT_EQ(::symlink("../small", at("d/sub/up").c_str()), 0);
  }
};

TEST_F(SliceTest, takes_files_and_directories_out) {
  auto data = directory(at("d"));
  auto small = slice(data, "small", DataType::blob);
  EXPECT_EQ(text(small->outputs[0]), "small") << error(small);
  auto large = slice(directory(at("d")), "link", DataType::blob);
  EXPECT_EQ(text(large->outputs[0]), std::string(300'000, 'l')) << error(large);
  ::unlink(at("d/sub/up").c_str());
  auto sub = slice(directory(at("d")), "sub/", DataType::directory);
  ASSERT_EQ(error(sub), "");
  EXPECT_EQ(read(place(sub->outputs[0]) + "/large"), std::string(300'000, 'l'));
  EXPECT_EQ(sub->output_bytes, 300'000u);
}

TEST_F(SliceTest, its_result_outlives_the_directory) {
  auto whole = open(at("d"), DataType::directory);
  const std::string root = place(whole->outputs[0]);
  auto large = slice(whole->outputs[0], "sub/large", DataType::blob);
  governor->unkeep({whole->outputs[0]});
  EXPECT_EQ(whole->outputs[0]->state, ObjectState::removed);
  EXPECT_EQ(text(large->outputs[0]), std::string(300'000, 'l'));
  EXPECT_EQ(read(place(large->outputs[0])), std::string(300'000, 'l'));
}

TEST_F(SliceTest, says_what_is_wrong_with_a_path) {
  EXPECT_EQ(error(slice(directory(at("d")), "none", DataType::blob)), "Path 'none' now found.");
  EXPECT_EQ(error(slice(directory(at("d")), "small/", DataType::directory)),
            "Path 'small/' now found.");
  EXPECT_EQ(error(slice(directory(at("d")), "/small", DataType::blob)),
            "Path '/small' is not relative");
  const std::string up = error(slice(directory(at("d")), "../d/small", DataType::blob));
  EXPECT_NE(up.find("'../d/small' contains '..'"), std::string::npos) << up;
  EXPECT_EQ(error(slice(directory(at("d")), "sub", DataType::blob)),
            "Output 'slice' (content_type=) expects type blob, but dir is provided");
  EXPECT_EQ(error(slice(directory(at("d")), "small", DataType::directory)),
            "Output 'slice' (content_type=) expects type dir, but blob is provided");
  EXPECT_EQ(error(slice(constant("x"), "small", DataType::blob)),
            "Input 0 object is not directory");
}

TEST_F(SliceTest, refuses_links_that_lead_out_of_the_slice) {
  const std::string text = error(slice(directory(at("d")), "sub", DataType::directory));
  EXPECT_NE(text.find("symbolic link to '../small'"), std::string::npos) << text;
}

// ---- all of them -----------------------------------------------------------------------------

TEST_F(FileTasksTest, concat_refuses_a_directory_and_takes_empty_files) {
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  EXPECT_EQ(error(run("buildin/concat", {constant("a"), directory(at("d"))}, {}, {object()})),
            "Input 1 object is not blob");
  auto empty = open(write("empty", ""));
  auto file = open(write("file", std::string(70'000, 'f')));
  auto joined =
      run("buildin/concat", {empty->outputs[0], file->outputs[0], constant("!")}, {}, {object()});
  EXPECT_EQ(text(joined->outputs[0]), std::string(70'000, 'f') + "!") << error(joined);
}

TEST_F(FileTasksTest, sleep_passes_a_directory_on) {
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  auto data = directory(at("d"));
  auto slept = run("buildin/sleep", {data}, number(0), {object(DataType::directory)});
  EXPECT_EQ(error(slept), "");
  auto wrong =
      run("buildin/sleep", {directory(at("d"))}, number(0.01), {object(DataType::blob, "b")});
  EXPECT_EQ(error(wrong), "Output 'b' (content_type=) expects type blob, but dir is provided");
}

TEST_F(FileTasksTest, a_directory_that_nobody_needs_is_removed) {
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  write("d/f", "x");
  auto opened = open(at("d"), DataType::directory);
  const std::string root = place(opened->outputs[0]);
  ASSERT_EQ(::access(root.c_str(), F_OK), 0);
  governor->unkeep({opened->outputs[0]});
  while (::access(root.c_str(), F_OK) == 0) ::usleep(1000);
}

TEST_F(FileTasksTest, cancelled_file_work_stops_and_leaves_nothing) {
  start(1);
  // Sparse: as long as it takes to be stopped, and no room.
  const std::string huge = write("huge", "");
  ASSERT_EQ(::truncate(huge.c_str(), off_t{1} << 42), 0);
  auto opened = task("buildin/open", {}, path_config(huge), {object()});
  submit({opened});
  const std::string data = governor->run_directory() + "/data";
  while (entries(data) == 2) {  // until it has begun to copy
    ASSERT_FALSE(graph::is_terminal(opened->state)) << error(opened);
  }
  governor->cancel({opened});
  wait({opened});
  EXPECT_EQ(opened->state, TaskState::cancelled);
  auto next = run("buildin/concat", {constant("n"), constant("ext")}, {}, {object()});
  EXPECT_EQ(text(next->outputs[0]), "next") << error(next);
  while (entries(data) > 2) ::usleep(1000);
}

TEST_F(FileTasksTest, a_thousand_cancellations_leave_nothing_behind) {
  start(4);
  const std::string path = write("file", std::string(1'000'000, 'f'));
  ASSERT_EQ(::mkdir(at("d").c_str(), 0755), 0);
  for (int i = 0; i < 20; ++i) write("d/" + std::to_string(i), "x");
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    auto a = constant(std::string(200'000, 'a')), b = constant(std::string(200'000, 'b'));
    std::vector<TaskRef> tasks;
    for (int i = 0; i < 4; ++i) {
      tasks.push_back(task("buildin/concat", {a, b}, {}, {object()}));
      tasks.push_back(task("buildin/sleep", {a}, number(0.001 * (i + 1)), {object()}));
      tasks.push_back(task("buildin/open", {}, path_config(path), {object()}));
      tasks.push_back(
          task("buildin/open", {}, path_config(at("d")), {object(DataType::directory)}));
      tasks.push_back(task("buildin/make_directory", {tasks.back()->outputs[0], b},
                           paths_config({"d", "b"}), {object(DataType::directory)}));
    }
    submit(tasks);
    std::shuffle(tasks.begin(), tasks.end(), random);
    for (const auto& each : tasks) {
      if (random() % 2 == 0) ::usleep(random() % 1000);
      governor->cancel({each});
    }
    wait(tasks);
    std::vector<ObjectRef> outputs;
    for (const auto& each : tasks) {
      EXPECT_NE(each->state, TaskState::failed) << error(each);
      outputs.push_back(each->outputs[0]);
    }
    governor->unkeep(outputs);
  }
  while (entries(governor->run_directory() + "/data") > 2) ::usleep(1000);
  while (governor->store_usage().blobs_bytes > 0) ::usleep(1000);
}

TEST_F(FileTasksTest, a_file_task_that_failed_is_tried_again) {
  auto opened = task("buildin/open", {}, path_config(at("none")), {object()});
  opened->extras = std::make_unique<graph::TaskExtras>();
  opened->extras->retries = 2;
  submit({opened});
  wait({opened});
  EXPECT_EQ(error(opened), "Path '" + at("none") + "' not found");
  EXPECT_EQ(governor->failure(opened)->attempts.size(), 3u);
}

TEST_F(FileTasksTest, closing_ends_file_work_that_is_under_way) {
  const std::string huge = write("huge", "");
  ASSERT_EQ(::truncate(huge.c_str(), off_t{1} << 42), 0);
  std::vector<TaskRef> tasks;
  for (int i = 0; i < 4; ++i) {
    tasks.push_back(task("buildin/open", {}, path_config(huge), {object()}));
  }
  submit(tasks);
  while (entries(governor->run_directory() + "/data") == 2) {
    ASSERT_FALSE(graph::is_terminal(tasks[0]->state)) << error(tasks[0]);
  }
  governor->close();
  for (const auto& each : tasks) EXPECT_EQ(each->state, TaskState::cancelled);
}

}  // namespace
}  // namespace rain::builtin
