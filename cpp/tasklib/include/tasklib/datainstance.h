#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "ids.h"
#include "value.h"

namespace tasklib {

namespace executor {
class Content;
struct Metadata;
struct Access;
}  // namespace executor

class DataInstance;
using DataInstancePtr = std::unique_ptr<DataInstance>;
using DataInstanceVec = std::vector<DataInstancePtr>;

/// The data of one data object as a task sees it, with what is known about it: an input, or an
/// output on its way out. Made by the executor (inputs), by the subclasses below, or by sealing a
/// MutableBlob.
///
/// May be kept for longer than the call and even the Executor; the data stay valid and, for data
/// in shared memory, count as viewed until the instance and all that share() and keep_alive() gave
/// are gone. Not thread-safe, but one instance may be used in one thread and what share() gave of
/// it in another.
class DataInstance {
 public:
  virtual ~DataInstance();
  DataInstance(const DataInstance&) = delete;
  DataInstance& operator=(const DataInstance&) = delete;

  virtual std::size_t get_size() const;
  /// The bytes; not null even when there are none. Valid as long as this instance or anything that
  /// keep_alive() gave. Throws when the data are a directory or a file that can't be read.
  virtual const unsigned char* get_ptr() const;
  std::string read_as_string() const;

  /// The bytes as numbers (or other plain structs), in place; of a slice that begins at an offset
  /// where no T may lie, a copy. Throws when the size is no multiple of T's.
  template <class T>
  const T* as() const {
    static_assert(std::is_trivially_copyable<T>::value, "only plain data has a meaning as bytes");
    static_assert(alignof(T) <= 16, "data are aligned to 16 bytes at least, no more");
    return static_cast<const T*>(as_items(sizeof(T), alignof(T)));
  }
  /// How many T there are.
  template <class T>
  std::size_t count() const {
    return get_size() / sizeof(T);
  }

  /// Of inputs; not valid for anything else.
  DataObjectId get_id() const;
  /// Of inputs: the task's name for the input if it has one, else the object's own label.
  const std::string& get_label() const;
  bool is_directory() const;
  /// Where the data lie as a file or directory; empty when they don't.
  const std::string& get_path() const;

  /// What the data are ("text", "json", ...); what the producer said goes before what the client
  /// declared.
  const std::string& get_content_type() const;
  /// For an output: what the producer says.
  void set_content_type(const std::string& content_type);

  /// User attributes that the client gave the object.
  Value::Map get_spec_attributes() const;
  /// User attributes that the producing task set.
  Value::Map get_attributes() const;
  /// The producer's attribute `key`, else the client's, else null.
  Value get_attribute(const std::string& key) const;
  /// For an output: an attribute that the client and later tasks will see.
  void set_attribute(const std::string& key, const Value& value);

  /// Another instance of the same data, without a copy: to put one input into several outputs, or
  /// to keep it. It starts with the same content type and attributes.
  DataInstancePtr share() const;
  /// The bytes as memory of one's own, to be written: what is written nobody else sees. Of data in
  /// shared memory or a file the kernel copies each page when it is first written, small data are
  /// copied at once. Lives as long as the pointer, which may be dropped in any thread.
  std::shared_ptr<unsigned char> writable_copy() const;
  /// Some of the bytes, without a copy. As an output: if this is an input of the call, or part of
  /// one, no byte is copied either, and the output keeps this blob's memory as long as it lives.
  /// It starts without content type and attributes. Throws std::out_of_range, and as get_ptr().
  DataInstancePtr slice(std::size_t offset_bytes, std::size_t size_bytes) const;
  /// Keeps the bytes (not the instance) valid; may be dropped in any thread.
  std::shared_ptr<const void> keep_alive() const;

 protected:
  explicit DataInstance(std::shared_ptr<executor::Content> content);

 private:
  friend struct executor::Access;
  const void* as_items(std::size_t item_bytes, std::size_t alignment) const;
  executor::Metadata& metadata();

  std::shared_ptr<executor::Content> content_;
  std::unique_ptr<executor::Metadata> metadata_;  // none: nothing is known
};

/// An output in ordinary memory. A large one is copied into shared memory when it is sent;
/// Context::alloc() avoids that.
class MemDataInstance : public DataInstance {
 public:
  explicit MemDataInstance(std::vector<unsigned char>&& data);
  explicit MemDataInstance(const std::string& data);
  explicit MemDataInstance(std::string&& data);
};

/// An output that was written to a file (or directory) by the task. The path must be absolute and
/// inside the directory in which the executor was started; the governor takes the file away.
/// The file is looked at when the size or the bytes are asked for.
class FileDataInstance : public DataInstance {
 public:
  explicit FileDataInstance(const std::string& path);
};

/// An output in memory that somebody else owns, and that must not change until the call's end.
/// `keep_alive` owns it. Copied when it is sent.
class ForeignDataInstance : public DataInstance {
 public:
  ForeignDataInstance(std::shared_ptr<const void> keep_alive, const void* data,
                      std::size_t size_bytes);
};

/// Thrown when there is no room for an output: the message says how much was asked for and what
/// to do.
class StoreFull : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace tasklib
