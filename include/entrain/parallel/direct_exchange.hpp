// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/algorithms/ring_all_reduce.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/compress/choices.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/parallel/buckets.hpp>
#include <entrain/parallel/device_sum.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/routes/route.hpp>

// The exchange of gradients that lie in an engine's memory, where the communicator's messages reach it (comm::mpi over an MPI that is
// CUDA-aware) and nothing is encoded: a bucket goes round a ring of ranks, straight from device memory, and is added up by kernels.
// The interface is that of parallel/staged_exchange.hpp, whose copies over the bus and sums on the processor it saves.
//
// It is built from messages because of what MPIs do with collectives of device memory: Open MPI crashes in MPI_Iallreduce of it, and
// sums in host memory in MPI_Allreduce; messages of it all of them have.
//
// Buckets start when the host sees that the device has made them final: at a moment that differs between ranks. So their messages go
// over a communicator of their own, with a tag a bucket, and never meet other collectives. Sums are in ring order: the same bits in every
// run and on every rank. While the model hands its blocks in (ready) they are pushed on without waiting.
//
// Cost: 2 (p - 1)/p of the gradient out of and into every rank, and an addition of as much by kernels. Memory: 1/p of the gradient.

namespace entrain::parallel {

// Whether that can be; whether it will is asked of the communicator when it is there. Sums of 16-bit gradients would round at every
// addition where the staged exchange adds in the kept type, so that they are left to it.
template <class T, class Kept, class Engine, class Communicator, class Compression>
inline constexpr bool may_exchange_directly = [] {
  if constexpr (compress::chooser<Compression> || !std::is_same_v<T, Kept> || !std::is_floating_point_v<T>) return false;
  else if constexpr (!compress::is_identity<Compression>) return false;
  else return requires(Communicator& c, view<T, typename Engine::space> memory, view<const T, typename Engine::space> constant, const Engine& e, const T* in, T* out) {
    { std::as_const(c).reaches_device_memory() } -> std::same_as<bool>;
    c.start_send(constant, 0, 0);
    c.start_receive(memory, 0, 0);
    add(e, in, in, out, std::size_t(0));
  };
}();

template <class T, class Engine, class Communicator>
class direct_exchange {
  using space = typename Engine::space;

 public:
  // All ranks make one at the same time.
  template <class Compression>
  direct_exchange(const parameter_layout& layout, const Engine& engine, Communicator& comm, const Compression&, std::size_t bucket_bytes, bool whole_blocks)
      : layout_(layout), engine_(engine), comm_(comm),
        own_(comm.split(0, comm.rank())), queue_(layout, cut_for_sums<T>(layout, comm.size(), bucket_bytes, whole_blocks)) {
    sums_.reserve(queue_.buckets().size());
    for (std::size_t b = 0; b < queue_.buckets().size(); ++b)
      sums_.emplace_back(comm::algorithms::ring_all_reduce, own_, engine_.beside(), range(b).second - range(b).first, int(b % most_tags));
  }

  void begin_step(const compress::context&) {
    settle();  // what a step that was broken off has left
    queue_.reset();
    started_ = 0;
  }

  // The block's gradient will be final when the engine has done what it has been given so far.
  void ready(std::size_t block, view<T, space> gradient) {
    if (!routes::trained(layout_[block])) return;
    queue_.ready(block, [&](std::size_t b) {
      const auto [begin, end] = range(b);
      comm_.counters().bytes += (end - begin) * sizeof(T);
      ++comm_.counters().collectives;
      sums_[b].start(gradient.data() + begin, engine_);
      started_ = b + 1;
    });
    progress();
  }

  // After the last block; afterwards the engine's next work finds the sums in `gradient`. Errors: usage_error; communication_error.
  void finish(view<T, space>, double) {
    if (started_ < sums_.size())
      throw usage_error("gradient exchange", "waits for parameter blocks that the model has not reported as ready, such as '" + layout_[queue_.buckets().back().blocks.back()].name + "'");
    settle();
  }

  // Waits until everything has arrived.
  void settle() {
    while (!progress()) std::this_thread::yield();
  }

  void add_to(plan& p, std::uint64_t /*step*/) const {
    for (std::size_t b = 0; b < sums_.size(); ++b) p.push_back({.operation = "all_reduce", .phase = "gradient", .element_bytes = sizeof(T), .count = range(b).second - range(b).first, .on_device = true});
  }
  std::string explain(std::uint64_t /*step*/) const {
    if (sums_.empty()) return "one rank, nothing is encoded: nothing travels\n";
    std::string out;
    for (std::size_t b = 0; b < sums_.size(); ++b)
      out += "straight from device memory by messages, " + std::to_string(queue_.buckets()[b].blocks.size()) + " blocks from '" + layout_[queue_.buckets()[b].blocks.front()].name + "': all_reduce of " +
             std::to_string((range(b).second - range(b).first) * sizeof(T)) + " bytes in a ring;\n";
    return out;
  }

  // Nothing is remembered from step to step.
  template <class Sink>
  void save(Sink&) {}
  template <class Source>
  void load(Source&) {}

 private:
  static constexpr std::size_t most_tags = 1 << 14;  // buckets start in order, so that those that share one are far apart

  std::pair<std::size_t, std::size_t> range(std::size_t b) const { return range_within(layout_, queue_.buckets()[b]); }
  // Pushes on what is under way; true when nothing is.
  bool progress() {
    bool done = true;
    for (std::size_t b = 0; b < started_; ++b)
      if (!sums_[b].done()) done = sums_[b].advance(own_, comm_.counters()) && done;
    return done;
  }

  const parameter_layout& layout_;
  Engine engine_;
  Communicator& comm_;
  Communicator own_;
  bucket_queue queue_;
  std::vector<device_sum<T, Engine, Communicator>> sums_;
  std::size_t started_ = 0;  // buckets of this step
};

}  // namespace entrain::parallel
