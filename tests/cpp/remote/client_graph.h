#pragma once

// Records of a client's session, without its governor: what a Submission is made of.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "annex.h"
#include "remote/batch.h"
#include "remote/submission.h"
#include "wire/cbor.h"

namespace rain::remote {

struct ClientGraph {
  explicit ClientGraph(std::int32_t session_id = 7) {
    submission.session = std::make_shared<graph::SessionRecord>();
    submission.session->id = session_id;
    submission.methods = methods;
  }

  graph::ObjectRef object() {
    graph::ObjectRef ref(new graph::ObjectRecord);
    ref->id = {submission.session->id, next_id++};
    ref->session = submission.session.get();
    return ref;
  }
  graph::ObjectRef constant(std::shared_ptr<Data> data) {
    auto ref = object();
    ref->data = data;
    ref->state = graph::ObjectState::finished;
    submission.constants[ref->id.id] = std::move(data);
    return ref;
  }
  graph::ObjectRef constant(const std::string& text) {
    return constant(std::make_shared<InlineData>(tasklib::base::ByteView(std::string_view(text))));
  }
  graph::TaskRef task(const std::string& type, std::vector<graph::ObjectRef> inputs,
                      std::size_t outputs = 1) {
    graph::TaskRef ref(new graph::TaskRecord);
    ref->id = {submission.session->id, next_id++};
    ref->session = submission.session.get();
    ref->method = methods->intern(type);
    ref->inputs = std::move(inputs);
    for (std::size_t i = 0; i < outputs; ++i) {
      ref->outputs.push_back(object());
      ref->outputs.back()->producer = ref.get();
    }
    submission.tasks.push_back(ref);
    return ref;
  }
  static TaskAnnex& annex(const graph::TaskRef& task) {
    if (!task->annex) task->annex = std::make_unique<TaskAnnex>();
    return static_cast<TaskAnnex&>(*task->annex);
  }
  static ObjectAnnex& annex(const graph::ObjectRef& object) {
    if (!object->annex) object->annex = std::make_unique<ObjectAnnex>();
    return static_cast<ObjectAnnex&>(*object->annex);
  }
  static tasklib::wire::RawValue number(std::int64_t value) {
    std::string raw;
    tasklib::wire::Writer(raw).integer(value);
    return raw;
  }

  Part part(const std::vector<std::uint32_t>& tasks,
            const std::unordered_set<std::int32_t>& shared = {}) const {
    return encode_part(submission, tasks, shared);
  }
  /// All tasks.
  Part part() const {
    std::vector<std::uint32_t> tasks(submission.tasks.size());
    for (std::size_t i = 0; i < tasks.size(); ++i) tasks[i] = static_cast<std::uint32_t>(i);
    return part(tasks);
  }
  /// What became tasks here leaves the submission: the next ones are another submit.
  void submitted() { submission.tasks.clear(); }

  std::shared_ptr<MethodTable> methods = std::make_shared<MethodTable>();
  Submission submission;
  std::int32_t next_id = 10;
};

}  // namespace rain::remote
