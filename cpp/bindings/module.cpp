// The compiled module rain._core: the client side, the executor side and what both share.

#include <pybind11/pybind11.h>

#include "blob.h"
#include "client.h"
#include "completions.h"
#include "errors.h"
#include "executor.h"
#include "hosted.h"
#include "mirror.h"
#include "objects.h"
#include "session_views.h"
#include "upload.h"
#include "values.h"

namespace py = pybind11;

PYBIND11_MODULE(_core, module) {
  using namespace rain::bindings;
  module.doc() = "The compiled part of rain; its users are the modules of the package rain.";
  register_errors();
  bind_blob(module);
  bind_objects(module);
  bind_upload(module);
  bind_client(module);
  bind_mirror(module);
  bind_hosted(module);
  bind_session_views(module);
  bind_completions(module);
  bind_executor(module);

  module.def("cbor_dumps", [](const py::object& value) { return py::bytes(to_cbor(value)); });
  module.def("cbor_loads", [](const py::bytes& item) {
    const std::string_view bytes = item;
    return from_cbor(tasklib::base::ByteView(bytes));
  });
}
