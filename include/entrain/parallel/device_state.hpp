// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/operations.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/placement.hpp>
#include <entrain/optim/concepts.hpp>
#include <entrain/parallel/buckets.hpp>
#include <entrain/parallel/plan.hpp>
#include <entrain/parallel/update.hpp>

// Parameters and the optimizer's state in an engine's memory, and their update there. What is kept in more bits than the model computes with
// is rounded in the same pass. Optimizer state sharded as in ZeRO stage 1 (Rajbhandari et al., SC 2020). Names and types in checkpoints are those of the host's replicas, so that either continues the other's run.
//
// Placement = replicated: all of it on every rank. Placement = sharded: a rank has the optimizer's state, and what is kept in more bits, of
// its 1/p of every bucket; it updates these, and the parameters that the model reads are gathered where they lie, bucket by bucket,
// while later buckets are updated. Cost: one launch and one all-gather a bucket, replicated one launch. Memory of a rank, n parameters, AdamW in mixed precision: 2 n + 12 n / p bytes beside the gradient.
//
// An engine provides make_update_table(engine, layout, begin, end), apply_update(engine, optimizer, context, table, arrays),
// put_squares(engine, table, gradient, to), put_sum(engine, from, n, to), put_clip_scale(engine, squares, count, clip_norm, to),
// round_parameters and round_parameters_again; `to` is one number of its memory, and none of them waits.

namespace entrain::parallel {

// What an update reads and writes, on the device. Where the model computes in the kept type, `computed` is `kept`.
template <class T, class Kept, std::size_t Fields>
struct update_arrays {
  Kept* kept = nullptr;
  T* computed = nullptr;
  const T* gradient = nullptr;
  std::array<Kept*, Fields> state{};
  const double* gradient_scale = nullptr;  // on the device: a factor beside the context's
  const std::uint8_t* idle = nullptr;      // on the device, of each block of the layout: 1 where it rests
  bool stochastic_rounding = false;        // of `computed`, keyed by the seed and the context's step
  std::uint64_t seed = 0;
};

template <class T, class Kept, class Engine, class Communicator, class Optimizer, class Placement>
class device_state {
  using space = typename Engine::space;
  using table_type = decltype(make_update_table(std::declval<const Engine&>(), std::declval<const parameter_layout&>(), std::size_t(0), std::size_t(0)));
  static constexpr bool is_mixed = !std::same_as<T, Kept>;
  static constexpr bool is_sharded = std::same_as<Placement, sharded>;
  static constexpr std::size_t field_count = Optimizer::fields.size();

 public:
  using arrays = update_arrays<T, Kept, field_count>;

  // buckets: of a sharded state, each a multiple of p long.
  device_state(const parameter_layout& layout, const Engine& engine, Communicator& comm, const Optimizer& optimizer, std::vector<bucket> buckets)
      : layout_(layout), engine_(engine), comm_(comm), optimizer_(optimizer), buckets_(std::move(buckets)), host_(layout.size()) {
    std::size_t local = layout.trainable_begin();  // observed values are kept whole
    if constexpr (is_sharded) {
      const auto p = std::size_t(comm.size());
      for (const bucket& b : buckets_) {
        const std::size_t length = (b.end - b.begin) / p, begin = b.begin + std::size_t(comm.rank()) * length;
        add_piece(begin, begin + length, is_mixed ? local : begin, local);
        local += length, arena_ = std::max(arena_, b.end), longest_ = std::max(longest_, b.end - b.begin);
      }
      gathers_.resize(comm.size() > 1 ? buckets_.size() : 0);
    } else {
      add_piece(0, layout.size(), 0, 0), local = layout.size();
    }
    arena_ = std::max(arena_, layout.size());
    kept_ = buffer<Kept, space>(is_mixed && is_sharded ? local : arena_);
    if constexpr (is_mixed) computed_ = buffer<T, space>(arena_);
    for (std::size_t f = 0; f < field_count; ++f)
      if (needs(f)) fields_[f] = buffer<Kept, space>(local);
    numbers_ = buffer<double, space>(pieces_.size() + 2);
  }

  void round_by_chance(bool wanted) { stochastic_rounding_ = wanted; }
  const Optimizer& optimizer() const { return optimizer_; }
  std::size_t arena_size() const { return arena_; }  // that the gradient needs
  // On the device: what the model reads, and what is observed in the kept type.
  view<const T, space> computed() const { return {computed_data(), layout_.size()}; }
  T* computed_data() const {
    if constexpr (is_mixed) return computed_.data();
    else return kept_.data();
  }
  view<Kept, space> observed() const { return kept_.subview(0, layout_.trainable_begin()); }

