#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <stdexcept>
#include <thread>

#include "blob/extents.h"
#include "fake_governor.h"
#include "wire/codec.h"

namespace tasklib::executor::test {
namespace {

using wire::BlobRef;
using wire::Protocol;

constexpr std::size_t kLarge = 100'000;

class Cbor2 : public ::testing::Test {
 protected:
  Cbor2() {
    Executor& executor = governor.executor;
    executor.add_task("hello", [](Context&, auto& inputs, auto& outputs) {
      outputs.push_back(
          std::make_unique<MemDataInstance>("Hello " + inputs[0]->read_as_string() + "!"));
    });
    executor.add_task("echo", [](Context&, auto& inputs, auto& outputs) {
      for (auto& input : inputs) outputs.push_back(std::move(input));
    });
    executor.add_task("fill", [](Context& ctx, auto&, auto& outputs) {
      auto blob = ctx.alloc(kLarge);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blob.data()) % 64, 0u);
      std::memset(blob.data(), 'f', kLarge);
      outputs.push_back(std::move(blob).seal());
    });
    executor.add_task("make", [](Context&, auto&, auto& outputs) {
      outputs.push_back(std::make_unique<MemDataInstance>(std::string(kLarge, 'm')));
    });
    executor.add_task("keep", [this](Context&, auto& inputs, auto& outputs) {
      kept.push_back(std::move(inputs[0]));
      outputs.push_back(std::make_unique<MemDataInstance>(std::string("kept")));
    });
  }

  FakeGovernor governor{Protocol::cbor2};
  DataInstanceVec kept;
};

std::string text_of(const DataInstancePtr& instance) { return instance->read_as_string(); }

TEST_F(Cbor2, registers_with_threads_features_and_version) {
  governor.start(3);
  EXPECT_EQ(governor.registration.protocol, "cbor-2");
  EXPECT_EQ(governor.registration.executor_id, 4711);
  EXPECT_EQ(governor.registration.executor_type, "tester");
  EXPECT_EQ(governor.registration.threads, 3u);
  EXPECT_EQ(governor.registration.features,
            (std::vector<std::string>{wire::kFeatureBoard, wire::kFeatureLeaseWanted,
                                      wire::kFeaturePing, wire::kFeatureSlices}));
  EXPECT_NE(governor.registration.tasklib_version, "");
  const auto& tasks = governor.registration.tasks;
  EXPECT_EQ(std::count_if(tasks.begin(), tasks.end(),
                          [](const auto& task) { return task.name == "hello"; }),
            1);
}

TEST_F(Cbor2, runs_many_calls_that_come_together) {
  governor.start();
  std::vector<wire::ToExecutor> calls;
  for (int i = 0; i < 200; ++i) calls.emplace_back(governor.call("hello", {memory("x")}));
  governor.send_all(calls);
  for (std::uint32_t i = 1; i <= 200; ++i) {
    const auto result = governor.receive_result();
    EXPECT_EQ(result.sequence, i);
    EXPECT_TRUE(result.success);
    EXPECT_EQ(governor.bytes_of(result.outputs.at(0).location), "Hello x!");
    EXPECT_EQ(result.copied_bytes, 0u);
    EXPECT_EQ(governor.board().phase(i), blob::CallBoard::Phase::done);
  }
  EXPECT_EQ(governor.end_by_shutdown(), "");
}

TEST_F(Cbor2, works_without_a_board) {
  governor.with_board = false;
  governor.start();
  EXPECT_TRUE(governor.run("hello", {memory("x")}).success);
}

TEST_F(Cbor2, measures_the_function_alone) {
  governor.executor.add_task("take", [](Context&, auto&, auto& outputs) {
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(2)) continue;
    outputs.push_back(std::make_unique<MemDataInstance>(std::string()));
  });
  governor.start();
  EXPECT_GE(governor.run("take").duration_ns, 2'000'000u);
}

// ---- Blobs ------------------------------------------------------------------------------------

