#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "governor.h"
#include "graph/records.h"

namespace rain::bindings {

class SessionCore;

/// Name, amount in units of graph::Resource, ids.
using ResourceTuple = std::tuple<std::string, std::uint64_t, std::vector<std::string>>;
std::vector<graph::Resource> to_resources(const std::vector<ResourceTuple>& tuples);

/// The governor of a session, to be held during the call. Throws RainException, UsageError.
std::shared_ptr<Governor> governor_of(const SessionCore* core);
/// Whose end decides about the item: itself, or an object's producer where that is known (else
/// null). Throws TypeError when it is neither a task nor a data object.
graph::TaskRef deciding_task(pybind11::handle item);
/// Requires: a task or a data object.
const SessionCore* session_of(pybind11::handle item);

/// A Blob of the data, or None. Moves them out.
pybind11::object to_python(std::optional<DataView>& data);

/// Adds Engine and what rain.client does with sessions, tasks and data objects.
void bind_client(pybind11::module_& module);

}  // namespace rain::bindings
