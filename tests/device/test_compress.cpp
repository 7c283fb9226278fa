// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <entrain/core/small_float.hpp>
#include <entrain/device/compress/cast.cuh>
#include <entrain/device/compress/dragonn.cuh>
#include <entrain/device/compress/qsgd.cuh>
#include <entrain/device/compress/random_k.cuh>
#include <entrain/device/compress/sign.cuh>
#include <entrain/device/compress/terngrad.cuh>
#include <entrain/device/compress/top_k.cuh>

#include "device_test.hpp"

// Compressors on the device, against the host's: the same bytes on the wire, the same sums.

using namespace entrain;
using test::on_device;
using test::queue;

namespace {

// None, one, odd, whole chunks of both sizes, many blocks.
const std::size_t counts[] = {0, 1, 7, 31, 1000, 1024, 1280, 2055, 20000};

template <class T>
std::vector<T> values_of(std::size_t n, std::uint32_t stream) {
  auto out = test::normal_values<T>(n, stream);
  for (std::size_t i = 0; i < n; i += 17) out[i] = T(i % 34 == 0 ? 0.0 : -0.0);
  return out;
}

template <class Wire>
std::size_t different(const std::vector<Wire>& a, const std::vector<Wire>& b) {
  if (a.size() != b.size()) return a.size() + b.size();
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], sizeof(Wire)) != 0;
  return count;
}

compress::context place() {
  compress::context where;
  where.seed = 3, where.step = 5, where.block = 2, where.rank = 1, where.ranks = 4;
  return where;
}

// shift: values and wire lie at no multiple of 16 bytes
template <class T, class C>
void check(const C& compressor, std::size_t n, std::size_t shift = 0, double scale = 1) {
  using wire_type = compress::wire_of<C, T>;
  CAPTURE(entrain::describe(compressor), n, shift, scale, sizeof(T));
  auto values = values_of<T>(n, 1);
  for (auto& v : values) v = T(double(v) * scale);
  std::vector<wire_type> wire(compressor.template wire_count<T>(n));
  auto state = compressor.template make_state<T>(n);
  auto work = values;
  compressor.encode(state, place(), std::span<T>(work), std::span<wire_type>(wire));
  auto sum = test::normal_values<T>(n, 2, scale);
  const auto before = sum;
  compressor.decode_add(place(), std::span<const wire_type>(wire), std::span<T>(sum), T(0.75));

  const auto moved = [&](auto v) { return v.insert(v.begin(), shift, {}), v; };
  const on_device<T> d_values(moved(values)), d_sum(moved(before));
  on_device<wire_type> d_wire(std::vector<wire_type>(wire.size() + shift));
  for (int run = 0; run < (n == 2055 ? 2 : 1); ++run) {
    d_wire.set(moved(std::vector<wire_type>(wire.size(), std::bit_cast<wire_type>([] { std::array<std::uint8_t, sizeof(wire_type)> a; a.fill(0xa5); return a; }()))));
    if constexpr (requires { compress::scratch_bytes<T>(compressor, n); }) {
      const device::compress_scratch scratch(compress::scratch_bytes<T>(compressor, n));
      encode(queue(), compressor, place(), scratch, static_cast<const T*>(d_values.data()) + shift, n, d_wire.data() + shift);
    } else {
      encode(queue(), compressor, place(), static_cast<const T*>(d_values.data()) + shift, n, d_wire.data() + shift);
    }
    // Scales of doubles are sums in another order: their last bits may differ, hence the first bytes of the wire.
    if constexpr (sizeof(T) == 8 && sizeof(wire_type) == 1) CHECK(different(d_wire.host(), moved(wire)) <= 4 + n / 128);
    else CHECK(different(d_wire.host(), moved(wire)) == 0);
  }
  decode_add(queue(), compressor, place(), static_cast<const wire_type*>(d_wire.data()) + shift, d_sum.data() + shift, n, T(0.75));
  if constexpr (sizeof(T) == 8) CHECK(test::distance(d_sum.host(), moved(sum)) <= 1e-12);
  else CHECK(different(d_sum.host(), moved(sum)) == 0);
}

template <class C>
void check_all(const C& compressor) {
  for (const auto n : counts) check<float>(compressor, n);
  check<float>(compressor, 3000, 1);
  check<double>(compressor, 3001);
}

// Entries: how many, which, in which order.
template <class T, class C>
std::size_t check_sparse(const C& compressor, const std::vector<T>& values, int runs = 1) {
  using entry = compress::sparse_entry<T>;
  const std::size_t n = values.size();
  CAPTURE(entrain::describe(compressor), n, sizeof(T));
  std::vector<entry> wire(compressor.template wire_count<T>(n));
  auto state = compressor.template make_state<T>(n);
  auto work = values;
  const std::size_t entries = compress::encoded(compressor, state, place(), std::span<T>(work), std::span<entry>(wire));
  auto sum = test::normal_values<T>(n, 2);
  const on_device<T> d_values(values), d_sum(sum);
  compressor.decode_add(place(), std::span<const entry>(wire).first(entries), std::span<T>(sum), T(0.75));

  const on_device<entry> d_wire(std::vector<entry>(wire.size()));
  const on_device<std::uint32_t> found(std::vector<std::uint32_t>{12345});
  const device::compress_scratch scratch(compress::scratch_bytes<T>(compressor, n));
  for (int run = 0; run < runs; ++run) {
    encode(queue(), compressor, place(), scratch, static_cast<const T*>(d_values.data()), n, d_wire.data(), found.data());
    REQUIRE(found.host()[0] == entries);
    const auto got = d_wire.host();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < entries; ++i) wrong += got[i].index != wire[i].index || std::memcmp(&got[i].value, &wire[i].value, sizeof(T)) != 0;
    CHECK(wrong == 0);
  }
  decode_add(queue(), compressor, place(), static_cast<const entry*>(d_wire.data()), entries, d_sum.data(), n, T(0.75));
  CHECK(different(d_sum.host(), sum) == 0);
  return entries;
}