TEST_F(Cbor2, reads_inputs_in_place) {
  const unsigned char* seen = nullptr;
  std::size_t size = 0;
  governor.executor.add_task("look", [&](Context&, auto& inputs, auto& outputs) {
    seen = inputs[0]->get_ptr();
    size = inputs[0]->get_size();
    outputs.push_back(std::make_unique<MemDataInstance>(inputs[0]->read_as_string()));
  });
  governor.start();
  const auto region = governor.send_region(1 << 20);
  std::memcpy(region->data() + 640, "shared bytes", 12);
  for (int i = 0; i < 2; ++i) {
    const auto before = seen;
    const auto result = governor.run("look", {BlobRef{region->id(), 640, 12}});
    EXPECT_EQ(governor.bytes_of(result.outputs.at(0).location), "shared bytes");
    EXPECT_EQ(result.copied_bytes, 0u);
    EXPECT_TRUE(result.held.empty());
    EXPECT_EQ(size, 12u);
    if (i == 1) {
      EXPECT_EQ(seen, before) << "the region is mapped once";
    }
  }
}

TEST_F(Cbor2, writes_outputs_in_place_without_a_copy) {
  governor.start();
  governor.lease(1 << 20);
  std::set<std::uint64_t> offsets;
  for (int i = 0; i < 3; ++i) {
    const auto result = governor.run("fill");
    ASSERT_TRUE(result.success) << result.info.error;
    const auto ref = std::get<BlobRef>(result.outputs[0].location);
    EXPECT_EQ(ref.size_bytes, kLarge);
    EXPECT_EQ(result.copied_bytes, 0u);
    EXPECT_EQ(governor.bytes_of(result.outputs[0].location), std::string(kLarge, 'f'));
    EXPECT_TRUE(offsets.insert(ref.offset_bytes).second) << "a blob in use was overwritten";
  }
}

TEST_F(Cbor2, copies_outputs_from_ordinary_memory_once) {
  governor.start();
  governor.lease(1 << 20);
  const auto result = governor.run("make");
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_EQ(result.copied_bytes, kLarge);
  EXPECT_TRUE(std::holds_alternative<BlobRef>(result.outputs[0].location));
  EXPECT_EQ(governor.bytes_of(result.outputs[0].location), std::string(kLarge, 'm'));
}

TEST_F(Cbor2, small_allocations_travel_inside_the_message) {
  governor.executor.add_task("small", [](Context& ctx, auto&, auto& outputs) {
    auto blob = ctx.alloc<double>(2);
    blob.template as<double>()[0] = 1;
    blob.template as<double>()[1] = 2;
    outputs.push_back(std::move(blob).seal());
    outputs.push_back(ctx.alloc(0).seal());
  });
  governor.start();
  const auto result = governor.run("small", {}, 2);
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_EQ(std::get<wire::Memory>(result.outputs[0].location).bytes.size, 16u);
  EXPECT_EQ(governor.bytes_of(result.outputs[1].location), "");
  EXPECT_EQ(result.copied_bytes, 0u);
}

TEST_F(Cbor2, asks_for_a_lease_when_there_is_no_room) {
  governor.start();
  governor.send(governor.call("fill"));
  const auto request = std::get<wire::LeaseRequest>(governor.receive());
  EXPECT_EQ(request.size_bytes, kLarge);
  governor.lease(1 << 20, request.request);
  EXPECT_TRUE(governor.receive_result().success);
  EXPECT_TRUE(governor.run("fill").success);
}

TEST_F(Cbor2, calls_that_come_while_it_waits_for_a_lease_are_not_lost) {
  governor.start();
  governor.send(governor.call("fill"));
  const auto request = std::get<wire::LeaseRequest>(governor.receive());
  governor.send(governor.call("hello", {memory("a")}));
  governor.send(governor.call("hello", {memory("b")}));
  governor.lease(1 << 20, request.request);
  for (std::uint32_t i = 1; i <= 3; ++i) {
    const auto result = governor.receive_result();
    EXPECT_EQ(result.sequence, i);
    EXPECT_TRUE(result.success);
  }
}

TEST_F(Cbor2, a_refused_lease_is_the_error_of_that_task) {
  governor.start();
  for (const char* method : {"fill", "make"}) {
    governor.send(governor.call(method));
    const auto request = std::get<wire::LeaseRequest>(governor.receive());
    governor.send(wire::LeaseRefused{request.request, "the store is full: raise memory_bytes"});
    const auto result = governor.receive_result();
    EXPECT_FALSE(result.success);
    EXPECT_EQ(result.info.error,
              "StoreFull: no room for an output of 100000 bytes: the store is full: raise "
              "memory_bytes");
  }
  EXPECT_TRUE(governor.run("hello", {memory("x")}).success);
}

