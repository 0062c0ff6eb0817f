#include "tasklib/datainstance.h"

#include <cstring>
#include <utility>

#include "executor/access.h"
#include "executor/call.h"
#include "executor/content.h"

namespace tasklib {

using executor::Content;
using executor::FileContent;
using executor::Metadata;

namespace {

const Metadata kUnknown;

}  // namespace

DataInstance::DataInstance(std::shared_ptr<Content> content) : content_(std::move(content)) {}
DataInstance::~DataInstance() = default;

std::size_t DataInstance::get_size() const { return content_->size(); }
const unsigned char* DataInstance::get_ptr() const { return content_->data(); }

std::string DataInstance::read_as_string() const {
  const unsigned char* bytes = get_ptr();
  return std::string(reinterpret_cast<const char*>(bytes), get_size());
}

const void* DataInstance::as_items(std::size_t item_bytes, std::size_t alignment) const {
  const unsigned char* bytes = get_ptr();
  const std::size_t size = get_size();
  if (size % item_bytes != 0)
    throw std::length_error("the data have " + std::to_string(size) +
                            " bytes, which is no multiple of the " + std::to_string(item_bytes) +
                            " bytes of one item");
  return executor::Access::aligned(*this, bytes, size, alignment);
}

DataObjectId DataInstance::get_id() const {
  if (!metadata_) return DataObjectId();
  return {metadata_->spec.id.session, metadata_->spec.id.id};
}

const std::string& DataInstance::get_label() const {
  const Metadata& known = metadata_ ? *metadata_ : kUnknown;
  return known.task_label.empty() ? known.spec.label : known.task_label;
}

bool DataInstance::is_directory() const {
  if (metadata_ && metadata_->input) return metadata_->spec.data_type == wire::DataType::directory;
  return content_->kind() == Content::Kind::file &&
         static_cast<const FileContent&>(*content_).is_directory();
}

const std::string& DataInstance::get_path() const {
  static const std::string kNone;
  if (content_->kind() != Content::Kind::file) return kNone;
  return static_cast<const FileContent&>(*content_).path();
}

const std::string& DataInstance::get_content_type() const {
  const Metadata& known = metadata_ ? *metadata_ : kUnknown;
  return known.info.content_type.empty() ? known.spec.content_type : known.info.content_type;
}

void DataInstance::set_content_type(const std::string& content_type) {
  metadata().info.content_type = content_type;
}

Value::Map DataInstance::get_spec_attributes() const {
  return metadata_ ? executor::decode_attributes(metadata_->spec.user) : Value::Map();
}

Value::Map DataInstance::get_attributes() const {
  return metadata_ ? executor::decode_attributes(metadata_->info.user) : Value::Map();
}

Value DataInstance::get_attribute(const std::string& key) const {
  if (!metadata_) return Value();
  const wire::RawValue* raw = executor::find_raw(metadata_->info.user, key);
  if (raw == nullptr) raw = executor::find_raw(metadata_->spec.user, key);
  return raw == nullptr ? Value() : executor::decode_value(base::ByteView(*raw));
}

void DataInstance::set_attribute(const std::string& key, const Value& value) {
  executor::set_raw(metadata().info.user, key, executor::encode_value(value));
}

DataInstancePtr DataInstance::share() const {
  DataInstancePtr other(new DataInstance(content_));
  if (metadata_) other->metadata_.reset(new Metadata(*metadata_));
  return other;
}

std::shared_ptr<unsigned char> DataInstance::writable_copy() const {
  constexpr std::size_t kMappedBytes = 64 << 10;  // below, copying is cheaper than a mapping
  const std::size_t size = get_size();
  if (size >= kMappedBytes) {
    if (auto mapped = content_->map_private()) {
      unsigned char* const bytes = mapped.get();
      return {std::make_shared<std::pair<std::shared_ptr<Content>, std::shared_ptr<void>>>(
                  content_, std::move(mapped)),
              bytes};
    }
  }
  const auto copy = std::make_shared<executor::HeapContent>(size);
  if (size > 0) std::memcpy(copy->writable(), get_ptr(), size);
  return std::shared_ptr<unsigned char>(copy, copy->writable());
}

DataInstancePtr DataInstance::slice(std::size_t offset_bytes, std::size_t size_bytes) const {
  const std::size_t size = get_size();
  if (size_bytes > size || offset_bytes > size - size_bytes)
    throw std::out_of_range("a slice of " + std::to_string(size_bytes) + " bytes at offset " +
                            std::to_string(offset_bytes) + " of data of " + std::to_string(size) +
                            " bytes");
  return DataInstancePtr(
      new ForeignDataInstance(keep_alive(), get_ptr() + offset_bytes, size_bytes));
}

std::shared_ptr<const void> DataInstance::keep_alive() const { return content_; }

Metadata& DataInstance::metadata() {
  if (!metadata_) metadata_.reset(new Metadata);
  return *metadata_;
}

MemDataInstance::MemDataInstance(std::vector<unsigned char>&& data)
    : DataInstance(
          std::make_shared<executor::OwnedContent<std::vector<unsigned char>>>(std::move(data))) {}
MemDataInstance::MemDataInstance(const std::string& data)
    : DataInstance(std::make_shared<executor::OwnedContent<std::string>>(data)) {}
MemDataInstance::MemDataInstance(std::string&& data)
    : DataInstance(std::make_shared<executor::OwnedContent<std::string>>(std::move(data))) {}

FileDataInstance::FileDataInstance(const std::string& path)
    : DataInstance(std::make_shared<FileContent>(path)) {}

ForeignDataInstance::ForeignDataInstance(std::shared_ptr<const void> keep_alive, const void* data,
                                         std::size_t size_bytes)
    : DataInstance(std::make_shared<executor::ForeignContent>(std::move(keep_alive),
                                                              base::ByteView(data, size_bytes))) {}

// ---- MutableBlob ------------------------------------------------------------------------------

MutableBlob::MutableBlob() noexcept = default;
MutableBlob::~MutableBlob() = default;

MutableBlob::MutableBlob(MutableBlob&& other) noexcept
    : content_(std::move(other.content_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MutableBlob& MutableBlob::operator=(MutableBlob&& other) noexcept {
  content_ = std::move(other.content_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void MutableBlob::shrink(std::size_t size_bytes) {
  if (size_bytes > size_)
    throw std::invalid_argument("a blob of " + std::to_string(size_) +
                                " bytes can't be shrunk to " + std::to_string(size_bytes));
  if (!content_) return;
  size_ = size_bytes;
  if (content_->kind() == Content::Kind::room)
    static_cast<executor::RoomContent&>(*content_).shrink(size_bytes);
  else
    static_cast<executor::HeapContent&>(*content_).shrink(size_bytes);
}

DataInstancePtr MutableBlob::seal() && {
  if (!content_)
    throw std::logic_error("this blob holds nothing: it was moved from, or sealed already");
  data_ = nullptr;
  size_ = 0;
  return executor::Access::make(std::move(content_), nullptr);
}

}  // namespace tasklib
