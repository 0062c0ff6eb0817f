#pragma once

// The way from the public classes to the wire's structs, for the executor loop and the bindings.
// Not installed.

#include <cstddef>
#include <memory>

#include "base/bytes.h"
#include "executor/method.h"
#include "tasklib/context.h"
#include "tasklib/datainstance.h"
#include "tasklib/value.h"
#include "wire/messages.h"

namespace tasklib::executor {

/// Encodes in canonical form (reference 1.3).
wire::RawValue encode_value(const Value& value);
/// Empty bytes (absent) give null. Throws base::ProtocolError.
Value decode_value(base::ByteView raw);

/// Sets or replaces `key`.
void set_raw(wire::UserAttributes& attributes, const std::string& key, wire::RawValue value);
/// Null when there is none. Valid until the attributes change.
const wire::RawValue* find_raw(const wire::UserAttributes& attributes, const std::string& key);

struct Access {
  // Valid as long as the call (Context) or the instance.
  static const wire::TaskSpec& spec(const Context& context);
  /// As sent back; `error` and `debug` are set by Context's own functions.
  static wire::TaskInfo& info(Context& context);
  static const wire::ObjectSpec& output_spec(const Context& context, std::size_t index);

  /// Of an input: as the call had it. Of an output made by the task: empty but for what was set.
  static const wire::ObjectSpec& spec(const DataInstance& instance);
  static const wire::ObjectInfo& info(const DataInstance& instance);
  static wire::ObjectInfo& info(DataInstance& instance);

  /// True when two instances are views of the same content (share(), pass-through).
  static bool same_content(const DataInstance& a, const DataInstance& b);
  static DataInstancePtr make(std::shared_ptr<Content> content, std::unique_ptr<Metadata> metadata);
  static const std::shared_ptr<Content>& content(const DataInstance& instance);
  /// `bytes`, which are the instance's, or a copy of them if they lie at no multiple of
  /// `alignment`.
  static const void* aligned(const DataInstance& instance, const unsigned char* bytes,
                             std::size_t size_bytes, std::size_t alignment);
  static MutableBlob make_blob(std::shared_ptr<Content> content, unsigned char* data,
                               std::size_t size_bytes);
  /// So many bytes of it were copied from other memory.
  static void note_copied(MutableBlob& blob, std::size_t bytes);
  /// Lets go of the bytes: there are none from now on. What is known about them stays.
  static void drop_content(DataInstance& instance);
  static std::unique_ptr<Context> make_context();
  static CallState& state(const Context& context);

  static const std::string& type(const Executor& executor);
  static Methods& methods(Executor& executor);
};

}  // namespace tasklib::executor
