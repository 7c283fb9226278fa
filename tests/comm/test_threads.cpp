// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "holds.hpp"
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/testing/communicator_laws.hpp>

// comm::threads: the laws on several rank counts, its promises about bits and operations in flight, and failures: whatever
// goes wrong, run_ranks returns with the exception of the rank where it began.

using namespace entrain;
using namespace std::chrono_literals;

static_assert(comm::communicator<comm::threads>);
static_assert(comm::native<comm::threads, comm::collective::all_reduce, bfloat16, comm::sum>);

namespace {

// The message with which the job ends; empty if it ends well.
template <class Body> std::string ending(int ranks, Body body, std::chrono::nanoseconds deadline = 20s) {
  try {
    comm::run_ranks(ranks, {.deadline = deadline}, body);
  } catch (const std::exception& e) { return e.what(); }
  return {};
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("threads obey the laws of a communicator") {
  for (const int ranks : {1, 2, 3, 4, 5, 8, 13}) {
    INFO(ranks << " ranks");
    CHECK(ending(
              ranks, [&](comm::threads& world) { testing::check_communicator(world, {.largest = ranks > 5 ? 1000u : 65537u}); }, 300s) ==
          "");
  }
}

TEST_CASE("a sum of floats has the bits of the sequential sum in rank order") {
  for (const int ranks : {2, 3, 5, 8})
    CHECK(ending(ranks, [&](comm::threads& world) {
            for (const std::size_t n : {5u, 64u, 65u, 1000u, 40000u}) {
              const auto at = [&](int r, std::size_t i) { return float(random_stream{3, purpose::user, std::uint32_t(r)}.normal(i)); };
              std::vector<float> in(n), out(n), expected(n), root(n);
              for (std::size_t i = 0; i < n; ++i) {
                in[i] = at(world.rank(), i), expected[i] = at(0, i);
                for (int r = 1; r < ranks; ++r) expected[i] += at(r, i);
              }
              comm::all_reduce(world, in, out);
              comm::reduce(world, in, root, comm::sum{}, 1);
              if (std::memcmp(out.data(), expected.data(), n * sizeof(float)) != 0) throw error("all_reduce", "other bits");
              if (world.rank() == 1 && std::memcmp(root.data(), expected.data(), n * sizeof(float)) != 0)
                throw error("reduce", "other bits");
            }
          }) == "");
}

TEST_CASE("more collectives in flight than the ring has slots") {
  CHECK(ending(3, [](comm::threads& world) {
          std::vector<std::vector<float>> data(500, std::vector<float>(300, 1.0f));
          std::vector<comm::pending<comm::threads>> requests;
          for (auto& d : data) requests.push_back(comm::start_all_reduce(world, d));
          for (std::size_t i = requests.size(); i-- > 0;) requests[i].wait();
          for (auto& d : data)
            for (const float x : d)
              if (x != 3.0f) throw error("flight", "wrong sum");
        }) == "");
}

TEST_CASE("a rank that computes after it has arrived delays no reduction") {
  CHECK(ending(2, [](comm::threads& world) {
          std::vector<float> data(100000, 1.0f);
          std::atomic<bool>* flag = nullptr;
          std::atomic<bool> mine{false};
          if (world.rank() == 0) flag = &mine;
          comm::broadcast(world, std::span(&flag, 1), 0);
          auto request = comm::start_all_reduce(world, data);
          if (world.rank() == 0) {
            request.wait();
            *flag = true;
          } else {
            while (!*flag) std::this_thread::yield();  // never polls the request
            request.wait();
          }
          comm::barrier(world);
        }) == "");
}

TEST_CASE("a rank's handles share its counters, and a dropped request is waited for") {
  CHECK(ending(2, [](comm::threads& world) {
          comm::threads copy = world;
          std::vector<double> data(1000, 1.0);
          { auto dropped = comm::start_all_reduce(copy, data); }
          if (data[999] != 2.0) throw error("drop", "not complete");
          if (world.counters().bytes != 8000 || world.counters().collectives != 1) throw error("counters", "not shared");
        }) == "");
}

TEST_CASE("the exception of the rank that threw first comes out, with its type") {
  std::atomic<int> told{0};
  const auto body = [&](comm::threads& world) {
    std::vector<float> data(1000, 1.0f);
    try {  // from the first call on: rank 2 may have left while others are still in it
      comm::all_reduce(world, data);
      if (world.rank() == 2) throw std::out_of_range("rank two has had enough");
      for (;;) comm::all_reduce(world, data);
    } catch (const communication_error& e) {
      if (has(e.what(), "rank 2 failed: rank two has had enough")) ++told;
      throw;
    }
  };
  CHECK_THROWS_AS(comm::run_ranks(4, body), std::out_of_range);
  CHECK(told == 3);
  CHECK_THROWS_AS(comm::run_ranks(3,
                                  [](comm::threads& world) {
                                    if (world.rank() == 1) throw 7;
                                    comm::barrier(world);
                                  }),
                  int);
}

TEST_CASE("a rank may throw with operations in flight, of which others know nothing") {
  for (int repeat = 0; repeat < 20; ++repeat) {
    const auto text = ending(4, [&](comm::threads& world) {
      std::vector<float> data(50000, 1.0f), more(50000), message(3000);
      auto first = comm::start_all_reduce(world, data);
      auto never = comm::start_receive(world, message, (world.rank() + 1) % 4, 9);
      auto sent = comm::start_send(world, more, (world.rank() + 1) % 4, 3);
      if (world.rank() == repeat % 4) throw std::runtime_error("thrown in flight");
      auto second = comm::start_all_gather(world, view<float>(message), std::vector<float>(12000));
      first.wait();
      second.wait();
      never.wait();
    });
    CHECK(text == "thrown in flight");
  }
}

TEST_CASE("a failure reaches ranks that wait in a sub-group or for a message") {
  const auto text = ending(4, [](comm::threads& world) {
    auto part = world.split(world.rank() / 2, 0);
    if (world.rank() == 0) throw std::runtime_error("zero is gone");
    std::vector<int> x(1);
    if (world.rank() == 1) comm::barrier(part);
    if (world.rank() == 2) comm::receive(world, x, 3);
    if (world.rank() == 3) comm::receive(part, x, 0);
  });
  CHECK(text == "zero is gone");
}

TEST_CASE("the deadline names the operation and who is missing") {
  auto text = ending(
      3,
      [](comm::threads& world) {
        std::vector<float> data(10);
        if (world.rank() == 1) std::this_thread::sleep_for(600ms);
        comm::all_reduce(world, data);
      },
      100ms);
  INFO(text);
  CHECK(has(text, "all_reduce"));
  CHECK(has(text, "deadline of 0.1 s"));
  CHECK(has(text, "not arrived: rank 1"));

  text = ending(
      2,
      [](comm::threads& world) {
        std::vector<float> data(10);
        comm::receive(world, data, 1 - world.rank(), 4);  // both wait: a deadlock
      },
      100ms);
  INFO(text);
  CHECK(has(text, "receive"));
  CHECK(has(text, "has not started to send it (tag 4)"));
}

TEST_CASE("ranks that do not call the same are named, with what they called") {
  auto text = ending(3, [](comm::threads& world) {
    std::vector<float> data(1000);
    if (world.rank() == 2) comm::broadcast(world, data, 0);
    else comm::all_reduce(world, data);
  });
  INFO(text);
  CHECK(has(text, "all_reduce of 1000 f32 with sum (rank 0)"));
  CHECK(has(text, "broadcast of 1000 f32 at root 0 (rank 2)"));

  text = ending(3, [](comm::threads& world) {
    std::vector<float> data(world.rank() == 1 ? 90000 : 10);
    comm::all_reduce(world, data);
  });
  CHECK(has(text, "all_reduce of 10 f32 with sum (rank 0)"));
  CHECK(has(text, "all_reduce of 90000 f32 with sum (rank 1)"));

  text = ending(2, [](comm::threads& world) {
    std::vector<float> f(8);
    std::vector<std::int32_t> i(8);
    if (world.rank() == 0) comm::all_reduce(world, f);
    else comm::all_reduce(world, i);
  });
  CHECK(has(text, "8 i32"));

  text = ending(2, [](comm::threads& world) {
    std::vector<float> f(8);
    if (world.rank() == 0) comm::all_reduce(world, f);
    else comm::all_reduce(world, f, comm::maximum{});
  });
  CHECK(has(text, "with maximum (rank 1)"));

  text = ending(2, [](comm::threads& world) {
    const std::vector<std::size_t> send{1, world.rank() == 0 ? 2u : 1u}, receive{1, 1};
    std::vector<float> in(send[0] + send[1]), out(2);
    comm::all_to_all_v(world, in, send, out, receive);
  });
  INFO(text);
  CHECK(has(text, "rank 1 and rank 0 do not agree on the count"));
}

TEST_CASE("a rank that returns while others wait for it is named") {
  auto text = ending(
      3,
      [](comm::threads& world) {
        std::vector<float> data(10);
        if (world.rank() != 1) comm::all_reduce(world, data);
      },
      0ns);
  INFO(text);
  CHECK(has(text, "all_reduce: rank 1 has returned and will never take part"));
  text = ending(
      2,
      [](comm::threads& world) {
        std::vector<float> data(10);
        if (world.rank() == 0) comm::receive(world, data, 1, 2);
      },
      0ns);
  INFO(text);
  CHECK(has(text, "rank 1 has returned and will never send this message (tag 2)"));
}

TEST_CASE("messages of different size or type are an error on both sides") {
  std::atomic<int> sides{0};
  CHECK(ending(2, [&](comm::threads& world) {
          std::vector<float> data(world.rank() == 0 ? 10 : 8);
          try {
            if (world.rank() == 0) comm::send(world, data, 1);
            else comm::receive(world, data, 0);
          } catch (const usage_error& e) {
            if (has(e.what(), "10 f32") && has(e.what(), "8 f32")) ++sides;
          }
          comm::barrier(world);  // the group works on
        }) == "");
  CHECK(sides == 2);
}

TEST_CASE("wrong use is refused before anything is sent") {
  CHECK(ending(2, [](comm::threads& world) {
          std::vector<float> three(3), four(4);
          HOLDS_THROWS(usage_error, comm::all_reduce(world, three, four));
          HOLDS_THROWS(usage_error, comm::all_gather(world, three, four));
          HOLDS_THROWS(usage_error, comm::all_to_all(world, three, three));
          HOLDS_THROWS(usage_error, comm::broadcast(world, three, 2));
          HOLDS_THROWS(usage_error, comm::send(world, three, -1));
        }) == "");
  CHECK_THROWS_AS(comm::run_ranks(0, [](comm::threads&) {}), usage_error);
}
