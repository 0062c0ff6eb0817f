#pragma once

#include <vector>

#include "graph/core.h"

namespace rain::graph {

/// Throws InvalidGraph unless all of them together can be submitted; then they are as before.
/// Otherwise the drafts' `depth`, their `needs` and their outputs' `producer` are set.
/// Time is linear; a chain of a million tasks, submitted in any order, is fine.
void validate_submit(const SessionRecord& session, const std::vector<TaskRef>& tasks,
                     const std::vector<ObjectRef>& objects, const Core::Options& options);

}  // namespace rain::graph
