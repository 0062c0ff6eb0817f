#pragma once

#include <tasklib/executor.h>

/// Tasks whose signatures say what they take and give, for test_typed.py.
void add_typed_tasks(tasklib::Executor& executor);
