// Executor "cpptester": what the conformance suite asks of an executor, in C++.
#include <dirent.h>
#include <sys/stat.h>
#include <tasklib/executor.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pages.h"
#include "typed.h"

namespace {

using tasklib::Context;
using tasklib::DataInstanceVec;
using tasklib::MemDataInstance;
using tasklib::Value;

void push_text(DataInstanceVec& outputs, const std::string& text) {
  outputs.push_back(std::make_unique<MemDataInstance>(text));
}

void hello(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  if (!ctx.check_n_args(1)) return;
  push_text(outputs, "Hello " + inputs[0]->read_as_string() + "!");
}

void fail(Context& ctx, DataInstanceVec& inputs, DataInstanceVec&) {
  if (!ctx.check_n_args(1)) return;
  ctx.set_error(inputs[0]->read_as_string());
}

// ---- Data -------------------------------------------------------------------------------------

void echo(Context&, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  for (auto& input : inputs) outputs.push_back(std::move(input));
}

// The first input as every output.
void repeat(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  for (std::size_t i = 0; i < ctx.n_outputs(); ++i) outputs.push_back(inputs.at(0)->share());
}

void concat(Context&, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  std::string all;
  for (auto& input : inputs) all += input->read_as_string();
  outputs.push_back(std::make_unique<MemDataInstance>(std::move(all)));
}

// As many pieces, of nearly one size, as there are outputs.
void split(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  if (!ctx.check_n_args(1)) return;
  const std::size_t size = inputs[0]->get_size(), n = ctx.n_outputs();
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t begin = size * i / n;
    outputs.push_back(inputs[0]->slice(begin, size * (i + 1) / n - begin));
  }
}

// Each output is the data followed by its own label.
void split_by_label(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  for (std::size_t i = 0; i < ctx.n_outputs(); ++i)
    push_text(outputs, inputs.at(0)->read_as_string() + ctx.output_spec(i).label);
}

// config: offset, size. These bytes of the last input.
void part(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  outputs.push_back(
      inputs.back()->slice(ctx.config().at("offset").as_uint(), ctx.config().at("size").as_uint()));
}

// config: begin, end. These rows of an array.
void rows(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  outputs.push_back(tasklib::slice_rows(*inputs.at(0), ctx.config().at("begin").as_uint(),
                                        ctx.config().at("end").as_uint()));
}

void sum_doubles(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  double sum = 0;
  for (auto& input : inputs) {
    const double* numbers = input->as<double>();
    for (std::size_t i = 0; i < input->count<double>(); ++i) sum += numbers[i];
  }
  auto output = ctx.alloc<double>(1);
  *output.as<double>() = sum;
  outputs.push_back(std::move(output).seal());
}

// The input with another first byte, written in a copy of one's own.
void scribble(Context&, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  const auto own = inputs[0]->writable_copy();
  own.get()[0] = 'X';
  outputs.push_back(std::make_unique<tasklib::MemDataInstance>(
      std::string(reinterpret_cast<const char*>(own.get()), inputs[0]->get_size())));
}

// config: size, byte; optional shrink_to. Written in place.
void fill(Context& ctx, DataInstanceVec&, DataInstanceVec& outputs) {
  auto output = ctx.alloc(ctx.config().at("size").as_uint());
  std::memset(output.data(), static_cast<int>(ctx.config().at("byte").as_int()), output.size());
  if (ctx.config().contains("shrink_to")) output.shrink(ctx.config()["shrink_to"].as_uint());
  outputs.push_back(std::move(output).seal());
}

// config: size, byte. Made in ordinary memory.
void fill_memory(Context& ctx, DataInstanceVec&, DataInstanceVec& outputs) {
  outputs.push_back(std::make_unique<MemDataInstance>(
      std::vector<unsigned char>(ctx.config().at("size").as_uint(),
                                 static_cast<unsigned char>(ctx.config().at("byte").as_uint()))));
}

// Keeps its inputs until "release" is called.
DataInstanceVec& kept() {
  static DataInstanceVec instances;
  return instances;
}

void keep(Context&, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  for (auto& input : inputs) kept().push_back(std::move(input));
  push_text(outputs, std::to_string(kept().size()));
}

