#include "tasklib/context.h"

#include <cstdio>
#include <stdexcept>

#include "executor/access.h"
#include "executor/call.h"
#include "executor/content.h"

namespace tasklib {

Context::Context() : state_(new executor::CallState) {}
Context::Context(std::size_t n_args) : Context() { state_->n_inputs = n_args; }
Context::~Context() = default;

bool Context::check_n_args(std::size_t n) {
  if (n == state_->n_inputs) return true;
  set_error("Invalid number of arguments, expected = " + std::to_string(n) +
            ", but got = " + std::to_string(state_->n_inputs));
  return false;
}

void Context::set_error(const std::string& message) {
  state_->failed = true;
  state_->error = message;
}

bool Context::has_error() const { return state_->failed; }
const std::string& Context::get_error_message() const { return state_->error; }

TaskId Context::task_id() const {
  const base::TaskId id = state_->call->spec.id;
  return {id.session, id.id};
}

const std::string& Context::task_type() const { return state_->call->spec.task_type; }
const std::string& Context::name() const { return state_->call->spec.name; }
std::uint32_t Context::cpus() const { return state_->call->spec.cpus; }
std::map<std::string, std::vector<std::string>> Context::resources() const {
  const auto& granted = state_->call->spec.resources;
  return {granted.begin(), granted.end()};
}
std::size_t Context::n_inputs() const { return state_->n_inputs; }
std::size_t Context::n_outputs() const { return state_->call->outputs.size(); }

Context::OutputSpec Context::output_spec(std::size_t index) const {
  if (index >= n_outputs())
    throw std::out_of_range("output_spec(" + std::to_string(index) + "): the task has " +
                            std::to_string(n_outputs()) + " outputs");
  const wire::ObjectSpec& spec = state_->call->outputs[index].spec;
  OutputSpec output;
  output.id = {spec.id.session, spec.id.id};
  output.label = spec.label;
  output.content_type = spec.content_type;
  output.is_directory = spec.data_type == wire::DataType::directory;
  output.attributes = executor::decode_attributes(spec.user);
  return output;
}

const Value& Context::config() const {
  if (!state_->config)
    state_->config = executor::decode_value(base::ByteView(state_->call->spec.config));
  return *state_->config;
}

Value::Map Context::get_attributes() const {
  return executor::decode_attributes(state_->call->spec.user);
}

Value Context::get_attribute(const std::string& key) const {
  const wire::RawValue* raw = executor::find_raw(state_->call->spec.user, key);
  return raw == nullptr ? Value() : executor::decode_value(base::ByteView(*raw));
}

void Context::set_attribute(const std::string& key, const Value& value) {
  executor::set_raw(state_->info.user, key, executor::encode_value(value));
}

void Context::debug(const std::string& message) {
  std::string& lines = state_->info.debug;
  if (!lines.empty()) lines += '\n';
  lines += message;
  if (state_->streams != nullptr) state_->streams->debug(*state_);
}

void Context::log(LogLevel level, const std::string& message) {
  if (state_->streams != nullptr)
    state_->streams->log(*state_, static_cast<unsigned>(level), message);
  else
    std::fprintf(stderr, "%s: %s\n", task_type().c_str(), message.c_str());
}

bool Context::cancelled() const {
  const bool is =
      state_->cancel.load(std::memory_order_relaxed) ||
      (state_->board != nullptr && state_->board->cancel_requested(state_->call->sequence));
  if (is) state_->cancel_seen.store(true, std::memory_order_relaxed);
  return is;
}

MutableBlob Context::alloc(std::size_t size_bytes) {
  return state_->outputs == nullptr ? executor::allocate_on_heap(size_bytes)
                                    : state_->outputs->allocate(size_bytes);
}

}  // namespace tasklib
