#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "remote/submission.h"

namespace rain::bindings {

/// What one submit of a mirror sends out, in Python: _core.Submission.
struct SubmissionHandle {
  explicit SubmissionHandle(std::shared_ptr<const remote::Submission> its)
      : submission(std::move(its)) {}
  /// May end a million records: without the GIL.
  ~SubmissionHandle();
  SubmissionHandle(const SubmissionHandle&) = delete;
  SubmissionHandle& operator=(const SubmissionHandle&) = delete;

  std::shared_ptr<const remote::Submission> submission;
};

/// Adds Outgoing and Submission, and to Engine what a mirror can do. Requires: bind_client().
void bind_mirror(pybind11::module_& module);

}  // namespace rain::bindings