void release(Context&, DataInstanceVec&, DataInstanceVec& outputs) {
  std::string all;
  for (auto& instance : kept()) all += instance->read_as_string();
  kept().clear();
  push_text(outputs, all);
}

// "name=content" of the files below, one a line.
void list_files(const std::string& top, const std::string& below, std::set<std::string>& lines) {
  DIR* stream = ::opendir((top + below).c_str());
  if (stream == nullptr) throw std::runtime_error("no directory");
  while (const dirent* entry = ::readdir(stream)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string path = below + "/" + name;
    struct stat status;
    ::stat((top + path).c_str(), &status);
    if (S_ISDIR(status.st_mode)) {
      list_files(top, path, lines);
    } else {
      std::ifstream file(top + path);
      std::ostringstream content;
      content << file.rdbuf();
      lines.insert(path.substr(1) + "=" + content.str());
    }
  }
  ::closedir(stream);
}

void list_directory(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  if (!ctx.check_n_args(1)) return;
  if (!inputs[0]->is_directory()) throw std::runtime_error("no directory");
  std::set<std::string> lines;
  list_files(inputs[0]->get_path(), "", lines);
  std::string text;
  for (const auto& line : lines) text += (text.empty() ? "" : "\n") + line;
  push_text(outputs, text);
}

// config: {name: content}; names may have one slash.
void make_directory(Context& ctx, DataInstanceVec&, DataInstanceVec& outputs) {
  static std::atomic<int> last{0};
  char here[4096];
  if (::getcwd(here, sizeof here) == nullptr) throw std::runtime_error("getcwd");
  const std::string top = std::string(here) + "/made-" + std::to_string(++last);
  ::mkdir(top.c_str(), 0700);
  for (const auto& file : ctx.config().as_map()) {
    const auto slash = file.first.find('/');
    if (slash != std::string::npos)
      ::mkdir((top + "/" + file.first.substr(0, slash)).c_str(), 0700);
    std::ofstream(top + "/" + file.first) << file.second.as_string();
  }
  outputs.push_back(std::make_unique<tasklib::FileDataInstance>(top));
}

// ---- What is known besides bytes --------------------------------------------------------------

void attributes(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  Value::Array of_inputs;
  for (auto& input : inputs) {
    of_inputs.push_back(Value::Map{{"label", input->get_label()},
                                   {"content_type", input->get_content_type()},
                                   {"size", input->get_size()},
                                   {"is_directory", input->is_directory()},
                                   {"spec_user", input->get_spec_attributes()},
                                   {"info_user", input->get_attributes()}});
  }
  Value::Array of_outputs;
  for (std::size_t i = 0; i < ctx.n_outputs(); ++i) {
    const auto spec = ctx.output_spec(i);
    of_outputs.push_back(Value::Map{{"label", spec.label},
                                    {"content_type", spec.content_type},
                                    {"is_directory", spec.is_directory},
                                    {"spec_user", spec.attributes}});
  }
  const Value all = Value::Map{{"task_type", ctx.task_type()}, {"name", ctx.name()},
                               {"cpus", ctx.cpus()},           {"config", ctx.config()},
                               {"user", ctx.get_attributes()}, {"inputs", of_inputs},
                               {"outputs", of_outputs}};
  push_text(outputs, all.to_json());
  outputs[0]->set_content_type("json");
  outputs[0]->set_attribute("numbers", Value::Array{1, -2, 0.5, UINT64_MAX});
  outputs[0]->set_attribute("nested", Value::Map{{"b", true}, {"a", nullptr}});
  ctx.set_attribute("seen_inputs", inputs.size());
}

void debug(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  for (auto& input : inputs) ctx.debug(input->read_as_string());
  push_text(outputs, "done");
}

// config: log, a list of [level, text]; debug, a list of texts; repeat: how often all of that is
// said; then: "return", "abort", or "spin" until it is cancelled.
void say(Context& ctx, DataInstanceVec&, DataInstanceVec& outputs) {
  const Value& config = ctx.config();
  for (std::uint64_t i = 0; i < config.at("repeat").as_uint(); ++i) {
    for (const Value& line : config.at("log").as_array())
      ctx.log(static_cast<tasklib::LogLevel>(line.as_array()[0].as_uint()),
              line.as_array()[1].as_string());
    for (const Value& text : config.at("debug").as_array()) ctx.debug(text.as_string());
  }
  const std::string& then = config.at("then").as_string();
  if (then == "abort") std::abort();
  while (then == "spin" && !ctx.cancelled())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  push_text(outputs, "said");
}

