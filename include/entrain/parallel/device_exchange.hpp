// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/traits.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/parallel/buckets.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/routes/route.hpp>

// The exchange of gradients that lie in an engine's memory, where the communicator reaches it by itself (comm/nccl.hpp) and nothing is
// encoded: a bucket is summed where it lies as soon as its blocks are final, beside the arithmetic; no copy, no wait of the host.
// Anything else goes through host memory (parallel/staged_exchange.hpp, whose interface this is).
//
// Placement = sharded: a rank gets its 1/p of every bucket's sum, by reduce-scatters (parallel/sharded.hpp); the gradient has room for whole
// buckets.
//
// Sums are in the type that the model computes with: with bfloat16 each addition rounds, where the staged exchange adds in the kept
// type. Cost: one all-reduce a bucket. Memory: none.
//
// The device learns by events when sums are there; the host asks later, at the next step or before it waits for the device, so that a
// rank that does not come ends in communication_error and not in a wait without end.

namespace entrain::parallel {

template <class T, class Engine, class Communicator, class Compression>
inline constexpr bool exchanges_on_device = [] {
  if constexpr (!compress::is_identity<Compression>) return false;
  else return comm::native<Communicator, comm::collective::all_reduce, T, comm::sum, typename Engine::space> && requires(Communicator& c, const Engine& e) {
    c.follow(e);
    c.hold(e);
  };
}();

template <class T, class Engine, class Communicator, class Placement = replicated>
class device_exchange {
  static constexpr bool is_sharded = std::same_as<Placement, sharded>;
  using space = typename Engine::space;

 public:
  template <class Compression>
  device_exchange(const parameter_layout& layout, const Engine& engine, Communicator& comm, const Compression&, std::size_t bucket_bytes, bool whole_blocks)
      : layout_(layout), engine_(engine), comm_(comm),
        queue_(layout, cut(layout, comm.size(), bucket_bytes, whole_blocks)), under_way_(queue_.buckets().size()) {
    comm.follow(engine);
  }

  void begin_step(const compress::context&) {
    settle();
    queue_.reset();
  }

  // The block's gradient will be final when the engine has done what it has been given so far.
  void ready(std::size_t block, view<T, space> gradient) {
    if (!routes::trained(layout_[block])) return;
    queue_.ready(block, [&](std::size_t b) {
      const auto [begin, end] = range(b);
      if constexpr (is_sharded) {
        const std::size_t part = (end - begin) / std::size_t(comm_.size());
        under_way_[b] = comm::start_reduce_scatter(comm_, view<const T, space>(gradient.subview(begin, end - begin)), gradient.subview(begin + std::size_t(comm_.rank()) * part, part), comm::sum{});
      } else {
        under_way_[b] = comm::start_all_reduce(comm_, gradient.subview(begin, end - begin), comm::sum{});
      }
    });
  }

  // After the last block; afterwards the engine's next work finds the sums in `gradient`.
  void finish(view<T, space>, double) {
    if (under_way_.empty()) return;
    if (const std::size_t last = under_way_.size() - 1; !queue_.started(last))
      throw usage_error("gradient exchange", "waits for parameter blocks that the model has not reported as ready, such as '" + layout_[queue_.buckets()[last].blocks.back()].name + "'");
    comm_.hold(engine_);
  }

  // Waits until everything has arrived: called before the host waits for the device. Errors: communication_error.
  void settle() {
    for (auto& one : under_way_) one.wait();
  }

  void add_to(plan& p, std::uint64_t /*step*/) const {
    for (std::size_t b = 0; b < under_way_.size(); ++b) p.push_back({.operation = operation, .phase = "gradient", .element_bytes = sizeof(T), .count = range(b).second - range(b).first, .on_device = true});
  }
  std::string explain(std::uint64_t /*step*/) const {
    if (under_way_.empty()) return "one rank, nothing is encoded: nothing travels\n";
    std::string out;
    for (std::size_t b = 0; b < under_way_.size(); ++b)
      out += "on the device, " + std::to_string(queue_.buckets()[b].blocks.size()) + " blocks from '" + layout_[queue_.buckets()[b].blocks.front()].name + "': " + std::string(operation) + " of " +
             std::to_string((range(b).second - range(b).first) * sizeof(T)) + " bytes;\n";
    return out;
  }

  // Nothing is remembered from step to step.
  template <class Sink>
  void save(Sink&) { settle(); }
  template <class Source>
  void load(Source&) {}

 private:
  static constexpr std::string_view operation = is_sharded ? "reduce_scatter" : "all_reduce";
  static std::vector<bucket> cut(const parameter_layout& layout, int ranks, std::size_t bucket_bytes, bool whole_blocks) {
    if constexpr (is_sharded) return ranks == 1 ? std::vector<bucket>() : cut_for_shards<T>(layout, ranks, bucket_bytes);
    else return cut_for_sums<T>(layout, ranks, bucket_bytes, whole_blocks);
  }
  std::pair<std::size_t, std::size_t> range(std::size_t b) const {
    const bucket& whole = queue_.buckets()[b];
    if constexpr (is_sharded) return {whole.begin, whole.end};
    else return range_within(layout_, whole);
  }

  const parameter_layout& layout_;
  Engine engine_;
  Communicator& comm_;
  bucket_queue queue_;
  std::vector<comm::pending<Communicator>> under_way_;
};

}  // namespace entrain::parallel