TEST_F(Cbor2, a_task_may_catch_store_full_and_do_with_less) {
  governor.executor.add_task("modest", [](Context& ctx, auto&, auto& outputs) {
    try {
      outputs.push_back(ctx.alloc(kLarge).seal());
    } catch (const StoreFull&) {
      outputs.push_back(std::make_unique<MemDataInstance>(std::string("less")));
    }
  });
  governor.start();
  governor.send(governor.call("modest"));
  const auto request = std::get<wire::LeaseRequest>(governor.receive());
  governor.send(wire::LeaseRefused{request.request, "full"});
  EXPECT_TRUE(governor.receive_result().success);
}

TEST_F(Cbor2, gives_idle_leases_back_before_it_gives_up) {
  governor.start();
  const auto small = governor.lease(4096);
  governor.send(governor.call("fill"));
  auto request = std::get<wire::LeaseRequest>(governor.receive());
  governor.send(wire::LeaseRefused{request.request, "full"});
  EXPECT_EQ(std::get<wire::LeaseReturned>(governor.receive()).regions,
            std::vector<base::RegionId>{small->id()});
  request = std::get<wire::LeaseRequest>(governor.receive());
  governor.lease(1 << 20, request.request);
  EXPECT_TRUE(governor.receive_result().success);
}

TEST_F(Cbor2, returns_leases_beyond_two_when_idle) {
  governor.start();
  std::set<std::uint32_t> leased, returned;
  for (int i = 0; i < 3; ++i) leased.insert(governor.lease(4096)->id().value);
  while (returned.empty()) {
    // Leases arrive one by one or together; the third makes it return what it has.
    const auto message = std::get<wire::LeaseReturned>(governor.receive());
    for (const auto region : message.regions) returned.insert(region.value);
  }
  EXPECT_EQ(returned, leased);
}

TEST_F(Cbor2, reuses_what_the_governor_declares_free) {
  governor.start();
  const auto region = governor.lease(blob::extent_size(kLarge));
  const auto first = governor.run("fill");
  const auto ref = std::get<BlobRef>(first.outputs.at(0).location);
  governor.send(wire::Freed{region->id(), {{ref.offset_bytes, blob::extent_size(kLarge)}}});
  const auto second = governor.run("fill");
  EXPECT_EQ(std::get<BlobRef>(second.outputs.at(0).location), ref);
}

TEST_F(Cbor2, an_unsealed_or_failed_output_gives_its_room_back) {
  governor.executor.add_task("waste", [](Context& ctx, auto&, auto& outputs) {
    { auto unused = ctx.alloc(kLarge); }
    outputs.push_back(ctx.alloc(kLarge).seal());
    throw std::runtime_error("after");
  });
  governor.start();
  governor.lease(blob::extent_size(kLarge));
  EXPECT_FALSE(governor.run("waste").success);
  EXPECT_TRUE(governor.run("fill").success) << "no lease request: there is room";
}

TEST_F(Cbor2, a_shrunk_output_leaves_the_rest_to_others) {
  governor.executor.add_task("shrink", [](Context& ctx, auto&, auto& outputs) {
    auto blob = ctx.alloc(2 * kLarge);
    std::memset(blob.data(), 's', blob.size());
    EXPECT_THROW(blob.shrink(3 * kLarge), std::invalid_argument);
    blob.shrink(2000);
    EXPECT_EQ(blob.size(), 2000u);
    outputs.push_back(std::move(blob));
  });
  governor.executor.add_task("shrink_to_little", [](Context& ctx, auto&, auto& outputs) {
    auto blob = ctx.alloc(kLarge);
    std::memset(blob.data(), 'l', blob.size());
    blob.shrink(3);
    outputs.push_back(std::move(blob));
  });
  governor.start();
  governor.lease(blob::extent_size(2 * kLarge));
  const auto shrunk = governor.run("shrink");
  EXPECT_EQ(std::get<BlobRef>(shrunk.outputs.at(0).location).size_bytes, 2000u);
  EXPECT_EQ(governor.bytes_of(shrunk.outputs[0].location), std::string(2000, 's'));
  EXPECT_EQ(governor.bytes_of(governor.run("shrink_to_little").outputs.at(0).location), "lll");
  const auto filled = governor.run("fill");
  EXPECT_TRUE(filled.success);
  EXPECT_EQ(governor.bytes_of(shrunk.outputs[0].location), std::string(2000, 's'));
}