template <class C>
void check_all_sparse(const C& compressor) {
  for (const auto n : {0, 1, 7, 1000, 13001}) check_sparse(compressor, values_of<float>(std::size_t(n), 1), n > 4096 ? 2 : 1);
  check_sparse(compressor, values_of<double>(5001, 1));
  std::vector<float> few(2000), equal(5000, -2.0f), steps(9000);
  few[17] = 1, few[1999] = -1e-42f;
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i] = float(i % 7);
  check_sparse(compressor, few), check_sparse(compressor, equal), check_sparse(compressor, steps);
}

}  // namespace

TEST_CASE("casts on the device are the host's", "[device][compress]") {
  check_all(compress::cast<bfloat16>{});
  check_all(compress::cast<float16>{});
  check_all(compress::cast<float8_e4m3>{});
  check_all(compress::cast<float8_e5m2>{});
  check<float>(compress::cast<float16>{}, 3000, 0, 1e5);
}

TEST_CASE("casts by chance on the device draw the host's numbers", "[device][compress]") {
  check_all(compress::stochastic_cast<bfloat16>{});
  check_all(compress::stochastic_cast<float16>{});
  check_all(compress::stochastic_cast<float8_e4m3>{});
  check<float>(compress::stochastic_cast<float8_e5m2>{}, 3000, 0, 1e-4);
}

TEST_CASE("signs on the device are the host's", "[device][compress]") { check_all(compress::sign{}); }

TEST_CASE("qsgd on the device draws the host's numbers and writes its bytes", "[device][compress]") {
  check_all(compress::qsgd{});
  check_all(compress::qsgd{.levels = 1, .bucket = 512});
  check_all(compress::qsgd{.levels = 127, .bucket = 0, .scale = compress::norm::maximum});
  for (const int levels : {2, 5, 40}) check<float>(compress::qsgd{.levels = levels, .bucket = 2048}, 9000);
  check<float>(compress::qsgd{.bucket = 333}, 3000);
  check<float>(compress::qsgd{.bucket = 1500}, 4001);
  check<float>(compress::qsgd{}, 5000, 0, 1e-36);
  check<float>(compress::qsgd{}, 5000, 0, 0);
}

TEST_CASE("terngrad on the device draws the host's numbers and writes its bytes", "[device][compress]") {
  check_all(compress::terngrad{});
  check_all(compress::terngrad{.clip = 0, .packing = compress::trits::base3});
  check<float>(compress::terngrad{}, 5000, 0, 1e-36);
}

TEST_CASE("top-k on the device finds the host's entries", "[device][compress]") {
  check_all_sparse(compress::top_k{});
  check_sparse(compress::top_k{.ratio = 0.3}, values_of<float>(5000, 1));
  check_sparse(compress::top_k{.ratio = 1}, values_of<float>(1000, 1));
  check_sparse(compress::top_k{}, std::vector<float>(1000));
}

TEST_CASE("sampled top-k on the device finds the host's entries, wherever its threshold falls", "[device][compress]") {
  check_all_sparse(compress::sampled_top_k{});
  check_sparse(compress::sampled_top_k{.ratio = 0.1}, values_of<float>(5000, 1));
  check_sparse(compress::sampled_top_k{}, std::vector<float>(2000));
  check_sparse(compress::sampled_top_k{.ratio = 1}, values_of<float>(300, 1));
  // What the sample of every 12th value or so sees is not what is there: too high, far too high, too low.
  const auto values = values_of<float>(20000, 1);
  for (const float factor : {1.6f, 30.0f, 1e-20f}) {
    auto uneven = values;
    const compress::detail::random_words random(place());
    const compress::sampled_top_k c{};
    const std::size_t samples = compress::detail::sample_size(c.sample, c.ratio, uneven.size()), stride = uneven.size() / samples, slack = uneven.size() - stride * samples;
    for (std::size_t i = (std::uint64_t(random[0]) * (stride + slack)) >> 32, j = 0; j < samples; ++j, i += stride) uneven[i] *= factor;
    check_sparse(c, uneven);
  }
}

TEST_CASE("dragonn on the device fills the host's slots", "[device][compress]") {
  check_all_sparse(compress::dragonn{});
  check_sparse(compress::dragonn{.ratio = 0.05, .slots_per_entry = 1}, values_of<float>(9000, 1));
}

TEST_CASE("random k on the device takes the host's indices", "[device][compress]") {
  check_all(compress::random_k{});
  check_all(compress::unbiased_random_k{.ratio = 0.37});
  check<float>(compress::random_k{.ratio = 1}, 1001);
}
