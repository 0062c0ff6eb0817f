#include "tasklib/context.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "tasklib/executor.h"

namespace tasklib {
namespace {

TEST(Context, a_task_function_can_be_tried_without_a_governor) {
  const TaskFunction twice = [](Context& ctx, auto& inputs, auto& outputs) {
    if (!ctx.check_n_args(1)) return;
    auto blob = ctx.alloc<double>(inputs[0]->template count<double>());
    const double* x = inputs[0]->template as<double>();
    for (std::size_t i = 0; i < blob.size() / sizeof(double); ++i)
      blob.template as<double>()[i] = 2 * x[i];
    outputs.push_back(std::move(blob).seal());
  };
  const double numbers[] = {1, 2, 3};
  DataInstanceVec inputs, outputs;
  inputs.push_back(std::make_unique<ForeignDataInstance>(nullptr, numbers, sizeof numbers));
  Context ctx(1);
  twice(ctx, inputs, outputs);
  ASSERT_EQ(outputs.size(), 1u);
  EXPECT_EQ(outputs[0]->count<double>(), 3u);
  EXPECT_EQ(outputs[0]->as<double>()[2], 6);

  Context wrong(2);
  twice(wrong, inputs, outputs);
  EXPECT_TRUE(wrong.has_error());
  EXPECT_EQ(wrong.get_error_message(), "Invalid number of arguments, expected = 1, but got = 2");
}

TEST(MutableBlob, is_aligned_can_be_shrunk_and_is_sealed_once) {
  Context ctx(0);
  for (const std::size_t size : {0, 1, 63, 64, 100'000}) {
    auto blob = ctx.alloc(size);
    EXPECT_EQ(blob.size(), size);
    ASSERT_NE(blob.data(), nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blob.data()) % 64, 0u);
  }
  auto blob = ctx.alloc(10);
  blob.data()[0] = 'x';
  const unsigned char* where = blob.data();
  blob.shrink(1);
  const DataInstancePtr sealed = std::move(blob).seal();
  EXPECT_EQ(sealed->get_ptr(), where);
  EXPECT_EQ(sealed->read_as_string(), "x");
  EXPECT_EQ(blob.data(), nullptr);
  EXPECT_THROW(std::move(blob).seal(), std::logic_error);
  EXPECT_THROW(MutableBlob().seal(), std::logic_error);
  EXPECT_THROW(ctx.alloc<double>(SIZE_MAX / 8), std::bad_alloc);
}

TEST(DataInstance, items_must_fill_the_data) {
  const MemDataInstance seven(std::string(7, 'x'));
  EXPECT_THROW(seven.as<double>(), std::length_error);
  EXPECT_EQ(seven.count<char>(), 7u);
  EXPECT_EQ(seven.as<char>()[6], 'x');
}

TEST(DataInstance, shares_bytes_and_starts_with_the_same_attributes) {
  MemDataInstance first(std::string("bytes"));
  first.set_content_type("text");
  first.set_attribute("k", 1);
  const DataInstancePtr second = first.share();
  EXPECT_EQ(second->get_ptr(), first.get_ptr());
  EXPECT_EQ(second->get_content_type(), "text");
  second->set_attribute("k", 2);
  EXPECT_EQ(first.get_attribute("k"), Value(1));
  EXPECT_EQ(second->get_attribute("k"), Value(2));
}

TEST(DataInstance, a_writable_copy_is_seen_by_nobody_else) {
  const MemDataInstance small(std::string("abc"));
  const auto own = small.writable_copy();
  own.get()[0] = 'x';
  EXPECT_EQ(small.read_as_string(), "abc");
  EXPECT_EQ(std::string(reinterpret_cast<char*>(own.get()), 3), "xbc");
  EXPECT_NE(MemDataInstance(std::string()).writable_copy(), nullptr);

  const std::string path = ::testing::TempDir() + "writable_copy";
  std::ofstream(path) << std::string(100'000, 'a');
  auto file = std::make_unique<FileDataInstance>(path);
  const auto mapped = file->writable_copy();
  mapped.get()[99'999] = 'x';
  EXPECT_EQ(file->get_ptr()[99'999], 'a');
  file.reset();
  EXPECT_EQ(mapped.get()[99'999], 'x');
  EXPECT_EQ(mapped.get()[0], 'a');
  std::remove(path.c_str());
}

TEST(DataInstance, bytes_outlive_it_while_somebody_keeps_them) {
  DataInstancePtr instance = std::make_unique<MemDataInstance>(std::string("x"));
  const std::weak_ptr<const void> watched = instance->keep_alive();
  std::shared_ptr<const void> kept = instance->keep_alive();
  instance.reset();
  EXPECT_FALSE(watched.expired());
  kept.reset();
  EXPECT_TRUE(watched.expired());
}

TEST(DataInstance, a_slice_is_the_same_bytes_and_keeps_them) {
  DataInstancePtr whole(new MemDataInstance(std::string("0123456789")));
  whole->set_content_type("text");
  const unsigned char* bytes = whole->get_ptr();
  DataInstancePtr part = whole->slice(2, 5)->slice(1, 3);
  EXPECT_EQ(part->get_ptr(), bytes + 3);
  EXPECT_EQ(part->get_content_type(), "");
  whole.reset();
  EXPECT_EQ(part->read_as_string(), "345");
  EXPECT_EQ(part->slice(3, 0)->get_size(), 0u);
  for (const auto& [offset, size] :
       {std::pair<std::size_t, std::size_t>{0, 4}, {4, 0}, {1, 3}, {~0ul, 2}})
    EXPECT_THROW(part->slice(offset, size), std::out_of_range);
}

TEST(DataInstance, items_of_a_slice_where_none_may_lie_are_an_aligned_copy) {
  const double numbers[] = {1, 2, 3};
  std::string text(1, 'x');
  text.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  const MemDataInstance whole(std::string(16, ' ') + text);
  const DataInstancePtr odd = whole.slice(17, sizeof numbers);
  const double* items = odd->as<double>();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(items) % alignof(double), 0u);
  EXPECT_EQ(items[2], 3);
  EXPECT_EQ(odd->as<double>(), items);  // made once
  EXPECT_EQ(odd->as<char>(), static_cast<const void*>(odd->get_ptr()));
}

TEST(DataInstance, rows_are_an_array) {
  Context ctx(0);
  auto made = ctx.alloc_array<std::int16_t>({3, 2});
  for (std::size_t i = 0; i < made.size(); ++i) made.data()[i] = static_cast<std::int16_t>(i);
  const Blob array = std::move(made).seal();
  const Blob rows = slice_rows(*array, 1, 3);
  const auto view = as_array<std::int16_t, 2>(*rows);
  EXPECT_EQ(view.shape(), (std::array<std::size_t, 2>{2, 2}));
  EXPECT_EQ(view(1, 1), 5);
  EXPECT_EQ(rows->get_ptr(), array->get_ptr() + 4);
  EXPECT_EQ(slice_rows(*array, 2, 2)->get_size(), 0u);
  EXPECT_THROW(slice_rows(*array, 2, 4), std::out_of_range);
  EXPECT_THROW(slice_rows(*array, 2, 1), std::out_of_range);
  EXPECT_THROW(slice_rows(*array->slice(0, 4), 0, 1), TypeMismatch);
}

TEST(FileDataInstance, looks_at_the_file_when_asked) {
  const std::string path = ::testing::TempDir() + "file_data_instance";
  FileDataInstance instance(path);
  EXPECT_EQ(instance.get_path(), path);
  EXPECT_THROW(instance.get_size(), std::runtime_error);
  std::ofstream(path) << "content";
  EXPECT_EQ(instance.get_size(), 7u);
  EXPECT_EQ(instance.read_as_string(), "content");
  EXPECT_FALSE(instance.is_directory());
  std::remove(path.c_str());
  EXPECT_TRUE(FileDataInstance(::testing::TempDir()).is_directory());
}

TEST(Sid, is_a_value) {
  EXPECT_FALSE(Sid().is_valid());
  EXPECT_TRUE(Sid(0, 1).is_valid());
  EXPECT_EQ(Sid(3, 4).to_string(), "[3,4]");
  EXPECT_EQ(Sid(3, 4), Sid(3, 4));
  EXPECT_NE(Sid(3, 4), Sid(4, 3));
  EXPECT_EQ(std::hash<Sid>()(Sid(3, 4)), std::hash<Sid>()(Sid(3, 4)));
}

}  // namespace
}  // namespace tasklib
