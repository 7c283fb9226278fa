// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/compress/concepts.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/parallel/buckets.hpp>
#include <entrain/parallel/compression_state.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/routes/encoded.hpp>
#include <entrain/parallel/routes/kernels.hpp>

// The exchange of gradients that lie in an engine's memory and are encoded there, by the kernels of one compressor, as it is or within
// error_feedback (whose residuals then lie there, too). A block is encoded beside the arithmetic as soon as it is final; what crosses the
// bus are encodings. Ranks exchange them as the host's exchange does, by any communicator: the same bytes, states and checkpoints, so
// that host and device go on from each other. What has no kernels goes through parallel/staged_exchange.hpp, whose interface this is.
//
// Communications begin in finish(), while the device is still at the backward pass, in the order of the messages; not earlier, since
// how far the device has got differs between ranks, and other collectives of a step begin before them.
//
// A communicator that reaches the device's memory (comm/nccl.hpp) takes encodings of fixed length from there, as soon as a message's
// blocks are final: no copy, no wait of the host. 16-bit sums are then in the order of that communicator.
//
// Memory on the device: wires (routes/encoded.hpp), the kernels' scratch, a residual a parameter; a block in the kept type where the
// model computes in another. In pinned host memory: the wires.

namespace entrain::parallel {

template <class T, class Kept, class Engine, class Communicator, class Compression>
class encoded_exchange {
  using space = typename Engine::space;
  using event = typename Engine::event;
  using without_feedback = routes::kernels::without_feedback<Compression>;
  using leaf = typename without_feedback::type;
  using route_type = routes::encoded<Kept, Engine, Communicator, leaf>;
  static constexpr bool feedback = without_feedback::feedback, converts = !std::is_same_v<T, Kept>;

 public:
  encoded_exchange(const parameter_layout& layout, const Engine& engine, Communicator& comm, const Compression& compression, std::size_t bucket_bytes, bool whole_blocks)
      : layout_(layout),
        engine_(engine),
        beside_(engine.beside()),
        comm_(comm),
        compression_(compression),
        route_(routes::setting<Communicator, leaf>{layout, comm, without_feedback::of(compression_)}),
        queue_(layout, cut(layout, bucket_bytes, whole_blocks)),
        fetched_(queue_.buckets().size()),
        scratch_(make_scratch(engine, scratch_bytes())),
        work_(converts ? largest_block() : 0) {
    for (const auto& b : queue_.buckets()) {
      if constexpr (route_type::positional) route_.add_message(b);
      else route_.add_message(b.blocks);
    }
    route_.allocate();
    if constexpr (route_type::direct) comm.follow(beside_);
    if constexpr (feedback) residual_ = buffer<Kept, space>(layout.size()), rate_.resize(layout.blocks().size());
  }

  void begin_step(const compress::context& where) {
    settle();
    where_ = where;
    where_.ranks = std::uint32_t(comm_.size());
    queue_.reset();
    route_.begin_steps();
  }

  // The block's gradient will be final when the engine has done what it has been given so far.
  void ready(std::size_t block, view<T, space> gradient) {
    if (!routes::trained(layout_[block])) return;
    engine_.mark(final_);
    beside_.await(final_);
    route_.encode(beside_, block, where_, corrected(block, gradient.data()), scratch_);
    if constexpr (feedback) route_.take_out(beside_, block, where_, residual_.data() + layout_[block].offset);
    queue_.ready(block, [&](std::size_t m) {
      if (route_.is_direct(m)) return route_.launch(m);
      route_.fetch(beside_, m);
      beside_.mark(fetched_[m]);
    });
  }

  // After the last block; afterwards the engine's next work finds the sums in `gradient`.
  void finish(view<T, space> gradient, double /*count*/) {
    const std::size_t messages = fetched_.size();
    if (messages == 0) return;
    if (!queue_.started(messages - 1))
      throw usage_error("gradient exchange", "waits for parameter blocks that the model has not reported as ready, such as '" + layout_[queue_.buckets()[messages - 1].blocks.back()].name + "'");
    for (std::size_t m = 0; m < messages; ++m) {
      if (route_.is_direct(m)) continue;
      wait_for(m);
      route_.begin(m);
    }
    for (int stage = 1; stage < route_type::stages; ++stage)
      for (std::size_t m = 0; m < messages; ++m) route_.advance(m, stage, {});
    if constexpr (route_type::direct) comm_.hold(beside_);
    const routes::landing<T, Kept> to{gradient.data(), work_.data()};
    for (std::size_t m = 0; m < messages; ++m) {
      if (!route_.is_direct(m)) route_.wait(m);
      route_.add_up(beside_, m, where_, to);
    }
    beside_.mark(returned_);
    engine_.await(returned_);
  }

