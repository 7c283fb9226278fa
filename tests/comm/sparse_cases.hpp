// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "holds.hpp"
#include <entrain/comm/sparse_all_reduce.hpp>

// The sparse all-reduce against a plain reference, for any communicator; used on threads and on MPI. Every rank computes what
// all ranks give, so each checks its own result and the bytes that it has sent.

namespace tests {

using namespace entrain;

enum class support { none, one, all, identical, disjoint, random, dense_random, lopsided };

inline std::uint64_t hash(std::uint64_t a, std::uint64_t b) {
  std::uint64_t h = (a + 1) * 0x9e3779b97f4a7c15ull ^ (b + 3) * 0xbf58476d1ce4e5b9ull;
  h ^= h >> 29, h *= 0x94d049bb133111ebull;
  return h ^ h >> 32;
}

inline bool present(support kind, std::size_t i, int rank, int ranks) {
  switch (kind) {
    case support::none: return false;
    case support::one: return i == std::size_t(rank) % 5;
    case support::all: return true;
    case support::identical: return i % 10 == 3;
    case support::disjoint: return i % (8 * std::size_t(ranks)) == 8 * std::size_t(rank) + 1;
    case support::random: return hash(i, std::uint64_t(rank)) % 16 == 0;
    case support::dense_random: return hash(i, std::uint64_t(rank)) % 16 < 5;
    case support::lopsided: return rank == ranks - 1 ? i % 2 == 0 : i == 0;
  }
  return false;
}

template <class T>
T entry_value(std::size_t i, int rank) {
  const auto h = hash(i + 77, std::uint64_t(rank));
  if constexpr (std::is_integral_v<T>) return T(int(h % 2001) - 1000) + T(1001);
  else return T(std::ldexp(double(h % 1000 + 1) / 1000.0 - 0.5005, int(h >> 20 & 15) - 8));
}

// A stream as the reference sees it.
template <class T>
struct plain {
  std::vector<T> values;
  std::vector<bool> there;
  bool whole = false;
  std::size_t count() const { return whole ? values.size() : std::size_t(std::count(there.begin(), there.end(), true)); }
  std::size_t bytes() const { return whole ? values.size() * sizeof(T) : count() * (4 + sizeof(T)); }
  void settle() {
    if (count() * (4 + sizeof(T)) > values.size() * sizeof(T)) whole = true;
  }
};
template <class T>
plain<T> merged(const plain<T>& low, const plain<T>& high) {
  plain<T> out = low;
  for (std::size_t i = 0; i < low.values.size(); ++i) {
    out.values[i] = comm::sum::combine(low.values[i], high.values[i]);
    out.there[i] = low.there[i] || high.there[i];
  }
  out.whole = low.whole || high.whole;
  out.settle();
  return out;
}

template <class T>
struct prediction {
  plain<T> result;
  std::vector<comm::sent_messages> sent;
};

// Recursive doubling with the extra ranks folded in, on all ranks at once.
template <class T>
prediction<T> predict(std::vector<plain<T>> at) {
  const std::size_t p = at.size(), core = std::bit_floor(p), extra = p - core;
  prediction<T> out;
  out.sent.resize(p);
  const auto transfer = [&](std::size_t from, const plain<T>& what) {
    out.sent[from].messages += 1 + (what.bytes() > 0);
    out.sent[from].bytes += 16 + what.bytes();
  };
  const auto real = [&](std::size_t v) { return v < extra ? 2 * v + 1 : v + extra; };
  for (std::size_t i = 0; i < extra; ++i) transfer(2 * i, at[2 * i]), at[2 * i + 1] = merged(at[2 * i], at[2 * i + 1]);
  for (std::size_t bit = 1; bit < core; bit *= 2) {
    auto next = at;
    for (std::size_t v = 0; v < core; ++v) {
      const std::size_t other = v ^ bit;
      transfer(real(v), at[real(v)]);
      next[real(v)] = merged(at[real(std::min(v, other))], at[real(std::max(v, other))]);
    }
    at = next;
  }
  for (std::size_t i = 0; i < extra; ++i) transfer(2 * i + 1, at[2 * i + 1]);
  out.result = at[p - 1];
  return out;
}

template <class T>
struct pair_of {  // like compress::sparse_entry
  std::uint32_t index;
  T value;
};

template <class T, class C>
void check_sparse(C& c, support kind, std::size_t d) {
  const int p = c.size();
  std::vector<plain<T>> inputs(static_cast<std::size_t>(p));
  for (int r = 0; r < p; ++r) {
    auto& in = inputs[std::size_t(r)];
    in.values.assign(d, T{}), in.there.assign(d, false);
    for (std::size_t i = 0; i < d; ++i)
      if (present(kind, i, r, p)) in.values[i] = entry_value<T>(i, r), in.there[i] = true;
    in.settle();
  }
  const auto expected = predict(inputs);

  const auto& mine = inputs[std::size_t(c.rank())];
  std::vector<std::uint32_t> indices;
  std::vector<T> values;
  std::vector<pair_of<T>> pairs;
  for (std::size_t i = 0; i < d; ++i)
    if (mine.there[i]) indices.push_back(std::uint32_t(i)), values.push_back(mine.values[i]), pairs.push_back({std::uint32_t(i), mine.values[i]});
  comm::sparse_stream<T> stream(d);
  for (int round = 0; round < 2; ++round) {
    stream.reset(d);
    if (round == 0) stream.append({indices, values});
    else stream.append(pairs);
    HOLDS(stream.dense() == mine.whole && stream.bytes() == mine.bytes());

    const auto wire = c.counters();
    const auto sent = comm::sparse_all_reduce(c, stream);
    HOLDS(sent == expected.sent[std::size_t(c.rank())]);
    HOLDS(c.counters().wire_bytes - wire.wire_bytes == sent.bytes && c.counters().wire_messages - wire.wire_messages == sent.messages);

    HOLDS(stream.dense() == expected.result.whole && stream.count() == expected.result.count());
    std::vector<T> out(d, T{}), added(d, T{});
    stream.store(out);
    HOLDS(d == 0 || std::memcmp(out.data(), expected.result.values.data(), d * sizeof(T)) == 0);
    stream.add_to(added, T(1));
    for (std::size_t i = 0; i < d; ++i) HOLDS(added[i] == out[i]);
    for (std::size_t i = 1; !stream.dense() && i < stream.count(); ++i) HOLDS(stream.index(i - 1) < stream.index(i));
  }
}

template <class T, class C>
void check_sparse_of(C& c) {
  using enum support;
  for (const support kind : {none, one, all, identical, disjoint, random, dense_random, lopsided})
    for (const std::size_t d : {std::size_t(7), std::size_t(1000)}) check_sparse<T>(c, kind, d);
  check_sparse<T>(c, none, 0);
  check_sparse<T>(c, all, 1);
}

// Two in flight, completed in an order of each rank's own.
template <class C>
void check_sparse_in_flight(C& c) {
  constexpr std::size_t d = 5000;
  std::vector<comm::sparse_stream<float>> streams(3);
  std::vector<comm::sparse_all_reduce_request<C, float>> requests;
  for (std::size_t k = 0; k < 3; ++k) {
    streams[k].reset(d);
    std::vector<pair_of<float>> pairs;
    for (std::uint32_t i = 0; i < d; ++i)
      if (present(support::random, i + k, c.rank(), c.size())) pairs.push_back({i, float(i % 17 + k)});
    streams[k].append(pairs);
    requests.push_back(comm::start_sparse_all_reduce(c, streams[k]));
  }
  for (std::size_t k = 0; k < 3; ++k) {
    auto& r = requests[(k + std::size_t(c.rank())) % 3];
    if (k == 1) r.wait();
    else
      while (!r.test()) std::this_thread::yield();
  }
  std::vector<float> out(d);
  for (std::size_t k = 0; k < 3; ++k) {
    streams[k].store(out);
    for (std::size_t i = 0; i < d; ++i) {
      float expected = 0;
      for (int r = 0; r < c.size(); ++r) expected += present(support::random, i + k, r, c.size()) ? float(i % 17 + k) : 0.0f;
      HOLDS(out[i] == expected);
    }
  }
}

template <class C>
void check_sparse_laws(C& c) {
  check_sparse_of<float>(c);
  check_sparse_of<double>(c);
  check_sparse_of<bfloat16>(c);
  check_sparse_of<int>(c);
  check_sparse_in_flight(c);
}

}  // namespace tests