// ---- Time -------------------------------------------------------------------------------------

// config: seconds. Ends early when cancelled.
void sleep_a_while(Context& ctx, DataInstanceVec&, DataInstanceVec& outputs) {
  using Clock = std::chrono::steady_clock;
  const auto end =
      Clock::now() + std::chrono::duration<double>(ctx.config().at("seconds").as_double());
  while (Clock::now() < end && !ctx.cancelled())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  push_text(outputs, "slept");
}

// Never ends, whoever asks.
void spin(Context&, DataInstanceVec&, DataInstanceVec&) {
  for (;;) ::pause();
}

void count_calls(Context&, DataInstanceVec&, DataInstanceVec& outputs) {
  static std::atomic<int> calls{0};
  push_text(outputs, std::to_string(++calls));
}

void pid(Context&, DataInstanceVec&, DataInstanceVec& outputs) {
  push_text(outputs, std::to_string(::getpid()));
}

// ---- Ways to fail -----------------------------------------------------------------------------

void throw_std(Context&, DataInstanceVec&, DataInstanceVec&) {
  throw std::runtime_error("thrown on purpose");
}

void throw_int(Context&, DataInstanceVec&, DataInstanceVec&) { throw 42; }

void abort_process(Context&, DataInstanceVec&, DataInstanceVec&) { std::abort(); }

void segfault(Context&, DataInstanceVec&, DataInstanceVec&) {
  std::signal(SIGSEGV, SIG_DFL);  // a sanitizer would catch it
  std::raise(SIGSEGV);
}

// config: code
void exit_process(Context& ctx, DataInstanceVec&, DataInstanceVec&) {
  std::exit(static_cast<int>(ctx.config().at("code").as_int()));
}

// config: produce; how many outputs to make, whatever was declared.
void wrong_outputs(Context& ctx, DataInstanceVec&, DataInstanceVec& outputs) {
  for (std::uint64_t i = 0; i < ctx.config().at("produce").as_uint(); ++i) push_text(outputs, "x");
}

// config: size
void big_error(Context& ctx, DataInstanceVec&, DataInstanceVec&) {
  ctx.set_error(std::string(ctx.config().at("size").as_uint(), 'e'));
}

}  // namespace

// usage: cpptester [threads]
int main(int argc, char** argv) {
  tasklib::Executor executor("cpptester");
  executor.add_task("hello", hello);
  executor.add_task("fail", fail);
  executor.add_task("echo", echo);
  executor.add_task("repeat", repeat);
  executor.add_task("concat", concat);
  executor.add_task("split", split);
  executor.add_task("split_by_label", split_by_label);
  executor.add_task("part", part);
  executor.add_task("rows", rows);
  executor.add_task("sum_doubles", sum_doubles);
  executor.add_task("scribble", scribble);
  executor.add_task("fill", fill);
  executor.add_task("fill_memory", fill_memory);
  executor.add_task("keep", keep);
  executor.add_task("release", release);
  executor.add_task("attributes", attributes);
  executor.add_task("list_directory", list_directory);
  executor.add_task("make_directory", make_directory);
  executor.add_task("debug", debug);
  executor.add_task("say", say);
  executor.add_task("sleep", sleep_a_while);
  executor.add_task("spin", spin);
  executor.add_task("count_calls", count_calls);
  executor.add_task("pid", pid);
  executor.add_task("throw_std", throw_std);
  executor.add_task("throw_int", throw_int);
  executor.add_task("abort", abort_process);
  executor.add_task("segfault", segfault);
  executor.add_task("exit", exit_process);
  executor.add_task("wrong_outputs", wrong_outputs);
  executor.add_task("big_error", big_error);
  add_page_tasks(executor);
  add_typed_tasks(executor);
  if (argc > 1)
    executor.start(static_cast<unsigned>(std::atoi(argv[1])));
  else
    executor.start();
}