  // The host's copy: assemble() fetches it (all ranks), changed() sends it.
  std::span<Kept> parameters() { return host_.span(); }
  void assemble() {
    settle();
    if constexpr (is_mixed && is_sharded) {
      fetch(kept_.data(), host_.data(), layout_.trainable_begin());
      for_each_gathered(kept_, &piece::kept_at, [&](const bucket& b, const Kept* values) { fetch(values, host_.data() + b.begin, std::min(b.end, layout_.size()) - b.begin); });
    } else {
      fetch(kept_.data(), host_.data(), layout_.size());
    }
  }
  void changed() {
    settle();
    rounding_ = {};
    if constexpr (is_mixed && is_sharded) {
      engine_.copy(host_.data(), kept_.data(), layout_.trainable_begin());
      for (const piece& own : pieces_) engine_.copy(host_.data() + own.begin, kept_.data() + own.kept_at, here(own));
      std::vector<T> rounded(host_.begin(), host_.end());
      engine_.copy(rounded.data(), computed_.data(), rounded.size());
      engine_.wait();
    } else {
      engine_.copy(host_.data(), kept_.data(), layout_.size());
      if constexpr (is_mixed) round_parameters(engine_, static_cast<const Kept*>(kept_.data()), computed_.data(), layout_.size());
      engine_.wait();
    }
  }

  // The sum of squares of settled gradients over all ranks, on the device.
  const double* squares(const T* gradient) {
    double* total = numbers_.data() + pieces_.size();
    for (std::size_t i = 0; i < pieces_.size(); ++i)
      if (pieces_[i].trains) put_squares(engine_, pieces_[i].table, gradient + pieces_[i].begin, pieces_.size() == 1 ? total : numbers_.data() + i);
    if (pieces_.size() > 1) put_sum(engine_, static_cast<const double*>(numbers_.data()), pieces_.size(), total);
    if constexpr (is_sharded) {
      if (comm_.size() > 1) {
        norm_ = comm::start_all_reduce(comm_, view<double, space>(total, 1), comm::sum{});
        comm_.hold(engine_);
      }
    }
    return total;
  }
  // The same on the host, which waits for it.
  double squares_on_host(const T* gradient) {
    const double* found = squares(gradient);
    norm_.wait();
    double out = 0;
    fetch(found, &out, 1);
    return out;
  }
  // The factor that means and clips this gradient of sums over `count` samples, on the device.
  const double* clip_scale(const T* gradient, std::int64_t count, double clip_norm) {
    const double* found = squares(gradient);
    double* scale = numbers_.data() + pieces_.size() + 1;
    put_clip_scale(engine_, found, count, clip_norm, scale);
    return scale;
  }

  // `how`: what is the same for all parameters, its gradient's whole arena among it.
  void update(const optim::update_context& context, arrays how) {
    if (is_mixed && stochastic_rounding_) how.stochastic_rounding = true, rounding_ = {1, how.seed, context.step};
    const T* gradient = how.gradient;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const piece& own = pieces_[i];
      how.kept = kept_.data() + own.kept_at, how.computed = computed_data() + own.begin, how.gradient = gradient + own.begin;
      for (std::size_t f = 0; f < field_count; ++f) how.state[f] = fields_[f].empty() ? nullptr : fields_[f].data() + own.state_at;
      if (own.trains) apply_update(engine_, optimizer_, context, own.table, how);
      gather_computed(i);
    }
    hold();
  }

  // Waits until everything has arrived: called before the host waits for the device. Errors: communication_error.
  void settle() {
    norm_.wait();
    for (auto& g : gathers_) g.wait();
  }

  // measures: whether the norm is wanted beside clipping.
  void add_to(plan& p, bool measures) const {
    if (gathers_.empty()) return;
    if (measures || optim::clip_norm_of(optimizer_) > 0) p.push_back({.operation = "all_reduce", .phase = "norm", .element_bytes = sizeof(double), .count = 1, .on_device = true});
    for (const piece& own : pieces_) p.push_back({.operation = "all_gather", .phase = "parameters", .element_bytes = sizeof(T), .count = own.end - own.begin, .on_device = true});
  }

