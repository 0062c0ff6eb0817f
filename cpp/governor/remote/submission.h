#pragma once

// What one submit of a mirror sends out: frozen records, to be encoded later by any thread.

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "graph/records.h"
#include "method_table.h"
#include "object_data.h"
#include "remote/run_means.h"

namespace rain::remote {

/// Immutable. It keeps all that it names alive; of the records, only what they call immutable after
/// submit may be read through it, and what is atomic (an object's `kept`, a task's state: one that
/// is terminal already needs not run). Who encodes them sets an output's `lent`.
/// An input's `producer` is none of that: it goes with the producer.
/// An input is one of three: an output of a task in here, a constant, or neither: made by an
/// earlier submit.
struct Submission {
  graph::SessionRef session;
  std::vector<graph::TaskRef> tasks;  // in the order of their creation: producers first
  /// By object id: the data of each constant that one of the tasks takes, those that were submitted
  /// earlier included.
  std::unordered_map<std::int32_t, std::shared_ptr<const Data>> constants;
  std::shared_ptr<const MethodTable> methods;  // what the tasks' types are called
  std::shared_ptr<const RunMeans> run_means;   // what they took so far; null: nothing is known
};

}  // namespace rain::remote