TEST_F(Cbor2, an_output_pushed_twice_is_copied_the_second_time) {
  governor.executor.add_task("twice", [](Context& ctx, auto&, auto& outputs) {
    auto blob = ctx.alloc(kLarge);
    std::memset(blob.data(), 't', kLarge);
    outputs.push_back(std::move(blob).seal());
    outputs.push_back(outputs[0]->share());
  });
  governor.start();
  governor.lease(1 << 20);
  const auto result = governor.run("twice", {}, 2);
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_EQ(result.copied_bytes, kLarge);
  EXPECT_FALSE(std::get<BlobRef>(result.outputs[0].location) ==
               std::get<BlobRef>(result.outputs[1].location));
  EXPECT_EQ(governor.bytes_of(result.outputs[1].location), std::string(kLarge, 't'));
}

TEST_F(Cbor2, an_output_that_a_task_kept_is_not_overwritten_while_it_is_viewed) {
  DataInstancePtr own;
  governor.executor.add_task("keep_own", [&](Context& ctx, auto&, auto& outputs) {
    auto blob = ctx.alloc(kLarge);
    std::memset(blob.data(), 'k', kLarge);
    outputs.push_back(std::move(blob).seal());
    own = outputs[0]->share();
  });
  governor.executor.add_task("drop_own", [&](Context&, auto&, auto& outputs) {
    EXPECT_EQ(text_of(own), std::string(kLarge, 'k'));
    own.reset();
    outputs.push_back(std::make_unique<MemDataInstance>(std::string()));
  });
  governor.start();
  const std::uint64_t extent = blob::extent_size(kLarge);
  const auto region = governor.lease(2 * extent);
  const auto kept_ref = std::get<BlobRef>(governor.run("keep_own").outputs.at(0).location);
  const auto other_ref = std::get<BlobRef>(governor.run("fill").outputs.at(0).location);
  governor.send(wire::Freed{region->id(), {{0, 2 * extent}}});
  EXPECT_EQ(std::get<BlobRef>(governor.run("fill").outputs.at(0).location), other_ref);
  EXPECT_TRUE(governor.run("drop_own").success);
  EXPECT_EQ(std::get<BlobRef>(governor.run("fill").outputs.at(0).location), kept_ref);
}

// ---- Views ------------------------------------------------------------------------------------

TEST_F(Cbor2, passes_inputs_through_without_holding_them) {
  governor.start();
  const auto region = governor.send_region(1 << 20);
  const auto call = governor.call("echo", {BlobRef{region->id(), 0, kLarge}});
  const auto result = governor.run(call);
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_EQ(std::get<wire::OtherObject>(result.outputs[0].location).id, call.spec.inputs[0].id);
  EXPECT_TRUE(result.held.empty());
  EXPECT_EQ(result.copied_bytes, 0u);
}

TEST_F(Cbor2, reports_what_it_holds_and_when_it_ends) {
  governor.executor.add_task("release", [this](Context&, auto&, auto& outputs) {
    kept.clear();
    outputs.push_back(std::make_unique<MemDataInstance>(std::string()));
  });
  governor.start();
  const auto region = governor.send_region(1 << 20);
  const BlobRef held{region->id(), 64, 5}, other{region->id(), 128, 5};
  std::memcpy(region->data() + 64, "bytes", 5);
  EXPECT_EQ(governor.run("keep", {held, other}).held, std::vector<std::uint32_t>{0});
  governor.send(wire::RegionDropped{region->id()});
  EXPECT_TRUE(governor.run("hello", {memory("x")}).success);
  EXPECT_EQ(text_of(kept.at(0)), "bytes") << "viewed bytes stay mapped";
  EXPECT_TRUE(governor.run("release").success);
  EXPECT_EQ(std::get<wire::Released>(governor.receive()).blobs, std::vector<BlobRef>{held});
}

