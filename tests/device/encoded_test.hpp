// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/device/compress/compress.cuh>
#include <entrain/device/nn/convert.cuh>
#include <entrain/parallel/encoded_exchange.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/staged_exchange.hpp>

#include "device_test.hpp"

// What tests of parallel/encoded_exchange.hpp share: exchanges of random gradients whose encodings the device makes, or the host.

namespace entrain::test {

// A compressor under another name, for which there are no kernels.
template <class C>
struct host_only {
  using slot_type = slot::compression;
  static constexpr auto payload = C::payload;
  static constexpr bool positional = compress::is_positional<C>, variable = compress::is_variable<C>, ascending = compress::is_ascending<C>;
  template <class T>
  using wire_type = compress::wire_of<C, T>;
  C named;
  compress::way travels;

  constexpr explicit host_only(C c) : named(c), travels(compress::way_of(c)) {}
  template <class T>
  std::size_t wire_count(const compress::block& b) const { return named.template wire_count<T>(b); }
  template <class T>
  auto make_state(const compress::block& b) const { return named.template make_state<T>(b); }
  template <class S, class T, class Wire>
  auto encode(S& s, const compress::context& where, std::span<T> values, std::span<Wire> wire) const { return named.encode(s, where, values, wire); }
  template <class T, class Wire>
  void decode_add(const compress::context& where, std::span<const Wire> wire, std::span<T> values, T scale) const { named.decode_add(where, wire, values, scale); }
  std::string describe() const { return "host_only{" + entrain::describe(named) + "}"; }
  friend bool operator==(const host_only&, const host_only&) = default;
};
template <class C>
auto on_host(const C& c) { return host_only<C>(c); }
template <class C>
auto on_host(const compress::error_feedback<C>& c) { return compress::error_feedback<host_only<C>>(host_only<C>(c.inner), c.rescale); }

inline parameter_layout some_blocks() {
  parameter_layout made;
  made.add("running", {5}, block_kind::statistic);
  made.add("a", {40, 30}, block_kind::weight);
  made.add("b", {7}, block_kind::weight);
  made.add("c", {300, 3}, block_kind::weight);
  return made;
}

inline constexpr std::uint64_t steps = 5;

struct exchanged {
  std::vector<std::vector<double>> sums;  // of every step
  std::string explained;
  std::uint64_t planned = 0, counted = 0, allocated = 0;
  bool on_device = false;  // so the plan says of all its parts
  bool operator==(const exchanged& other) const { return sums == other.sums && planned == other.planned && counted == other.counted; }
};

// Five steps of random gradients, on every rank others.
template <class T, class Exchange, class C, class World = comm::threads>
exchanged exchange_some(int ranks, const C& c, std::size_t bucket_bytes, bool whole_blocks) {
  std::vector<exchanged> found(std::size_t(ranks), exchanged{});
  comm::run_ranks(ranks, [&](comm::threads& host) {
    auto& out = found[std::size_t(host.rank())];
    std::conditional_t<std::is_same_v<World, comm::threads>, comm::threads&, World> world = [&]() -> decltype(auto) {
      if constexpr (std::is_same_v<World, comm::threads>) return (host);
      else return World(host, 0);
    }();
    const auto engine = engine::cuda{}.start();
    const parameter_layout layout = some_blocks();
    Exchange exchange(layout, engine, world, c, bucket_bytes, whole_blocks);
    on_device<T> gradient = on_device<T>::zeros(layout.size());
    const auto before = world.counters().bytes;
    for (std::uint64_t step = 0; step < steps; ++step) {
#if !defined(__CUDACC__)
      comm::barrier(world);
      if (step == 1) out.allocated = std::uint64_t(emulated::allocations);
      comm::barrier(world);
#endif
      gradient.set(normal_values<T>(layout.size(), std::uint32_t(step * 16 + std::uint64_t(world.rank()))));
      exchange.begin_step({.seed = 3, .step = step, .rank = std::uint32_t(world.rank()), .learning_rate = 0.1 / double(1 + step)});
      for (const std::size_t block : {2, 3, 1, 0}) exchange.ready(block, view<T, cuda_space>(gradient.data(), gradient.size()));
      exchange.finish(view<T, cuda_space>(gradient.data(), gradient.size()), 10);
      std::vector<double> sums;
      const auto values = gradient.host();
      for (const auto& b : layout.blocks())
        for (std::size_t i = b.offset; b.kind != block_kind::statistic && i < b.offset + b.count; ++i) sums.push_back(double(values[i]));
      out.sums.push_back(std::move(sums));
    }
    out.counted = world.counters().bytes - before;
#if !defined(__CUDACC__)
    comm::barrier(world);
    out.allocated = std::uint64_t(emulated::allocations) - out.allocated;
#endif
    parallel::plan plan;
    exchange.add_to(plan, 0);
    out.planned = steps * parallel::bytes_sent(plan), out.explained = exchange.explain(0);
    out.on_device = std::all_of(plan.begin(), plan.end(), [](const parallel::planned& each) { return each.on_device; });
  });
  for (const auto& other : found)
    if (!(other.sums == found[0].sums)) throw communication_error("test", "ranks differ", "the same sums", "others");
  return found[0];
}

template <class T, class C>
void check_as_staged(int ranks, const C& c, std::size_t bucket_bytes = 3000, bool whole_blocks = false) {
  CAPTURE(ranks, entrain::describe(c), sizeof(T), bucket_bytes, whole_blocks);
  const auto other = on_host(c);
  const auto found = exchange_some<T, parallel::encoded_exchange<T, float, engine::cuda_queue, comm::threads, C>>(ranks, c, bucket_bytes, whole_blocks);
  const auto expected = exchange_some<T, parallel::staged_exchange<T, float, engine::cuda_queue, comm::threads, std::remove_const_t<decltype(other)>>>(ranks, other, bucket_bytes, whole_blocks);
  CHECK(found == expected);
  CHECK(found.allocated == 0);
  if (compress::is_variable<C>) CHECK(found.counted <= found.planned);
  else if constexpr (C::payload != compress::payload_kind::sparse) CHECK(found.counted == found.planned);
  CHECK_THAT(found.explained, Catch::Contains("encoded on the device"));
}

// On one to four ranks, in fp32 and of gradients in bfloat16.
template <class C>
void check_as_staged(const C& c) {
  for (const int ranks : {1, 2, 3, 4}) check_as_staged<float>(ranks, c);
  check_as_staged<bfloat16>(2, c);
}

}  // namespace entrain::test
