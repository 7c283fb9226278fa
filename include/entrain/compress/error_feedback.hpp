// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include <entrain/core/config.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/compress/concepts.hpp>

// Error feedback (Seide et al. 2014; Stich et al., NeurIPS 2018; Karimireddy et al., ICML 2019): what a compressor leaves
// out of one step is kept and added to the next, so that nothing is lost, only late. The identity
//
//   sum of what was sent + residual = sum of the gradients
//
// holds up to rounding. Memory: one value a parameter. The residual is in the gradient's own unit: the sum over this
// rank's samples.
//
// A residual of yesterday's gradient was left out at yesterday's learning rate. With `rescale` it is kept in the unit of updates: when
// the rate changes from a to b, the residual is multiplied by a / b before it is added, so that what counts is what the parameters
// have missed (Karimireddy et al., 2019, whose memory holds rate * gradient). For SGD with a schedule; Adam has no use for it.

namespace entrain::compress {

template <class Inner>
struct error_feedback {
  using slot_type = slot::compression;
  static constexpr payload_kind payload = Inner::payload;
  static constexpr bool positional = is_positional<Inner>, variable = is_variable<Inner>, ascending = is_ascending<Inner>;
  template <class T>
  using wire_type = typename Inner::template wire_type<T>;

  static_assert(Inner::payload != payload_kind::two_phase && Inner::payload != payload_kind::rounds,
                "this compressor keeps its own residual, since only it knows what became of its rounds: use it without compress::error_feedback around it");
  static_assert(!is_direction<Inner>, "a direction has no length that error feedback could subtract from the gradient: use compress::error_feedback{compress::sign{}}");

  static_assert(!requires { requires !Inner::linear_decode; },
                "what a count sketch leaves out is only known after the sum: use compress::sketched_sgd, which keeps a residual, in place of compress::error_feedback around compress::sketch");

  static_assert(!compress::keeps_residual<Inner>, "this compressor keeps what it has not sent itself: use it without compress::error_feedback around it");
  static constexpr bool keeps_residual = true;

  Inner inner;
  bool rescale;

  constexpr error_feedback() requires std::default_initializable<Inner> : inner{}, rescale(false) {}
  explicit constexpr error_feedback(Inner compressor, bool rescale_with_rate = false) : inner(compressor), rescale(rescale_with_rate) {}

  template <class T>
  struct state {
    buffer<T> residual;
    state_of<Inner, T> inner;
    double rate = 0;  // of the step before
    void visit(auto&& visitor) {
      visitor("residual", residual.span());
      visitor("rate", rate);
      inner.visit(visitor);
    }
  };

  template <class T>
  std::size_t wire_count(const block& b) const { return inner.template wire_count<T>(b); }
  template <class T>
  state<T> make_state(const block& b) const { return {buffer<T>(b.count), inner.template make_state<T>(b), 0}; }

  template <class T>
  std::size_t encode(state<T>& s, const context& where, std::span<T> values, std::span<wire_type<T>> wire) const {
    T* e = s.residual.data();
    const T factor = rescale && s.rate > 0 && where.learning_rate > 0 ? T(s.rate / where.learning_rate) : T(1);
    if (where.learning_rate > 0) s.rate = where.learning_rate;
    T* const x = values.data();
    const std::size_t n = values.size();
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < n; ++i) e[i] = x[i] += factor * e[i];
    const std::size_t filled = encoded(inner, s.inner, where, values, wire);
    inner.decode_add(where, std::span<const wire_type<T>>(wire.first(filled)), s.residual.span(), T(-1));
    return filled;
  }

  template <class T>
  void decode_add(const context& where, std::span<const wire_type<T>> wire, std::span<T> values, T scale) const {
    inner.decode_add(where, wire, values, scale);
  }

  std::string describe() const { return "error_feedback{" + entrain::describe(inner) + (rescale ? ", rescaled" : "") + "}"; }
  friend bool operator==(const error_feedback&, const error_feedback&) = default;
};

}  // namespace entrain::compress
