// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <entrain/core/dtype.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/core/state.hpp>

// What it means to be a compressor: how the gradient of one parameter block is encoded before it travels.
//
//  1. slot_type is slot::compression; the members are hyper-parameters.
//  2. wire_type<T>: the element that travels for values of type T. wire_count<T>(n): how many of them for n values; a
//     function of n alone, so that the bytes of a step are known before it runs.
//  3. payload says what may be done with encoded gradients on their way:
//       summable    the sum of encodings is the encoding of the sum: they travel in all-reduce and reduce-scatter
//       gatherable  they are gathered and each is decoded and added
//       sparse      gatherable, and each wire element is an (index, value) pair of distinct indices
//  4. make_state<T>(n) makes what one block of n values remembers between steps (visitable; may be empty).
//  5. encode(state, context, values, wire): values may be changed (they are scratch afterwards).
//  6. decode_add(context, wire, values, scale): values[i] += scale * decoded[i].
//
// Optional: `positional` (wire element i encodes value i alone, wire_count(n) == n: what is sharded where it lies needs
// this), `lossless` (true: decode(encode(x)) == x), `unbiased` (its mean over the random numbers is the input),
// `rounds` (> 1 is for compressors that talk several times). State belongs to the block: grouping blocks into other
// buckets changes nothing.

namespace entrain::compress {

enum class payload_kind { summable, gatherable, sparse };

// Keys of the random numbers an encoding may use; the same at encode and decode.
struct context {
  std::uint64_t seed = 0, step = 0;
  std::uint32_t block = 0, rank = 0;
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
concept has_wire = requires(const C& c, std::size_t n) {
  typename C::template wire_type<T>;
  { c.template wire_count<T>(n) } -> std::same_as<std::size_t>;
};

template <class C, class T>
concept has_block_state = requires(const C& c, std::size_t n) {
  { c.template make_state<T>(n) } -> visitable;
};

template <class C, class T>
using state_of = decltype(std::declval<const C&>().template make_state<T>(std::size_t{}));

template <class C, class T>
concept has_encode = has_wire<C, T> && has_block_state<C, T> &&
    requires(const C& c, state_of<C, T>& state, const context& where, std::span<T> values, std::span<typename C::template wire_type<T>> wire) {
      c.encode(state, where, values, wire);
    };

template <class C, class T>
concept has_decode = has_wire<C, T> && requires(const C& c, const context& where, std::span<const typename C::template wire_type<T>> wire, std::span<T> values, T scale) {
  c.decode_add(where, wire, values, scale);
};

template <class C, class T>
concept compressor = policy_for<C, slot::compression> && says_payload<C> && has_wire<C, T> && has_block_state<C, T> && has_encode<C, T> && has_decode<C, T>;

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

// The identity: gradients travel as they are, with no copy.
template <class C>
inline constexpr bool is_identity = [] {
  if constexpr (requires { C::identity; }) return bool(C::identity);
  else return false;
}();

}  // namespace entrain::compress
