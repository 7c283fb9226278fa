// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

#include <entrain/core/dtype.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/comm/operations.hpp>

// What it means to be a communicator: a group of ranks among which bytes travel.
//
//  1. It has a rank and a size, and says so without communicating.
//  2. It sends and receives typed messages, matched by (peer, tag) in order. start_send and start_receive return at once;
//     the memory belongs to the operation until its request completes. A send need not complete before its receive is
//     posted (rendezvous is allowed), so a cycle of blocking sends may deadlock on any back-end.
//  3. Its request can be moved, tested and waited for; test() makes progress and does not block. A default-constructed
//     request is complete. Destroying an incomplete request waits for it unless the group has failed.
//  4. split(colour, key) makes the sub-groups of equal colour, ordered by (key, rank). All ranks must call it.
//  5. counters() counts what was handed to it. (Bytes: see `traffic`.)
//  6. sequence() is a number of this group's that starts at 0 on all ranks and that only the library changes: collectives built from
//     messages take their tags from it.
//
// Not required: any collective. comm/collectives.hpp builds them from 1 and 2; a back-end that does one natively says so
// in its abilities (comm/traits.hpp) and offers the member start_<collective>.
//
// Collectives and split are called by all ranks of the group in the same order (checked by comm/checked.hpp). One rank's
// handle is used by one thread at a time.

namespace entrain::comm {

// Bytes and calls that this rank handed to its communicator. For a message, the bytes sent. For a collective, the bytes
// of this rank's own operand: n elements for all_reduce, reduce, broadcast at the root, reduce_scatter (whole input),
// all_gather and gather (own piece), scatter at the root (whole input), all_to_all (whole input). The count is the
// same for every back-end and algorithm, so that a predicted figure can equal the counted one byte for byte.
struct traffic {
  std::uint64_t bytes = 0;
  std::uint64_t messages = 0;
  std::uint64_t collectives = 0;
  // What collectives that are built from messages sent on this rank's behalf: depends on the algorithm.
  std::uint64_t wire_messages = 0;
  std::uint64_t wire_bytes = 0;
};

// Tags below this are the user's; the library's own begin here: 256 for agreements and traces of comm/, 256 for parallel policies, and from
// first_rotating_tag on those that collectives built from messages take by turns, up to the largest that every MPI has.
inline constexpr int first_internal_tag = 1 << 14;
inline constexpr int first_rotating_tag = first_internal_tag + 512;

template <class R>
concept request_handle = std::movable<R> && std::default_initializable<R> && requires(R r) {
  { r.test() } -> std::same_as<bool>;
  r.wait();
};

template <class C>
concept has_rank_and_size = requires(const C c) {
  { c.rank() } -> std::same_as<int>;
  { c.size() } -> std::same_as<int>;
};

template <class C>
concept has_point_to_point = requires { typename C::request; } && request_handle<typename C::request> &&
    requires(C& c, view<const float> out, view<float> in) {
      { c.start_send(out, 0, 0) } -> std::same_as<typename C::request>;
      { c.start_receive(in, 0, 0) } -> std::same_as<typename C::request>;
    };

template <class C>
concept has_split = requires(C& c) {
  { c.split(0, 0) } -> std::same_as<C>;
};

template <class C>
concept has_counters = requires(C& c) {
  { c.counters() } -> std::same_as<traffic&>;
};

template <class C>
concept has_sequence = requires(C& c) {
  { c.sequence() } -> std::same_as<std::uint64_t&>;
};

template <class C>
concept communicator = policy_for<C, slot::communicator> && has_rank_and_size<C> && has_point_to_point<C> && has_split<C> && has_counters<C> && has_sequence<C>;

}  // namespace entrain::comm