  template <class Sink>
  void save(Sink& sink) {
    assemble();
    if (comm_.rank() == 0)
      for (const auto& block : layout_.blocks()) sink("parameters." + block.name, std::span<const Kept>(host_.span().subspan(block.offset, block.count)), block.dims);
    for (std::size_t f = 0; f < field_count; ++f) {
      if (!needs(f) || (!is_sharded && comm_.rank() != 0)) continue;
      std::vector<Kept> values(arena_);
      if constexpr (is_sharded) for_each_gathered(fields_[f], &piece::state_at, [&](const bucket& b, const Kept* from) { fetch(from, values.data() + b.begin, b.end - b.begin); });
      else fetch(fields_[f].data(), values.data(), layout_.size());
      if (comm_.rank() != 0) continue;
      const std::span<const Kept> kept = sink.keep(std::move(values));
      for (const auto& block : layout_.blocks())
        if (block.kind != block_kind::statistic) sink(field_name<Optimizer>(f, block.name), kept.subspan(block.offset, block.count), block.dims);
    }
    if (comm_.rank() == 0 && rounding_[0] > 0) sink("precision.rounding", std::span<const std::uint64_t>(rounding_), {rounding_.size()});
  }
  template <class Source>
  void load(Source& source) {
    for (const auto& block : layout_.blocks()) source.read("parameters." + block.name, host_.span().subspan(block.offset, block.count));
    changed();
    std::vector<Kept> values(arena_);
    for (std::size_t f = 0; f < field_count; ++f) {
      if (!needs(f)) continue;
      for (const auto& block : layout_.blocks())
        if (block.kind != block_kind::statistic) source.read(field_name<Optimizer>(f, block.name), std::span<Kept>(values).subspan(block.offset, block.count));
      for (const piece& own : pieces_) engine_.copy(values.data() + own.begin, fields_[f].data() + own.state_at, own.end - own.begin);
      engine_.wait();
    }
    if constexpr (is_mixed)
      if (stochastic_rounding_ && source.contains("precision.rounding")) {
        source.read("precision.rounding", std::span<std::uint64_t>(rounding_));
        round_again();
      }
  }

 private:
  // [begin, end) of the arena that this rank updates, and where that lies in what it keeps.
  struct piece {
    std::size_t begin, end, kept_at, state_at;
    bool trains;  // some of it is a parameter, not padding
    table_type table;
  };

  void add_piece(std::size_t begin, std::size_t end, std::size_t kept_at, std::size_t state_at) {
    bool trains = false;
    for_each_block_in(layout_, begin, end, [&](const parameter_block&, std::size_t, std::size_t) { trains = true; });
    pieces_.push_back({begin, end, kept_at, state_at, trains, make_update_table(engine_, layout_, begin, end)});
  }
  std::size_t here(const piece& own) const { return std::min(own.end, layout_.size()) - std::min(own.begin, layout_.size()); }
  bool needs(std::size_t f) const { return needs_field(optimizer_, f); }
  template <class V>
  void fetch(const V* from, V* to, std::size_t n) const {
    engine_.copy(from, to, n);
    engine_.wait();
  }

  void gather_computed(std::size_t i) {
    if constexpr (is_sharded)
      if (!gathers_.empty()) {
        const std::size_t begin = buckets_[i].begin, own = pieces_[i].begin;
        gathers_[i].wait();  // long complete
        gathers_[i] = comm::start_all_gather(comm_, view<const T, space>(computed_data() + own, pieces_[i].end - own), view<T, space>(computed_data() + begin, buckets_[i].end - begin));
      }
  }
  void hold() {
    if constexpr (is_sharded)
      if (!gathers_.empty()) comm_.hold(engine_);
  }
  // use(bucket, its values of all ranks, on the device)
  template <class Use>
  void for_each_gathered(const buffer<Kept, space>& from, std::size_t piece::*at, Use&& use) {
    buffer<Kept, space> whole(longest_);
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const std::size_t n = pieces_[i].end - pieces_[i].begin;
      const Kept* own = from.data() + pieces_[i].*at;
      if (comm_.size() > 1) comm::all_gather(comm_, view<const Kept, space>(own, n), view<Kept, space>(whole.data(), buckets_[i].end - buckets_[i].begin));
      use(buckets_[i], comm_.size() > 1 ? whole.data() : own);
    }
  }
  // What the last update rounded by chance, from what it left.
  void round_again() {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const piece& own = pieces_[i];
      const std::size_t begin = std::max(own.begin, layout_.trainable_begin()), end = std::min(own.end, layout_.size());
      const Kept* kept = kept_.data() + own.kept_at;
      if (begin < end) round_parameters_again(engine_, kept + (begin - own.begin), computed_.data() + begin, begin, end, rounding_[1], rounding_[2]);
      gather_computed(i);
    }
    hold();
    settle();
    engine_.wait();
  }

  const parameter_layout& layout_;
  Engine engine_;
  Communicator& comm_;
  Optimizer optimizer_;
  bool stochastic_rounding_ = false;
  std::array<std::uint64_t, 3> rounding_{};  // whether the last update rounded by chance, its seed, its step
  std::vector<bucket> buckets_;
  std::vector<piece> pieces_;
  std::size_t arena_ = 0, longest_ = 0;
  buffer<Kept> host_;
  buffer<Kept, space> kept_;
  buffer<T, space> computed_;
  std::array<buffer<Kept, space>, field_count> fields_;
  buffer<double, space> numbers_;  // squares of each piece, of all, the factor of the gradient
  comm::pending<Communicator> norm_;
  std::vector<comm::pending<Communicator>> gathers_;  // after what they write
};

}  // namespace entrain::parallel
