#include "object_data.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "blob/region.h"
#include "builtin/tree.h"

namespace rain {
namespace {

namespace fs = std::filesystem;
using tasklib::blob::Region;

constexpr std::uint64_t kRegionBytes = 1 << 20;
constexpr std::uint64_t kOffset = 64, kSize = 300'000;  // not on page boundaries

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class ObjectData : public ::testing::Test {
 protected:
  ObjectData() {
    char name[] = "/tmp/object-data-XXXXXX";
    place_ = std::make_unique<DataDirectory>(::mkdtemp(name));
    for (std::uint64_t i = 0; i < kSize; ++i) text_ += static_cast<char>(i * 7);
    std::memcpy(blob_->region->at(blob_->ref), text_.data(), kSize);
  }
  ~ObjectData() override { fs::remove_all(place_->path()); }

  std::unique_ptr<DataDirectory> place_;
  std::string text_;
  std::shared_ptr<Region> region_ = Region::create(tasklib::base::RegionId{1}, kRegionBytes);
  std::shared_ptr<BlobData> blob_ =
      std::make_shared<BlobData>(std::make_shared<ReleaseQueue>(), region_,
                                 tasklib::wire::BlobRef{region_->id(), kOffset, kSize});
};

TEST_F(ObjectData, file_of_a_blob_is_read_only_and_goes_with_it) {
  const std::string path = blob_->path(*place_);
  EXPECT_EQ(read(path), text_);
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0400u);
  EXPECT_EQ(blob_->path(*place_), path);
  blob_.reset();
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(ObjectData, file_of_a_blob_is_written_without_its_mapping) {
  ASSERT_EQ(::mprotect(region_->data(), kRegionBytes, PROT_NONE), 0);
  EXPECT_EQ(read(blob_->path(*place_)), text_);
}

TEST_F(ObjectData, bytes_go_where_the_kernel_copies_nothing_by_itself) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const tasklib::base::UniqueFd read_end(ends[0]), write_end(ends[1]);
  const InlineData small(tasklib::base::ByteView(std::string_view("some bytes")));
  write_bytes(small, write_end.get(), "pipe");
  char buffer[100];
  EXPECT_EQ(::read(read_end.get(), buffer, sizeof buffer), 10);
  // Appending files take no data from sendfile().
  const std::string path = place_->fresh();
  const tasklib::base::UniqueFd file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  write_bytes(*blob_, file.get(), path);
  EXPECT_EQ(read(path), text_);
}

TEST_F(ObjectData, writing_stops_when_asked) {
  const std::string path = place_->fresh();
  const tasklib::base::UniqueFd file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  const std::atomic<bool> stop{true};
  EXPECT_THROW(write_bytes(*blob_, file.get(), path, &stop), builtin::Stopped);
  EXPECT_EQ(read(path), "");
}

}  // namespace
}  // namespace rain
