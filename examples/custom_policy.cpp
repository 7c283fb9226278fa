// SPDX-License-Identifier: Apache-2.0
//
// A compressor of one's own: stochastic ternary values, written from the concept's page in under 40 lines, checked by the
// library's laws in one, and trained with like any other.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <span>

#include <entrain/entrain.hpp>
#include <entrain/testing/compressor_laws.hpp>

#include "arguments.hpp"
#include "glyphs.hpp"

namespace en = entrain;

//! [policy]
// Each value becomes -s, 0 or +s, where s is the block's largest magnitude and the chance of not being 0 is |x| / s: two
// bits of information, right on average (Wen et al., TernGrad, NIPS 2017). One byte a value here, and s in front.
struct ternary {
  using slot_type = en::slot::compression;
  static constexpr auto payload = en::compress::payload_kind::gatherable;
  static constexpr bool unbiased = true;
  template <class T>
  using wire_type = std::byte;

  template <class T>
  std::size_t wire_count(std::size_t n) const { return sizeof(T) + n; }
  template <class T>
  en::compress::no_state make_state(std::size_t) const { return {}; }

  template <class T>
  void encode(en::compress::no_state&, const en::compress::context& key, std::span<T> x, std::span<std::byte> wire) const {
    const en::random_stream random(key.seed, en::purpose::compress, key.block * 4096 + key.rank, key.step);
    T scale = 0;
    for (const T v : x) scale = std::max(scale, std::abs(v));
    std::memcpy(wire.data(), &scale, sizeof(T));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const bool kept = T(random.uniform(i)) * scale < std::abs(x[i]);
      wire[sizeof(T) + i] = std::byte(!kept ? 0 : x[i] > 0 ? 1 : 2);
    }
  }

  template <class T>
  void decode_add(const en::compress::context&, std::span<const std::byte> wire, std::span<T> x, T factor) const {
    T scale;
    std::memcpy(&scale, wire.data(), sizeof(T));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += factor * scale * (wire[sizeof(T) + i] == std::byte{1} ? T(1) : wire[sizeof(T) + i] == std::byte{2} ? T(-1) : T(0));
  }
};
//! [policy]

int main(int argc, char** argv) {
  en::comm::mpi world{argc, argv};
  //! [laws]
  en::testing::check_compressor(ternary{});
  //! [laws]
  en::trainer run{en::nn::mlp{.inputs = 784, .hidden = {64}, .outputs = 10}, en::optim::adamw{.learning_rate = 2e-3}, world, ternary{}, en::monitor::progress{}};
  run.fit(glyphs{.samples = 4000}, {.steps = steps_or(argc, argv, 400), .batch = 64});
  const auto result = run.evaluate(glyphs{.samples = 500, .seed = 2});
  if (world.rank() == 0) std::printf("the laws hold; accuracy %.1f %% with gradients of one byte a value\n", 100 * result.accuracy());
}
