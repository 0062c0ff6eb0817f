// Any bytes give the records of a batch or a ProtocolError.

#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "remote/batch.h"
#include "require.h"

namespace rain::remote {
namespace {

using tasklib::base::ByteView;
using tasklib::wire::fuzz::require;

/// The records of a batch, and what they belong to.
struct Read {
  explicit Read(ByteView bytes) {
    Home home;
    home.session = session.get();
    home.method = [this](const std::string& type) {
      return Governor::Method{0, methods->intern(type)};
    };
    home.known = [](std::int32_t, bool) { return graph::ObjectRef(); };
    batch = decode_batch(bytes, home);
  }

  std::string write() const {
    Submission submission;
    submission.session = session;
    submission.tasks = batch.tasks;
    submission.methods = methods;
    for (const auto& object : batch.objects)
      if (object->data)
        submission.constants[object->id.id] = std::static_pointer_cast<const Data>(object->data);
    std::vector<std::uint32_t> all(batch.tasks.size());
    std::iota(all.begin(), all.end(), 0u);
    return encode_part(submission, all, {}).batch;
  }

  std::shared_ptr<graph::SessionRecord> session = std::make_shared<graph::SessionRecord>();
  std::shared_ptr<MethodTable> methods = std::make_shared<MethodTable>();
  Batch batch;
};

}  // namespace
}  // namespace rain::remote

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace rain::remote;
  std::unique_ptr<const Read> read;
  try {
    read = std::make_unique<const Read>(ByteView(data, size));
  } catch (const tasklib::base::ProtocolError& error) {
    require(error.offset_bytes() <= size, "the offset of an error is in the batch");
    return 0;
  }
  // The first writing lends outputs that no task takes, and who reads that keeps them.
  const std::string written = read->write();
  const std::string again = Read(ByteView(std::string_view(written))).write();
  const std::string once_more = Read(ByteView(std::string_view(again))).write();
  require(again == once_more, "a batch that was read is written the same each time");
  return 0;
}
