// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>

// Which sample comes when. The order of an epoch is a permutation of [0, n) that is computed, not stored: the i-th sample
// is a pure function of (seed, epoch, i), in constant memory and time. So any rank can ask for any part of any epoch, a
// resumed run goes on where it stopped, and p ranks together see exactly the samples that one rank sees.
//
// The permutation is a Feistel network over the smallest power of two that holds n, with round keys from Philox
// (core/philox.hpp), followed by cycle walking: a value of n or more is sent through again until it falls below n
// (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). Fewer than two passes are needed on average.

namespace entrain::data {

// The order of one epoch.
class epoch_order {
 public:
  epoch_order(std::uint64_t n, std::uint64_t seed, std::uint64_t epoch, bool shuffle) : n_(n), shuffle_(shuffle && n > 1) {
    if (!shuffle_) return;
    const int bits = std::bit_width(n - 1);
    left_bits_ = bits / 2;
    right_bits_ = bits - left_bits_;
    const random_stream random(seed, purpose::order, 0, epoch);
    rounds_ = bits <= 8 ? 32 : 16;
    for (std::size_t r = 0; r < rounds_; ++r) keys_[r] = random.bits64(r);
  }

  std::uint64_t size() const { return n_; }

  // The sample at place `index` of the epoch; index < size().
  std::uint64_t at(std::uint64_t index) const {
    if (!shuffle_) return index;
    do index = permute(index);
    while (index >= n_);
    return index;
  }

 private:
  static std::uint64_t mix(std::uint64_t x) {  // the finaliser of SplitMix64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  }
  static constexpr std::uint64_t mask(int bits) { return (std::uint64_t{1} << bits) - 1; }

  std::uint64_t permute(std::uint64_t x) const {
    std::uint64_t left = x >> right_bits_, right = x & mask(right_bits_);
    for (std::size_t r = 0; r < rounds_; r += 2) {
      right ^= mix(left + keys_[r]) & mask(right_bits_);
      left ^= mix(right + keys_[r + 1]) & mask(left_bits_);
    }
    return left << right_bits_ | right;
  }

  std::uint64_t n_;
  bool shuffle_;
  int left_bits_ = 0, right_bits_ = 0;
  std::size_t rounds_ = 0;  // even; more for the smallest domains, where a round moves little (16 is measurably too few for n = 5)
  std::array<std::uint64_t, 32> keys_{};
};

// The order of all epochs of a run over n samples. Epochs are numbered below 2^32.
struct sample_order {
  std::uint64_t n = 0;
  std::uint64_t seed = 0;
  bool shuffle = true;

  epoch_order epoch(std::uint64_t number) const { return {n, seed, number, shuffle}; }
  // One sample; where several of an epoch are needed, epoch(e).at(i) derives the keys only once.
  std::uint64_t at(std::uint64_t epoch_number, std::uint64_t index) const { return epoch(epoch_number).at(index); }
  bool operator==(const sample_order&) const = default;
};

// A rank's part of a batch: samples [first, first + count).
struct slice {
  std::uint64_t first = 0, count = 0;
  bool operator==(const slice&) const = default;
};

// Parts as even as they can be; the first `global_batch % ranks` ranks get one more. Requires rank < ranks.
constexpr slice batch_slice(std::uint64_t global_batch, std::uint64_t rank, std::uint64_t ranks) {
  const part own = nth_part(global_batch, rank, ranks);
  return {own.first, own.count};
}

// Every epoch takes ceil(n / batch) steps; the last one is short when batch does not divide n.
constexpr std::uint64_t steps_per_epoch(std::uint64_t n, std::uint64_t global_batch) {
  return n / global_batch + (n % global_batch != 0 ? 1 : 0);
}

// Where a step stands and what of it belongs to a rank.
struct step_position {
  std::uint64_t epoch = 0;
  std::uint64_t first_in_epoch = 0;  // place in the epoch of the step's first sample
  std::uint64_t global_count = 0;    // samples of this step over all ranks
  slice own;                         // this rank's part of them, relative to the step
};

inline step_position position_of(const sample_order& order, std::uint64_t step, std::uint64_t global_batch, std::uint64_t rank,
                                 std::uint64_t ranks) {
  if (order.n == 0) throw usage_error("data::position_of", "there are no samples to order", "at least 1 sample", "0");
  if (global_batch == 0) throw usage_error("data::position_of", "the global batch is empty", "at least 1 sample", "0");
  if (rank >= ranks)
    throw usage_error("data::position_of", "no such rank", entrain::detail::text("rank < ", ranks), entrain::detail::text(rank));
  const auto steps = steps_per_epoch(order.n, global_batch);
  step_position p;
  p.epoch = step / steps;
  p.first_in_epoch = step % steps * global_batch;
  p.global_count = order.n - p.first_in_epoch < global_batch ? order.n - p.first_in_epoch : global_batch;
  p.own = batch_slice(p.global_count, rank, ranks);
  return p;
}

// The samples of this rank at a step (counted from 0 over all epochs), in order. `out` is resized to their number, which
// may be zero; nothing is allocated once it has held a full batch.
inline step_position step_indices(const sample_order& order, std::uint64_t step, std::uint64_t global_batch, std::uint64_t rank,
                                  std::uint64_t ranks, std::vector<std::uint64_t>& out) {
  const auto p = position_of(order, step, global_batch, rank, ranks);
  const auto epoch = order.epoch(p.epoch);
  out.resize(p.own.count);
  for (std::uint64_t i = 0; i < p.own.count; ++i) out[i] = epoch.at(p.first_in_epoch + p.own.first + i);
  return p;
}

}  // namespace entrain::data