TEST_F(Cbor2, a_writable_copy_of_an_input_is_private_and_holds_it) {
  std::shared_ptr<unsigned char> own;
  governor.executor.add_task("own", [&](Context&, auto& inputs, auto& outputs) {
    own = inputs[0]->writable_copy();
    own.get()[0] = 'x';
    outputs.push_back(std::make_unique<MemDataInstance>(std::string("done")));
  });
  governor.start();
  const auto region = governor.send_region(1 << 20);
  const BlobRef ref{region->id(), 640, kLarge};
  std::memcpy(region->data() + 640, "shared", 6);
  const auto result = governor.run("own", {ref});
  EXPECT_EQ(result.held, std::vector<std::uint32_t>{0});
  EXPECT_EQ(std::memcmp(region->data() + 640, "shared", 6), 0);
  EXPECT_EQ(std::memcmp(own.get(), "xhared", 6), 0);
  own.reset();
  EXPECT_EQ(std::get<wire::Released>(governor.receive()).blobs, std::vector<BlobRef>{ref});
}

TEST_F(Cbor2, a_view_that_ends_in_another_thread_is_reported_at_once) {
  std::shared_ptr<const void> alive;
  governor.executor.add_task("keep_bytes", [&](Context&, auto& inputs, auto& outputs) {
    alive = inputs[0]->keep_alive();
    outputs.push_back(std::make_unique<MemDataInstance>(std::string()));
  });
  governor.start();
  const auto region = governor.send_region(4096);
  const BlobRef ref{region->id(), 0, 100};
  EXPECT_EQ(governor.run("keep_bytes", {ref}).held.size(), 1u);
  alive.reset();  // in this thread, while the executor waits for a message
  EXPECT_EQ(std::get<wire::Released>(governor.receive()).blobs, std::vector<BlobRef>{ref});
}

TEST_F(Cbor2, a_kept_input_can_be_an_output_of_a_later_task) {
  governor.executor.add_task("give", [this](Context&, auto&, auto& outputs) {
    outputs.push_back(std::move(kept.at(0)));
    kept.clear();
  });
  governor.start();
  governor.lease(1 << 20);
  const auto region = governor.send_region(1 << 20);
  std::memset(region->data(), 'i', kLarge);
  EXPECT_EQ(governor.run("keep", {BlobRef{region->id(), 0, kLarge}}).held.size(), 1u);
  const auto result = governor.run("give");
  ASSERT_TRUE(result.success) << result.info.error;
  EXPECT_EQ(governor.bytes_of(result.outputs[0].location), std::string(kLarge, 'i'));
  EXPECT_EQ(std::get<wire::Released>(governor.receive()).blobs.size(), 1u);
}

TEST_F(Cbor2, instances_outlive_the_connection_and_the_executor) {
  {
    FakeGovernor other{Protocol::cbor2};
    other.executor.add_task("keep", [this](Context& ctx, auto& inputs, auto& outputs) {
      kept.push_back(inputs[0]->share());
      kept.push_back(ctx.alloc(kLarge).seal());
      outputs.push_back(std::make_unique<MemDataInstance>(std::string()));
    });
    other.start();
    other.lease(1 << 20);
    const auto region = other.send_region(4096);
    std::memcpy(region->data(), "bytes", 5);
    EXPECT_EQ(other.run("keep", {BlobRef{region->id(), 0, 5}}).held.size(), 1u);
    EXPECT_EQ(other.end_by_shutdown(), "");
  }
  EXPECT_EQ(text_of(kept.at(0)), "bytes");
  EXPECT_EQ(kept.at(1)->get_size(), kLarge);
  kept.clear();
}

// ---- Retract, cancel, end ---------------------------------------------------------------------

TEST_F(Cbor2, skips_retracted_calls_silently) {
  governor.start();
  const auto first = governor.call("hello", {memory("1")});
  const auto second = governor.call("hello", {memory("2")});
  const auto third = governor.call("hello", {memory("3")});
  EXPECT_TRUE(governor.board().retract(second.sequence));
  governor.send_all({first, second, third});
  EXPECT_EQ(governor.receive_result().sequence, first.sequence);
  EXPECT_EQ(governor.receive_result().sequence, third.sequence);
}

