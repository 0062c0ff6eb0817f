#pragma once

#include <set>
#include <string>
#include <vector>

#include "remote/batch.h"
#include "remote/cut.h"
#include "remote/submission.h"

namespace rain::remote {

/// Cuts a submission (remote/cut.h) and encodes the parts. `offers`: the executor types of each
/// governor; none: all have all. Any thread.
std::vector<Part> cut_submission(const Submission& submission, const CutLimits& limits,
                                 const std::vector<std::set<std::string>>& offers);

}  // namespace rain::remote
