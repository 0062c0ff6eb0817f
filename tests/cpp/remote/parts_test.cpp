#include "remote/parts.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "client_graph.h"

namespace rain::remote {
namespace {

using Offers = std::vector<std::set<std::string>>;

TEST(Parts, name_what_goes_between_them) {
  ClientGraph client;
  const auto input = client.constant("x");
  std::vector<graph::ObjectRef> mapped;
  for (int i = 0; i < 8; ++i) mapped.push_back(client.task("e/map", {input}, 1)->outputs[0]);
  const auto reduce = client.task("e/reduce", mapped, 1);
  reduce->outputs[0]->kept = true;
  const auto parts = cut_submission(client.submission, {2, 4, 1.0}, {});
  ASSERT_EQ(parts.size(), 5u);
  std::vector<std::int32_t> made;
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(parts[i].task_ids.size(), 2u);
    EXPECT_TRUE(parts[i].inputs.empty());
    made.insert(made.end(), parts[i].outputs.begin(), parts[i].outputs.end());
  }
  EXPECT_EQ(parts[4].task_ids, std::vector{reduce->id.id});
  EXPECT_EQ(parts[4].inputs, made);
  EXPECT_EQ(parts[4].outputs, std::vector{reduce->outputs[0]->id.id});
}

TEST(Parts, keep_apart_what_no_governor_offers_together) {
  ClientGraph client;
  const auto a = client.task("a/t", {}, 1);
  const auto concat = client.task("buildin/concat", {a->outputs[0]}, 1);
  client.task("b/t", {concat->outputs[0]}, 1);
  EXPECT_EQ(cut_submission(client.submission, {1, 4096, 1.0}, Offers{{"a"}, {"b"}, {"a"}}).size(),
            2u);
  EXPECT_EQ(cut_submission(client.submission, {1, 4096, 1.0}, Offers{{"a"}, {"a", "b"}}).size(),
            1u);
  EXPECT_EQ(cut_submission(client.submission, {1, 4096, 1.0}, {}).size(), 1u);
}

TEST(Parts, more_sorts_of_governors_than_bits_keep_the_rule) {
  ClientGraph client;
  Offers offers;
  for (int i = 0; i < 200; ++i) {
    const std::string executor = std::to_string(i);
    offers.push_back({executor});
    client.task(executor + "/t", {}, 0);
  }
  for (const auto& part : cut_submission(client.submission, {1, 4096, 1.0}, offers))
    EXPECT_LE(part.executors.size(), 1u);
}

TEST(Parts, an_export_is_alone) {
  ClientGraph client;
  const auto make = client.task("e/t", {}, 1);
  const auto save = client.task("buildin/export", {make->outputs[0]}, 0);
  const auto parts = cut_submission(client.submission, {1, 4096, 1.0}, {});
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1].task_ids, std::vector{save->id.id});
}

TEST(Parts, are_expected_to_take_what_their_methods_took) {
  ClientGraph client;
  for (int i = 0; i < 4; ++i) client.task("e/t", {}, 0);
  auto means = std::make_shared<RunMeans>();
  means->measured(client.methods->intern("e/t"), std::chrono::milliseconds(400));
  client.submission.run_means = means;
  const auto parts = cut_submission(client.submission, {1, 4096, 1.0}, {});
  ASSERT_EQ(parts.size(), 4u);
  EXPECT_NEAR(parts[0].seconds, 0.4, 1e-6);
  client.task("e/other", {}, 0);
  const auto unknown = cut_submission(client.submission, {1, 4096, 1.0}, {});
  EXPECT_EQ(unknown.back().seconds, 0);
}

}  // namespace
}  // namespace rain::remote