TEST_F(Cbor2, a_started_call_ends_early_when_the_board_says_so) {
  governor.executor.add_task("wait", [](Context& ctx, auto&, auto&) {
    while (!ctx.cancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  governor.start();
  const auto call = governor.call("wait");
  governor.send(call);
  while (governor.board().phase(call.sequence) != blob::CallBoard::Phase::started)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  governor.board().request_cancel(call.sequence);
  const auto result = governor.receive_result();
  EXPECT_TRUE(result.cancelled);
  EXPECT_FALSE(result.success);
  EXPECT_TRUE(governor.run("hello", {memory("x")}).success) << "the next call is not cancelled";
}

TEST_F(Cbor2, a_cancelled_call_that_never_looked_has_its_result) {
  governor.executor.add_task("ignore", [](Context&, auto&, auto& outputs) {
    outputs.push_back(std::make_unique<MemDataInstance>(std::string("done")));
  });
  governor.start();
  const auto call = governor.call("ignore");
  governor.send_all({call, wire::Cancel{call.spec.id, 999}});
  EXPECT_TRUE(governor.receive_result().success);
}

TEST_F(Cbor2, a_queued_call_is_cancelled_by_message) {
  governor.start();
  const auto call = governor.call("hello", {memory("x")});
  governor.send_all({call, wire::Cancel{call.spec.id, call.sequence}});
  const auto result = governor.receive_result();
  EXPECT_TRUE(result.cancelled);
  EXPECT_FALSE(result.success);
}

TEST_F(Cbor2, shutdown_and_end_of_file_end_start_without_an_error) {
  governor.start();
  EXPECT_EQ(governor.end_by_shutdown(), "");
  FakeGovernor other{Protocol::cbor2};
  other.start();
  EXPECT_EQ(other.end_by_closing(), "");
}

TEST_F(Cbor2, shutdown_drops_queued_calls) {
  bool ran = false;
  governor.executor.add_task("run", [&](Context&, auto&, auto&) { ran = true; });
  governor.start();
  governor.send_all({governor.call("run"), wire::Shutdown{}});
  EXPECT_EQ(governor.wait_for_end(), "");
  EXPECT_FALSE(ran);
}

TEST_F(Cbor2, a_governor_that_closes_instead_of_welcoming_is_an_error) {
  governor.start_without_welcome();
  EXPECT_NE(governor.end_by_closing().find("instead of welcoming executor 'tester'"),
            std::string::npos);
}

TEST_F(Cbor2, the_first_message_must_be_welcome) {
  governor.start_without_welcome();
  governor.send(governor.call("hello", {memory("x")}));
  EXPECT_NE(governor.wait_for_end().find("first message is not 'welcome'"), std::string::npos);
}

TEST_F(Cbor2, blobs_in_unknown_regions_or_out_of_range_are_errors) {
  governor.start();
  governor.send(governor.call("hello", {BlobRef{{77}, 0, 10}}));
  EXPECT_NE(governor.wait_for_end().find("region 77, which was never sent"), std::string::npos);

  FakeGovernor other{Protocol::cbor2};
  other.start();
  const auto region = other.send_region(4096);
  other.send(other.call("hello", {BlobRef{region->id(), 4000, 1000}}));
  EXPECT_NE(other.wait_for_end(), "");
}

TEST_F(Cbor2, a_region_without_a_descriptor_is_an_error) {
  governor.start();
  wire::Region message;
  message.id = {5};
  message.size_bytes = 4096;
  governor.send(message);
  EXPECT_NE(governor.wait_for_end().find("region 5 came without a descriptor"), std::string::npos);
}

TEST_F(Cbor2, malformed_frames_end_start_with_a_clear_error) {
  governor.start();
  governor.send_bytes(std::string("\x03\0\0\0abc", 7));
  EXPECT_NE(governor.wait_for_end().find("executor 'tester' (id 4711): "), std::string::npos);
}

TEST_F(Cbor2, the_executor_can_be_started_again) {
  governor.start();
  EXPECT_EQ(governor.end_by_shutdown(), "");
  governor.start();
  EXPECT_TRUE(governor.run("hello", {memory("again")}).success);
}

}  // namespace
}  // namespace tasklib::executor::test
