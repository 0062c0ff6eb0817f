#pragma once

// Tasks of a submit as bytes, for a governor in another process, and back into records.
//
//   batch   = [version, strings, objects, tasks]
//   strings = [* text]                               ; each once; elsewhere s, an index into them
//   objects = [* object]                             ; inputs that no task of the batch makes
//   object  = [id, bytes / null, ? spec]             ; null: the data come apart, or are there
//   task    = [id, s, [* id], [* output], ? more]    ; type, inputs
//   output  = id / [id, keep, ? spec]
//   keep    = 0: nobody keeps it / 1: the client does / 2: others need it, elsewhere, or may later
//   spec    = {? "label": s, ? "type": s, ? "dir": true, ? "keep": true, ? "user": attributes,
//              ? "info": ObjectInfo}                 ; the last: of an object that is finished
//   more    = {? "name": s, ? "config": value, ? "user": attributes, ? "labels": [* s],
//              ? "cpus": n, ? "retries": n, ? "timeout": ns, ? "memory": bytes,
//              ? "resources": {* s: amount}}
//
// `version` is kBatchVersion; it counts up with every change that an older reader would not
// understand. Ids are those of the client's session, without the session.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "governor.h"
#include "graph/records.h"
#include "object_data.h"
#include "remote/submission.h"
#include "wire/messages.h"

namespace rain::remote {

constexpr std::uint64_t kBatchVersion = 1;

/// Some tasks of a submit, ready to be sent, and what the sender has to know of them.
struct Part {
  std::string batch;
  std::vector<std::int32_t> task_ids;
  /// Constants whose bytes are not in the batch. The governor keeps them until unkeep: each has to
  /// be sent to it once.
  std::vector<std::pair<std::int32_t, std::shared_ptr<const Data>>> uploads;
  std::vector<std::int32_t> inputs;   // objects that tasks elsewhere make
  std::vector<std::int32_t> outputs;  // that are kept, or that tasks elsewhere need or may need
  std::vector<std::string> executors;
  std::uint32_t max_cpus = 0;
  std::vector<graph::ResourceAmount> resources;  // of each the most that a task wants; with memory
  double seconds = 0;                            // what the tasks are expected to take; 0: unknown
};

/// Encodes tasks of a submission, given by their indices. `shared`: ids of outputs that tasks of
/// other parts take. Any thread.
Part encode_part(const Submission& submission, const std::vector<std::uint32_t>& tasks,
                 const std::unordered_set<std::int32_t>& shared);

/// What was in a batch: drafts, linked with each other.
struct Batch {
  std::vector<graph::TaskRef> tasks;
  /// Inputs that are new: with their data if these were in the batch, else without.
  std::vector<graph::ObjectRef> objects;
  std::vector<std::int32_t> lent;  // outputs that are kept for tasks elsewhere, not for the client
};

/// Where the records of a batch belong.
struct Home {
  graph::SessionRecord* session = nullptr;
  /// Throws UsageError for what no executor offers.
  std::function<Governor::Method(const std::string& task_type)> method;
  /// A record to be used as this input, a draft or not; null: a new one is made. `with_data`: they
  /// are in the batch.
  std::function<graph::ObjectRef(std::int32_t id, bool with_data)> known;
};

/// Any bytes give a batch or a ProtocolError, unless `home` throws.
Batch decode_batch(tasklib::base::ByteView bytes, const Home& home);

/// What is known of a finished object beside its bytes, on its way to another governor.
std::string encode_info(const tasklib::wire::ObjectInfo& info);
/// Throws ProtocolError.
tasklib::wire::ObjectInfo decode_info(tasklib::base::ByteView bytes);

}  // namespace rain::remote
