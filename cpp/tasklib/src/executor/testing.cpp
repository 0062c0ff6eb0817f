#include "tasklib/testing.h"

#include "executor/access.h"
#include "executor/call.h"
#include "executor/loop.h"
#include "wire/messages.h"

namespace tasklib::testing {
namespace {

constexpr std::int32_t kSession = 1;

}  // namespace

const DataInstance& Result::output(std::size_t index) const {
  if (failed_) throw TaskError(error_);
  if (index >= outputs_.size())
    throw std::out_of_range("output(" + std::to_string(index) + "): the task gave " +
                            std::to_string(outputs_.size()) + " outputs");
  return *outputs_[index];
}

Call& Call::add(Blob input) {
  if (!input)
    throw std::invalid_argument("input " + std::to_string(inputs_.size()) + " of task '" + name_ +
                                "' is null");
  inputs_.push_back(std::move(input));
  return *this;
}

Result Call::run() {
  const std::string& type = executor::Access::type(executor_);
  executor::Methods& methods = executor::Access::methods(executor_);
  const auto found = methods.find(type + "/" + name_);
  if (found == methods.end())
    throw std::invalid_argument(executor::unknown_method(type, methods, type + "/" + name_));
  const executor::Method& method = found->second;

  wire::Call call;
  std::int32_t last_id = 0;
  call.spec.id = {kSession, ++last_id};
  call.spec.task_type = type + "/" + name_;
  if (!config_.is_null()) call.spec.config = executor::encode_value(config_);
  for (const auto& each : attributes_)
    executor::set_raw(call.spec.user, each.first, executor::encode_value(each.second));

  DataInstanceVec inputs;
  for (const Blob& input : inputs_) {
    auto metadata = std::make_unique<executor::Metadata>();
    metadata->spec.id = {kSession, ++last_id};
    if (input->is_directory()) metadata->spec.data_type = wire::DataType::directory;
    metadata->info = executor::Access::info(*input);
    metadata->input = true;
    inputs.push_back(
        executor::Access::make(executor::Access::content(*input), std::move(metadata)));
  }
  inputs_.clear();
  if (!asked_) labels_.resize(method.typed ? method.typed->outputs.size() : 1);
  call.outputs.resize(labels_.size());
  for (std::size_t i = 0; i < labels_.size(); ++i) {
    call.outputs[i].spec.id = {kSession, ++last_id};
    call.outputs[i].spec.label = labels_[i];
  }

  const std::unique_ptr<Context> context = executor::Access::make_context();
  executor::CallState& state = executor::Access::state(*context);
  state.begin(call, inputs.size());

  Result result;
  executor::run_function(method.function, *context, inputs, result.outputs_);
  result.failed_ = state.failed;
  result.error_ = state.error;
  result.debug_ = state.info.debug;
  result.attributes_ = executor::decode_attributes(state.info.user);
  if (result.failed_) result.outputs_.clear();
  return result;
}

}  // namespace tasklib::testing
