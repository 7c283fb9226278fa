// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <entrain/compress/choices.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/state.hpp>

// A sparsifier that sends much at first and little later (Lin et al., "Deep gradient compression", ICLR 2018, section 3.3): stage i, of
// steps_each steps, keeps the share ratios[i], and what follows the compressor's own ratio. No stage sends less than that.
//
//   compress::error_feedback{compress::warm_up{compress::top_k{.ratio = 0.001}, {.steps_each = 500}}}
//
// The paper's stages are epochs, of 25 %, 6.25 %, 1.5625 % and 0.4 %, then 0.1 %. The step is the context's: counted from the
// beginning of the training, also across checkpoints.
//
// Payload: the inner one's, sparse or gatherable, of variable length. Capacity: that of the largest stage. Memory: the inner state once
// a stage, so nothing for top_k; a wrapper that keeps a residual belongs outside.
//
// Pitfall: the exchange reserves the capacity and picks the way of a sparse payload by it. Where the first stage is dense enough to be
// summed but the last is not, name the way: compress::travel{..., compress::way::gather}.

namespace entrain::compress {

struct warm_up_options {
  std::uint64_t steps_each = 100;  // 0: no warm-up
  std::array<double, 8> ratios = {0.25, 0.0625, 0.015625, 0.004};  // ends at the first 0
  friend bool operator==(const warm_up_options&, const warm_up_options&) = default;
};

namespace detail {

enum class warm_up_refusal { nothing, chooses, warms_up_itself, wraps, no_ratio, sums, keeps };

template <class C>
constexpr warm_up_refusal why_no_warm_up() {
  using r = warm_up_refusal;
  if constexpr (chooser<C>) return r::chooses;
  else if constexpr (requires(C& c) { c.steps_each; } || requires(C& c) { c.options.steps_each; }) return r::warms_up_itself;
  else if constexpr (requires(C& c) { c.inner; } || requires(C& c) { c.sparsifier; }) return r::wraps;
  else if constexpr (!requires(C& c) { c.ratio = 0.25; }) return r::no_ratio;
  else if constexpr (C::payload != payload_kind::sparse && C::payload != payload_kind::gatherable) return r::sums;
  else return keeps_residual<C> ? r::keeps : r::nothing;
}

// In place of what cannot be warmed up, so that the compiler says one sentence and no consequences of it.
struct refused_sparsifier {
  static constexpr payload_kind payload = payload_kind::sparse;
  template <class T>
  using wire_type = sparse_entry<T>;
};

}  // namespace detail

template <class Inner>
struct warm_up {
  using slot_type = slot::compression;
  using refusal = detail::warm_up_refusal;
  static constexpr refusal why = detail::why_no_warm_up<Inner>();
  static_assert(why != refusal::chooses,
                "compress::warm_up goes around a single sparsifier, inside of what chooses among compressors: write compress::per_layer{compress::rule{compress::warm_up{compress::top_k{}}, ...}, ...} or "
                "compress::after{steps, compress::warm_up{compress::top_k{}}}");
  static_assert(why != refusal::warms_up_itself,
                "this compressor warms up by itself: set its steps_each and leave out the compress::warm_up around it, as in compress::dgc{.steps_each = 100}");
  static_assert(why != refusal::wraps,
                "compress::warm_up goes around the sparsifier itself and inside of its wrappers: write compress::error_feedback{compress::warm_up{compress::top_k{}}}, and likewise for the other wrappers");
  static_assert(why != refusal::no_ratio, "compress::warm_up lowers a compressor's 'ratio', and this one has none: put it around compress::top_k or another sparsifier");
  static_assert(why != refusal::sums, "compress::warm_up changes the length of what is sent, and a sum on its way has one length: use compress::after{steps, ...} to begin dense");
  static_assert(why != refusal::keeps,
                "this compressor keeps what it has not sent itself, which compress::warm_up would split over its stages: use compress::after{steps, ...} to begin dense");
  using taken = std::conditional_t<why == refusal::nothing, Inner, detail::refused_sparsifier>;
  static constexpr payload_kind payload = taken::payload;
  static constexpr bool variable = true, ascending = is_ascending<taken>, unbiased = is_unbiased<taken>;
  template <class T>
  using wire_type = wire_of<taken, T>;

  Inner inner;
  warm_up_options options;

  explicit constexpr warm_up(Inner c = {}, warm_up_options o = {}) : inner(c), options(o) {}

  std::size_t stages() const {
    if (options.steps_each == 0) return 0;
    const auto end = std::find_if(options.ratios.begin(), options.ratios.end(), [](double r) { return !(r > 0); });
    return std::size_t(end - options.ratios.begin());
  }
  std::size_t stage_at(std::uint64_t step) const {
    return options.steps_each == 0 ? 0 : std::size_t(std::min<std::uint64_t>(step / options.steps_each, stages()));
  }
  // What runs in a stage; stages() is the one after the warm-up.
  Inner in_stage(std::size_t stage) const {
    Inner c = inner;
    if (stage < stages()) c.ratio = std::max(inner.ratio, decltype(c.ratio)(options.ratios[stage]));
    return c;
  }

  template <class T>
  struct state {
    std::vector<state_of<Inner, T>> stages;
    void visit(auto&& visitor) {
      for (std::size_t i = 0; i < stages.size(); ++i) {
        prefixed_visitor named{"stage" + std::to_string(i), visitor};
        stages[i].visit(named);
      }
    }
  };

  template <class T>
  std::size_t wire_count(const block& b) const {
    std::size_t most = 0;
    for (std::size_t i = 0; i <= stages(); ++i) most = std::max(most, in_stage(i).template wire_count<T>(b));
    return most;
  }
  template <class T>
  state<T> make_state(const block& b) const {
    state<T> s;
    for (std::size_t i = 0; i <= stages(); ++i) s.stages.push_back(in_stage(i).template make_state<T>(b));
    return s;
  }
  double contraction(const block& b) const
    requires requires(const Inner& c, const block& of) { c.contraction(of); }
  {
    double least = inner.contraction(b);
    for (std::size_t i = 0; i < stages(); ++i) least = std::min(least, in_stage(i).contraction(b));
    return least;
  }

  template <class T>
  std::size_t encode(state<T>& s, const context& where, std::span<T> values, std::span<wire_type<T>> wire) const {
    const std::size_t stage = stage_at(where.step);
    const Inner c = in_stage(stage);
    return encoded(c, s.stages[stage], where, values, wire.first(c.template wire_count<T>(shaped(where, values.size()))));
  }

  // Entries decode themselves; whoever only sums them need not know the step.
  template <class T>
  void decode_add(const context& where, std::span<const wire_type<T>> wire, std::span<T> values, T scale) const {
    if constexpr (payload == payload_kind::sparse) inner.decode_add(where, wire, values, scale);
    else in_stage(stage_at(where.step)).decode_add(where, wire, values, scale);
  }

  std::string describe() const {
    std::string shares;
    for (std::size_t i = 0; i < stages(); ++i) shares += (i > 0 ? ", " : "") + entrain::detail::text(in_stage(i).ratio);
    return "warm_up{" + entrain::describe(inner) + ", steps_each = " + std::to_string(options.steps_each) + ", ratios = {" + shares + "}}";
  }
  friend bool operator==(const warm_up&, const warm_up&) = default;

 private:
  static block shaped(const context& where, std::size_t n) {
    return where.columns > 0 && where.rows * where.columns == n ? block(where.rows, where.columns) : block(n);
  }
};

}  // namespace entrain::compress