  // Waits until everything has arrived: called before the host waits for the device. Errors: communication_error.
  void settle() {
    if constexpr (route_type::direct)
      for (std::size_t m = 0; m < fetched_.size(); ++m)
        if (route_.is_direct(m)) route_.wait(m);
  }

  void add_to(plan& p, std::uint64_t /*step*/) const {
    for (std::size_t m = 0; m < fetched_.size(); ++m) {
      const std::size_t first = p.size();
      route_.plan_of(m, p);
      for (std::size_t i = first; i < p.size(); ++i) p[i].on_device = route_.is_direct(m);
    }
  }
  std::string explain(std::uint64_t /*step*/) const {
    std::string out;
    for (std::size_t m = 0; m < fetched_.size(); ++m) {
      const auto& blocks = queue_.buckets()[m].blocks;
      plan sent;
      route_.plan_of(m, sent);
      out += describe(compression_) + ", encoded " + (route_.is_direct(m) ? "and exchanged " : "") + "on the device, " + std::to_string(blocks.size()) + " blocks from '" + layout_[blocks.front()].name + "':";
      for (const auto& p : sent) out += " " + std::string(p.operation) + " of " + (p.at_most ? "at most " : "") + std::to_string(p.count * p.element_bytes) + " bytes;";
      if constexpr (requires { route_.explain(m); }) out += " " + route_.explain(m);
      out += "\n";
    }
    return out;
  }

  template <class Sink>
  void save(Sink& sink) {
    settle();
    save_compression<Compression>(*this, layout_, comm_, sink);
  }
  template <class Source>
  void load(Source& source) {
    load_compression<Compression>(*this, layout_, comm_, source);
  }

  // f(block index, leaf, state) for every state of every trained block: what the host's would be (compress/error_feedback.hpp).
  template <class F>
  void for_each_state(F&& f) {
    if constexpr (feedback) {
      std::vector<Kept> values;
      for (std::size_t i = 0; i < layout_.blocks().size(); ++i) {
        if (!routes::trained(layout_[i])) continue;
        Kept* const here = residual_.data() + layout_[i].offset;
        values.resize(layout_[i].count);
        beside_.copy(static_cast<const Kept*>(here), values.data(), values.size());
        beside_.wait();
        remembered state{values, rate_[i]};
        f(i, std::size_t(0), state);
        beside_.copy(static_cast<const Kept*>(values.data()), here, values.size());
        beside_.wait();
      }
    }
  }

 private:
  struct remembered {
    std::span<Kept> residual;
    double& rate;
    void visit(auto&& visitor) {
      visitor("residual", residual);
      visitor("rate", rate);
    }
  };

  static std::vector<bucket> cut(const parameter_layout& layout, std::size_t bucket_bytes, bool whole_blocks) {
    return cut_buckets(layout, std::max<std::size_t>(1, bucket_bytes / sizeof(Kept)), whole_blocks || !route_type::positional, parameter_layout::alignment);
  }
  std::size_t largest_block() const {
    std::size_t most = 0;
    for (const auto& b : layout_.blocks())
      if (routes::trained(b)) most = std::max(most, b.count);
    return most;
  }
  std::size_t scratch_bytes() const {
    std::size_t most = 0;
    for (const auto& b : layout_.blocks())
      if (routes::trained(b)) most = std::max(most, routes::kernels::scratch_for<Kept>(routes::kernels::bare(without_feedback::of(compression_)), b.count));
    return most;
  }

  // What is to be encoded of a block, in the kept type, where the stream beside the arithmetic finds it.
  const Kept* corrected(std::size_t block, const T* gradient) {
    const auto& b = layout_[block];
    if constexpr (feedback) {
      double& before = rate_[block];
      const double rate = where_.learning_rate;
      const Kept factor = without_feedback::rescale(compression_) && before > 0 && rate > 0 ? Kept(before / rate) : Kept(1);
      if (rate > 0) before = rate;
      routes::kernels::correct(beside_, gradient + b.offset, residual_.data() + b.offset, b.count, factor);
      return residual_.data() + b.offset;
    } else if constexpr (converts) {
      routes::kernels::convert(beside_, gradient + b.offset, work_.data(), b.count);
      return work_.data();
    } else {
      return gradient + b.offset;
    }
  }

  void wait_for(std::size_t m) {
    while (!fetched_[m].reached()) {
      for (std::size_t before = 0; before < m; ++before) route_.test(before);  // of those that the device carries, errors
      std::this_thread::yield();
    }
  }

  const parameter_layout& layout_;
  Engine engine_, beside_;
  Communicator& comm_;
  Compression compression_;
  route_type route_;
  bucket_queue queue_;  // of messages
  std::vector<event> fetched_;
  event final_, returned_;
  routes::kernels::scratch_of<Engine> scratch_;
  buffer<Kept, space> work_, residual_;
  std::vector<double> rate_;
  compress::context where_;
};

}  // namespace entrain::parallel
