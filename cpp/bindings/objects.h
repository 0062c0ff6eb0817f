#pragma once

// _core.TaskBase, _core.DataObjectBase and _core.SessionBase: small types of the C API beneath
// rain.client's classes. Each is a handle: the record or the session behind it lives on its own.
//
// A handle that only refers to records cannot be part of a reference cycle, so it takes itself off
// the collector's list when it is made, and goes back as soon as it refers to a Python object: an
// attribute was set, or something asked for __dict__, the outputs or the cache.

#include <pybind11/pybind11.h>

#include "graph/records.h"
#include "session_core.h"

namespace rain::bindings {

struct TaskHandle {
  PyObject_HEAD PyObject* dict;
  PyObject* weak_references;
  graph::TaskRecord* record;    // retained; null before Task.__init__
  SessionCore* session;         // retained
  PyObject* outputs;            // tuple of DataObjects; null until somebody asks
  PyObject* cache;              // dict for the Python side; null until it asks
  TaskHandle *previous, *next;  // of the session's list
};

struct ObjectHandle {
  PyObject_HEAD PyObject* dict;
  PyObject* weak_references;
  graph::ObjectRecord* record;  // retained; null before DataObject._create
  SessionCore* session;         // retained
  graph::TaskRecord* producer;  // retained; null for constants and where it is not known
  PyObject* cache;
  bool owns_keep;  // its end ends the keeping: no task handle covers the object
};

struct SessionHandle {
  PyObject_HEAD PyObject* dict;
  PyObject* weak_references;
  SessionCore* core;  // retained; null before Session was opened
};

bool is_task(PyObject* object);
bool is_data_object(PyObject* object);

/// Requires: is_task / is_data_object. Throws RainException when __init__ was not called.
TaskHandle* initialised_task(PyObject* object);
ObjectHandle* initialised_object(PyObject* object);
/// Throws TypeError or RainException.
SessionCore* core_of(PyObject* session);

/// The Session object of a core: the living one, else a new one. New reference.
PyObject* session_facade(SessionCore* core);

/// Adds the types and their functions to the module.
void bind_objects(pybind11::module_& module);

}  // namespace rain::bindings
