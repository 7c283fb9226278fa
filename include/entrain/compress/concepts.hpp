// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <entrain/core/dtype.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/core/state.hpp>
#include <entrain/compress/block.hpp>

// What it means to be a compressor: how the gradient of one parameter block is encoded before it travels.
//
//  1. slot_type is slot::compression; the members are hyper-parameters.
//  2. wire_type<T>: the element that travels for values of type T. wire_count<T>(block): how many of them, a function of the
//     block alone, so that the bytes of a step are known before it runs (a `variable` compressor: how many at most).
//  3. payload says what may be done with encoded gradients on their way:
//       summable    the sum of encodings is the encoding of the sum: they travel in all-reduce and reduce-scatter
//       gatherable  they are gathered and each is decoded and added
//       sparse      gatherable, and each wire element is an (index, value) pair of distinct indices, in ascending order
//                   unless `ascending` is false
//       two_phase   cut into one part for each rank; the rank that owns a part combines and encodes it again, and the results
//                   are gathered (compress/two_phase.hpp)
//       rounds      several sums, each computed from the one before (compress/power_sgd.hpp)
//  4. make_state<T>(block) makes what one block remembers between steps (visitable; may be empty).
//  5. encode(state, context, values, wire): values may be changed (they are scratch afterwards). A `variable` compressor
//     returns how many elements of the wire it has filled, every other fills all.
//  6. decode_add(context, wire, values, scale): values[i] += scale * decoded[i].
//
// Optional: `positional` (wire element i encodes value i alone, wire_count(n) == n: what is sharded where it lies needs
// this), `lossless` (true: decode(encode(x)) == x), `unbiased` (its mean over the random numbers is the input), `variable`,
// `ascending`, `selects` (it picks out values and leaves others behind: any sparse payload does), `direction` (what arrives is a direction and no sum: it is applied as if it were the mean gradient),
// `after_exchange(state, context, values)` (called with the settled sum, which it may change), `double contraction(block)` (the
// stated delta: E|x - decode(encode(x))|^2 <= (1 - delta) |x|^2). State belongs to the block: grouping blocks into other buckets
// changes nothing. Values are sums over this rank's samples; residuals are in that unit.

