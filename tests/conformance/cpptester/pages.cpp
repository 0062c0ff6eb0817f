#include "pages.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace {

using tasklib::Context;
using tasklib::DataInstanceVec;
using tasklib::MemDataInstance;
using tasklib::Value;

/// "device:inode +offset" of this byte in the file that is mapped there, for instance a memfd.
std::string place_of(const void* byte) {
  const auto address = reinterpret_cast<std::uintptr_t>(byte);
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    std::istringstream fields(line);
    std::uintptr_t begin = 0, end = 0, offset = 0;
    char dash = 0;
    std::string mode, device, inode;
    fields >> std::hex >> begin >> dash >> end >> mode >> offset >> device >> inode;
    if (begin <= address && address < end)
      return device + ":" + inode + " +" + std::to_string(offset + (address - begin));
  }
  throw std::runtime_error("an address that is not mapped");
}

/// Of this process: bytes that nobody else has.
std::int64_t private_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  std::string line;
  std::int64_t sum = 0;
  while (std::getline(rollup, line))
    if (line.rfind("Private_", 0) == 0) sum += std::stoll(line.substr(line.find(':') + 1)) * 1024;
  return sum;
}

// config: size, byte. Writes the first and the last byte, in place; attribute "place".
void write_ends(Context& ctx, DataInstanceVec&, DataInstanceVec& outputs) {
  auto output = ctx.alloc(ctx.config().at("size").as_uint());
  std::string place;
  if (output.size() > 0) {
    const auto byte = static_cast<unsigned char>(ctx.config().at("byte").as_uint());
    output.data()[0] = output.data()[output.size() - 1] = byte;
    place = place_of(output.data());
  }
  outputs.push_back(std::move(output).seal());
  outputs.back()->set_attribute("place", place);
}

// Of each input: size, first and last byte, place.
void read_ends(Context&, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  Value::Array found;
  for (auto& input : inputs) {
    const unsigned char* data = input->get_ptr();
    const std::size_t size = input->get_size();
    Value::Map ends{{"size", size}};
    if (size > 0) {
      ends["first"] = data[0];
      ends["last"] = data[size - 1];
      ends["place"] = place_of(data);
    }
    found.push_back(ends);
  }
  outputs.push_back(std::make_unique<MemDataInstance>(Value(found).to_json()));
}

// config: until. Reads a byte of every page of the input and says by how much the private memory
// of this process grew; ends when there is a file "until".
void read_pages(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  const std::string until = ctx.config().at("until").as_string();
  const std::int64_t before = private_bytes();
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < inputs.at(0)->get_size(); at += 4096)
    sum += inputs[0]->get_ptr()[at];
  const std::int64_t grown = private_bytes() - before;
  std::ofstream(until + "." + std::to_string(::getpid())) << sum;
  struct stat status;
  while (::stat(until.c_str(), &status) != 0 && !ctx.cancelled())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  outputs.push_back(std::make_unique<MemDataInstance>(
      Value(Value::Map{{"sum", sum}, {"grown", grown}}).to_json()));
}

// config: size. Bytes that are one more than those of the first input, in place, once a byte of
// every page was read: an input is of one byte.
void follow(Context& ctx, DataInstanceVec& inputs, DataInstanceVec& outputs) {
  for (auto& input : inputs)
    for (std::size_t at = 0; at < input->get_size(); at += 4096)
      if (input->get_ptr()[at] != input->get_ptr()[0])
        return ctx.set_error("an input of several bytes");
  auto output = ctx.alloc(ctx.config().at("size").as_uint());
  std::memset(output.data(), (inputs.at(0)->get_ptr()[0] + 1) % 256, output.size());
  outputs.push_back(std::move(output).seal());
}

// config: size. Has read all of its inputs and written half of its output, and never ends.
void stall(Context& ctx, DataInstanceVec& inputs, DataInstanceVec&) {
  auto output = ctx.alloc(ctx.config().at("size").as_uint());
  unsigned char sum = 0;
  for (auto& input : inputs)
    for (std::size_t at = 0; at < input->get_size(); at += 4096) sum += input->get_ptr()[at];
  std::memset(output.data(), sum, output.size() / 2);
  for (;;) ::pause();
}

}  // namespace

void add_page_tasks(tasklib::Executor& executor) {
  executor.add_task("write_ends", write_ends);
  executor.add_task("read_ends", read_ends);
  executor.add_task("read_pages", read_pages);
  executor.add_task("follow", follow);
  executor.add_task("stall", stall);
}
