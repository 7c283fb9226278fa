// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <entrain/compress/choices.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/way.hpp>
#include <entrain/nn/ops.hpp>

// The kernels of compressors (device/compress/*.cuh), found by argument-dependent look-up where a program includes them: scratch_bytes,
// encode, decode_add beside the compressor; make_scratch, add_residual, take_out_entries beside the engine. The names here differ from
// theirs, so that these do not hide those.

namespace entrain::parallel::routes::kernels {

template <class T>
void scratch_bytes() = delete;  // says that the name is a template's, as calls with T in brackets need

// What encodes, within wrappers that say what to do with it.
template <class C>
const C& bare(const C& c) { return c; }
template <class Inner>
const auto& bare(const compress::travel<Inner>& c) { return bare(c.inner); }

// Error feedback around a compressor is the exchange's own affair, since what it remembers lies on the device.
template <class C>
struct without_feedback {
  using type = C;
  static constexpr bool feedback = false, rescales = false;
  static const C& of(const C& c) { return c; }
  static bool rescale(const C&) { return false; }
};
template <class Inner>
struct without_feedback<compress::error_feedback<Inner>> {
  using type = Inner;
  static constexpr bool feedback = true;
  static const Inner& of(const compress::error_feedback<Inner>& c) { return c.inner; }
  static bool rescale(const compress::error_feedback<Inner>& c) { return c.rescale; }
};

template <class T, class C>
std::size_t scratch_for(const C& c, std::size_t n) {
  if constexpr (requires { scratch_bytes<T>(c, n); }) return scratch_bytes<T>(c, n);
  else return 0;
}

template <class Engine>
using scratch_of = decltype(make_scratch(std::declval<const Engine&>(), std::size_t{}));

// found: where a sparse one leaves how many entries there are.
template <class Engine, class C, class Scratch, class T, class Wire>
void encode_values(const Engine& queue, const C& c, const compress::context& where, const Scratch& scratch, const T* values, std::size_t n, Wire* wire, std::uint32_t* found) {
  if constexpr (C::payload == compress::payload_kind::sparse) encode(queue, c, where, scratch, values, n, wire, found);
  else if constexpr (requires { encode(queue, c, where, scratch, values, n, wire); }) encode(queue, c, where, scratch, values, n, wire);
  else encode(queue, c, where, values, n, wire);
}
template <class Engine, class C, class Wire, class T>
void add_decoded(const Engine& queue, const C& c, const compress::context& where, const Wire* wire, [[maybe_unused]] std::size_t filled, T* values, std::size_t n, T scale) {
  if constexpr (C::payload == compress::payload_kind::sparse) decode_add(queue, c, where, wire, filled, values, n, scale);
  else decode_add(queue, c, where, wire, values, n, scale);
}
template <class Engine, class Wire, class T>
void take_out_entries(const Engine& queue, const Wire* wire, const std::uint32_t* found, std::size_t room, T* residual) {
  remove_entries(queue, wire, found, room, residual);
}
template <class Engine, class T, class Kept>
void correct(const Engine& queue, const T* gradient, Kept* residual, std::size_t n, Kept factor) {
  add_residual(queue, gradient, residual, n, factor);
}
template <class Engine, class A, class B>
void convert(const Engine& queue, const A* from, B* to, std::size_t n) {
  run(queue, nn::ops::convert{n}, from, to);
}

namespace detail {
template <class Engine, class C, class T, class Wire>
constexpr bool has(Wire*) {
  return requires(const Engine& e, const C& c, const compress::context& where, const T* values, T* sums, Wire* wire, const Wire* arrived, std::size_t n, std::uint32_t* found) {
    requires C::payload == compress::payload_kind::sparse;
    encode(e, c, where, make_scratch(e, n), values, n, wire, found);
    decode_add(e, c, where, arrived, n, sums, n, T(1));
  } || requires(const Engine& e, const C& c, const compress::context& where, const T* values, T* sums, Wire* wire, const Wire* arrived, std::size_t n) {
    encode(e, c, where, make_scratch(e, n), values, n, wire);
    decode_add(e, c, where, arrived, sums, n, T(1));
  } || requires(const Engine& e, const C& c, const compress::context& where, const T* values, T* sums, Wire* wire, const Wire* arrived, std::size_t n) {
    make_scratch(e, n);
    encode(e, c, where, values, n, wire);
    decode_add(e, c, where, arrived, sums, n, T(1));
  };
}
// Asks before a step, or hears after it, more than encode() and decode_add() are told: only the exchange of the host does that.
template <class C, class T>
constexpr bool minds_blocks() {
  using state = compress::state_of<C, T>;
  return requires(const C& c, const state& s) { c.active(s); } || requires(const C& c, std::span<state> all, const compress::context& where) { c.begin_step(all, where); } ||
         requires(const C& c, state& s, const compress::context& where, std::span<T> sums) { c.after_exchange(s, where, sums); };
}
}  // namespace detail

}  // namespace entrain::parallel::routes::kernels

namespace entrain::parallel {

// Whether an engine's kernels encode for this compression policy: one compressor that has them, as it is or within error_feedback.
template <class T, class Engine, class Compression>
inline constexpr bool encodes_on_device = [] {
  if constexpr (compress::chooser<Compression> || compress::is_identity<Compression>) {
    return false;
  } else {
    using leaf = typename routes::kernels::without_feedback<Compression>::type;
    if constexpr (leaf::payload == compress::payload_kind::two_phase || leaf::payload == compress::payload_kind::rounds) {
      return false;
    } else {
      using bare = std::remove_cvref_t<decltype(routes::kernels::bare(std::declval<const leaf&>()))>;
      constexpr bool carried = leaf::payload != compress::payload_kind::summable || !compress::is_variable<leaf>;
      return carried && !compress::is_direction<leaf> && !routes::kernels::detail::minds_blocks<leaf, T>() && routes::kernels::detail::has<Engine, bare, T>(static_cast<compress::wire_of<leaf, T>*>(nullptr));
    }
  }
}();

}  // namespace entrain::parallel