namespace entrain::compress {

enum class payload_kind { summable, gatherable, sparse, two_phase, rounds };

// Where an encoding happens, and the keys of the random numbers that it may use; the same at encode and decode.
struct context {
  std::uint64_t seed = 0, step = 0;
  std::uint32_t block = 0, rank = 0;
  std::uint32_t ranks = 1;
  double learning_rate = 0;           // of this step; 0 where nobody knows it
  std::size_t rows = 1, columns = 0;  // of the block; columns == 0: unknown, take all values as one row
};

template <class T>
struct sparse_entry {
  std::uint32_t index;  // within the block
  T value;
};

struct no_state {
  void visit(auto&&) {}
};

template <class C>
concept says_payload = requires {
  { C::payload } -> std::convertible_to<payload_kind>;
};

template <class C, class T>
concept has_wire = requires(const C& c, const block& b) {
  typename C::template wire_type<T>;
  { c.template wire_count<T>(b) } -> std::same_as<std::size_t>;
};

template <class C, class T>
concept has_block_state = requires(const C& c, const block& b) {
  { c.template make_state<T>(b) } -> visitable;
};

template <class C, class T>
using wire_of = typename C::template wire_type<T>;
template <class C, class T>
using state_of = decltype(std::declval<const C&>().template make_state<T>(std::declval<const block&>()));

template <class C, class T>
concept has_encode = has_wire<C, T> && has_block_state<C, T> &&
    requires(const C& c, state_of<C, T>& state, const context& where, std::span<T> values, std::span<wire_of<C, T>> wire) { c.encode(state, where, values, wire); };

template <class C, class T>
concept has_decode = has_wire<C, T> && requires(const C& c, const context& where, std::span<const wire_of<C, T>> wire, std::span<T> values, T scale) {
  c.decode_add(where, wire, values, scale);
};

// payload two_phase. part_count<T>(n): wire elements of a part of n values. encode_parts: part j stands for values
// [j * each, (j + 1) * each) and its encoding for wire[j * part_count<T>(each), ...). combine: at the owner, `arrived` holds the
// p encodings of its part in rank order; out becomes the encoding of their sum (or of what stands for it).
template <class C, class T>
concept has_two_phases = has_block_state<C, T> &&
    requires(const C& c, state_of<C, T>& state, const context& where, std::span<T> values, std::span<wire_of<C, T>> wire, std::span<const wire_of<C, T>> arrived, std::size_t n, T scale) {
      { c.template part_count<T>(n) } -> std::same_as<std::size_t>;
      c.encode_parts(state, where, values, n, wire);
      c.template combine<T>(state, where, arrived, n, wire);
      c.decode_add(where, arrived, values, scale);
    };

// payload rounds. round(state, context, r, values, summed, wire): writes what is summed next; `summed` is the result of round
// r - 1 (empty for the first). finish(state, context, summed, values): values become the decoded sum over ranks.
template <class C, class T>
concept has_rounds = has_block_state<C, T> &&
    requires(const C& c, state_of<C, T>& state, const context& where, const block& b, int r, std::span<T> values, std::span<const wire_of<C, T>> summed, std::span<wire_of<C, T>> wire) {
      { C::rounds } -> std::convertible_to<int>;
      { c.template round_count<T>(b, r) } -> std::same_as<std::size_t>;
      c.round(state, where, r, values, summed, wire);
      c.finish(state, where, summed, values);
    };

template <class C, class T>
constexpr bool has_its_payload() {
  if constexpr (!says_payload<C>) return false;
  else if constexpr (C::payload == payload_kind::two_phase) return has_two_phases<C, T>;
  else if constexpr (C::payload == payload_kind::rounds) return has_rounds<C, T>;
  else return has_wire<C, T> && has_encode<C, T> && has_decode<C, T>;
}

// One way of encoding for every block. compress/per_layer.hpp holds several.
template <class C, class T>
concept compressor = policy_for<C, slot::compression> && says_payload<C> && has_block_state<C, T> && has_its_payload<C, T>();

template <class C>
inline constexpr bool is_lossless = [] {
  if constexpr (requires { C::lossless; }) return bool(C::lossless);
  else return false;
}();
template <class C>
inline constexpr bool is_positional = [] {
  if constexpr (requires { C::positional; }) return bool(C::positional);
  else return false;
}();
template <class C>
inline constexpr bool is_unbiased = [] {
  if constexpr (requires { C::unbiased; }) return bool(C::unbiased);
  else return false;
}();
template <class C>
inline constexpr bool is_variable = [] {
  if constexpr (requires { C::variable; }) return bool(C::variable);
  else return false;
}();
template <class C>
inline constexpr bool is_direction = [] {
  if constexpr (requires { C::direction; }) return bool(C::direction);
  else return false;
}();
template <class C>
inline constexpr bool is_ascending = [] {
  if constexpr (requires { C::ascending; }) return bool(C::ascending);
  else return C::payload == payload_kind::sparse;
}();

// What a policy, or the one inside of it, keeps by itself: what it has not sent (no error_feedback around it), and the velocity (the
// optimizer must have no momentum).
template <class C>
inline constexpr bool keeps_residual = [] {
  if constexpr (requires { C::keeps_residual; }) return bool(C::keeps_residual);
  else if constexpr (requires(const C& c) { c.inner; }) return keeps_residual<decltype(C::inner)>;
  else return false;
}();
// It picks out values and leaves the others behind, whatever form they travel in.
template <class C>
inline constexpr bool selects = [] {
  if constexpr (requires { C::selects; }) return bool(C::selects);
  else if constexpr (requires(const C& c) { c.inner; }) return selects<decltype(C::inner)>;
  else return C::payload == payload_kind::sparse;
}();
template <class C>
inline constexpr bool has_momentum = [] {
  if constexpr (requires { C::has_momentum; }) return bool(C::has_momentum);
  else if constexpr (requires(const C& c) { c.inner; }) return has_momentum<decltype(C::inner)>;
  else return false;
}();

// The identity: gradients travel as they are, with no copy.
template <class C>
inline constexpr bool is_identity = [] {
  if constexpr (requires { C::identity; }) return bool(C::identity);
  else return false;
}();

// encode(), whatever it returns: how many wire elements are filled.
template <class C, class S, class T, class Wire>
std::size_t encoded(const C& c, S& state, const context& where, std::span<T> values, std::span<Wire> wire) {
  if constexpr (is_variable<C>) return c.encode(state, where, values, wire);
  else return c.encode(state, where, values, wire), wire.size();
}

}  // namespace entrain::compress
