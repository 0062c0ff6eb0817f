#pragma once

#include <tasklib/executor.h>

/// Tasks that touch few bytes of large data and say in which pages these lie.
void add_page_tasks(tasklib::Executor& executor);
