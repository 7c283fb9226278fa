// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <entrain/core/dtype.hpp>
#include <entrain/device/optim/gradient_norm.cuh>
#include <entrain/device/optim/replica.cuh>
#include <entrain/device/optim/update.cuh>
#include <entrain/optim/clip.hpp>
#include <entrain/optim/schedule.hpp>
#include <entrain/parallel/update.hpp>

#include "device_test.hpp"

// Optimizers on the device, against the host's policies, block by block.

using namespace entrain;
using test::on_device;
using test::queue;

namespace {

// Several chunks, odd ends, blocks of one element, of none, statistics in front, a block that stays zero.
const parameter_layout& layout() {
  static const parameter_layout all = [] {
    parameter_layout l;
    l.add("wide.weight", {71, 123}, block_kind::weight);
    l.add("wide.bias", {123}, block_kind::vector);
    l.add("norm.running", {37}, block_kind::statistic);
    l.add("one", {1}, block_kind::vector);
    l.add("none", {0, 4}, block_kind::weight);
    l.add("exact.weight", {64, 64}, block_kind::weight);
    l.add("zero.weight", {5, 5}, block_kind::weight);
    return l;
  }();
  return all;
}

// Values in blocks, zeros between them and in the last block.
template <class T>
std::vector<T> arena(std::uint32_t stream, double scale = 1) {
  std::vector<T> out(layout().size(), T(0.0f));
  const auto values = test::normal_values<T>(out.size(), stream, scale);
  for (const auto& block : layout().blocks())
    for (std::size_t i = 0; i < block.count && block.name != "zero.weight"; ++i) out[block.offset + i] = values[block.offset + i];
  return out;
}

template <class M, class Optimizer, class G>
void host_step(const Optimizer& optimizer, optim::update_context c, std::vector<M>& x, const std::vector<G>& gradient, std::array<std::vector<M>, Optimizer::fields.size()>& state, std::size_t idle = 99) {
  const std::vector<M> g(gradient.begin(), gradient.end());
  for (std::size_t b = 0; b < layout().blocks().size(); ++b) {
    const auto& block = layout()[b];
    if (block.kind == block_kind::statistic || b == idle) continue;
    std::array<M*, Optimizer::fields.size()> at;
    for (std::size_t f = 0; f < at.size(); ++f) at[f] = state[f].data() + block.offset;
    c.kind = block.kind;
    optimizer.update(c, x.data() + block.offset, g.data() + block.offset, at, block.count);
  }
}

template <class M, class T, class G, class Optimizer>
void check(const Optimizer& optimizer, double tolerance = 1e-6, std::size_t shift = 0, device::update_options options = {}) {
  constexpr std::size_t fields = Optimizer::fields.size();
  CAPTURE(optimizer.describe(), sizeof(M), sizeof(T), sizeof(G), shift);
  const std::size_t n = layout().size(), begin = layout().trainable_begin();
  std::vector<M> x = arena<M>(1);
  std::array<std::vector<M>, fields> state;
  state.fill(std::vector<M>(n));
  // shift: arrays that lie at no multiple of 16 bytes
  const auto moved = [&](auto values) { return values.insert(values.begin(), shift, {}), values; };
  const on_device<M> d_x(moved(x));
  auto d_copy = on_device<T>::poisoned(n + shift);
  std::vector<on_device<M>> d_state;
  std::array<M*, fields> at;
  for (std::size_t f = 0; f < fields; ++f) d_state.push_back(on_device<M>::zeros(n + shift));
  for (std::size_t f = 0; f < fields; ++f) at[f] = d_state[f].data() + shift + begin;
  const device::update_table table(layout());
  for (std::uint64_t step = 0; step < 10; ++step) {
    const auto g = arena<G>(std::uint32_t(10 + step), 3);
    const on_device<G> d_g(moved(g));
    optim::update_context c;
    c.step = step, c.learning_rate = optimizer.learning_rate_at(step), c.gradient_scale = 0.25;
    host_step(optimizer, c, x, g, state);
    T* parameters = nullptr;
    if constexpr (std::is_same_v<M, T>) parameters = d_x.data() + shift + begin;
    else parameters = d_copy.data() + shift + begin;
    device::update(queue(), optimizer, c, table, d_x.data() + shift + begin, parameters, static_cast<const G*>(d_g.data()) + shift + begin, at, options);
  }
  CHECK(test::distance(d_x.host(), moved(x)) <= tolerance);
  for (std::size_t f = 0; f < fields; ++f) CHECK(test::distance(d_state[f].host(), moved(state[f])) <= tolerance);
  if constexpr (!std::is_same_v<M, T>) {
    const auto copy = d_copy.host();
    const auto kept = d_x.host();
    std::size_t wrong = 0;
    for (const auto& block : layout().blocks())
      for (std::size_t i = 0; i < block.count && block.kind != block_kind::statistic; ++i)
        wrong += copy[shift + block.offset + i].bits != T(float(kept[shift + block.offset + i])).bits;
    CHECK(wrong == 0);
  }
}

template <class Optimizer>
void check_all(const Optimizer& optimizer) {
  check<float, float, float>(optimizer);
  check<float, float, float>(optimizer, 1e-6, 1);
  check<float, bfloat16, bfloat16>(optimizer);
  check<float, bfloat16, float>(optimizer);
  check<double, double, double>(optimizer, 1e-13);
}

}  // namespace

TEST_CASE("sgd on the device is the host's", "[device][optim]") {
  check_all(optim::sgd{.learning_rate = 0.1, .weight_decay = 0.01});
  check_all(optim::sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.01});
  check<float, float, float>(optim::sgd{.learning_rate = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.01, .decay_vectors = true});
}

TEST_CASE("adamw on the device is the host's, also clipped, scheduled and frozen", "[device][optim]") {
  check_all(optim::adamw{.learning_rate = 0.01, .weight_decay = 0.1});
  check<float, float, float>(optim::adamw{.learning_rate = 0.01, .weight_decay = 0.1, .decay_vectors = true});
  check<float, float, float>(optim::scheduled{optim::clipped{optim::adamw{.learning_rate = 0.01}, 1.0}, optim::schedule::warm_up{5}});
  check_all(optim::one_bit_adam{.learning_rate = 0.01, .weight_decay = 0.1, .freeze_after = 4});
  CHECK_THROWS_AS((check<float, float, float>(optim::one_bit_adam{.freeze_after = 0})), usage_error);
}

TEST_CASE("lars on the device is the host's", "[device][optim]") {
  check_all(optim::lars{.learning_rate = 1, .trust = 0.02});
  check_all(optim::lars{.learning_rate = 0.1, .trust = 1, .momentum = 0, .weight_decay = 0, .adapt_vectors = true});
}

TEST_CASE("lamb on the device is the host's", "[device][optim]") {
  check_all(optim::lamb{.learning_rate = 0.01, .weight_decay = 0.1});
  check_all(optim::lamb{.learning_rate = 0.01, .largest_norm = 1e9, .bias_correction = false, .decay_vectors = true, .adapt_vectors = false});
  check<float, float, float>(optim::scheduled{optim::clipped{optim::lamb{.learning_rate = 0.01}, 1.0}, optim::schedule::warm_up{5}});
}

TEST_CASE("decay moves weights only", "[device][optim]") {
  const auto x = arena<float>(1);
  const on_device<float> d_x(x), d_g(std::vector<float>(x.size())), m(std::vector<float>(x.size())), v(std::vector<float>(x.size()));
  const std::size_t begin = layout().trainable_begin();
  optim::update_context c;
  c.learning_rate = 0.5;
  device::update(queue(), optim::adamw{.weight_decay = 0.5}, c, device::update_table(layout()), d_x.data() + begin, static_cast<const float*>(d_g.data()) + begin, {m.data() + begin, v.data() + begin});
  const auto after = d_x.host();
  for (const auto& block : layout().blocks())
    if (block.count > 0) CHECK(after[block.offset] == x[block.offset] * (block.kind == block_kind::weight ? 0.75f : 1.0f));
}

TEST_CASE("the scale comes from device memory, idle blocks rest", "[device][optim]") {
  const std::size_t begin = layout().trainable_begin();
  const optim::sgd optimizer{.learning_rate = 1, .momentum = 0.5};
  const auto x = arena<float>(1), g = arena<float>(2);
  const device::update_table table(layout());
  on_device<double> scale(std::vector<double>{0.125});
  std::vector<std::uint8_t> rests(layout().blocks().size());
  rests[1] = 1;
  const on_device<std::uint8_t> idle(rests);
  const on_device<float> d_x(x), d_g(g), d_v(std::vector<float>(x.size()));
  optim::update_context c;
  c.learning_rate = 1, c.gradient_scale = 2;
  const auto run = [&] {
    device::update(queue(), optimizer, c, table, d_x.data() + begin, static_cast<const float*>(d_g.data()) + begin, {d_v.data() + begin}, {.gradient_scale = scale.data(), .idle = idle.data()});
    return d_x.host();
  };
  auto expected = x;
  std::array<std::vector<float>, 1> state{std::vector<float>(x.size())};
  auto host = c;
  host.gradient_scale = 0.25;
  host_step(optimizer, host, expected, g, state, 1);
  const auto first = run();
  CHECK(test::distance(first, expected) <= 1e-6);
  CHECK(first[layout()[1].offset] == x[layout()[1].offset]);
}

TEST_CASE("the gradient's norm and the scale it makes", "[device][optim]") {
  const std::size_t begin = layout().trainable_begin();
  const device::update_table table(layout());
  auto g = arena<float>(3);
  double exact = 0;
  for (std::size_t i = begin; i < g.size(); ++i) exact += double(g[i]) * double(g[i]);
  auto squares = on_device<double>::poisoned(1), scale = on_device<double>::poisoned(1);
  double last = 0;
  const auto measure = [&](const std::vector<float>& values) {
    const on_device<float> d_g(values);
    device::gradient_squares(queue(), table, static_cast<const float*>(d_g.data()) + begin, squares.data());
    return last = squares.host()[0];
  };
  const double found = measure(g);
  CHECK(found == Approx(exact).epsilon(1e-13));
  CHECK(measure(g) == found);
  const auto scaled = [&](device::gradient_factors of) {
    of.squares = squares.data();
    device::gradient_scale(queue(), of, scale.data());
    return scale.host()[0];
  };
  CHECK(scaled({.factor = 0.0625}) == 0.0625);
  CHECK(scaled({.factor = 0.125, .clip_norm = 1}) == Approx(1 / std::sqrt(exact)).epsilon(1e-13));
  CHECK(scaled({.factor = 0.125, .clip_norm = 1e6}) == 0.125);
  for (const double limit : {0.0, 1e-3, 1.0, 3.7, 1e6})
    for (const std::int64_t samples : {1, 7, 12}) CHECK(scaled({.factor = 1.0 / double(samples), .clip_norm = limit}) == parallel::gradient_scale(samples, limit, last));
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    g[layout()[5].offset + 4095] = bad;
    CHECK_FALSE(std::isfinite(measure(g)));
    CHECK(scaled({.clip_norm = 1}) == parallel::gradient_scale(1, 1, last));  // what the host goes on with
  }
  g[layout()[5].offset + 4095] = 3e38f;  // finite, though its square fits no float
  CHECK(std::isfinite(measure(g)));
}

TEST_CASE("a shard's table updates its part; norms of parts are refused", "[device][optim]") {
  const std::size_t begin = layout().trainable_begin(), middle = begin + 4099 / 16 * 16 + 3;  // at no multiple of four
  const auto x = arena<float>(1), g = arena<float>(2);
  const on_device<float> whole(x), parts(x), d_g(g), m1(std::vector<float>(x.size())), v1(std::vector<float>(x.size())), m2(std::vector<float>(x.size())), v2(std::vector<float>(x.size()));
  auto copy1 = on_device<bfloat16>(std::vector<bfloat16>(x.size(), bfloat16(0.0f))), copy2 = on_device<bfloat16>(std::vector<bfloat16>(x.size(), bfloat16(0.0f)));
  optim::update_context c;
  c.learning_rate = 0.1, c.step = 3;
  const device::update_options options{.stochastic_rounding = true, .seed = 5};
  const auto run = [&](std::size_t from, std::size_t to, const on_device<float>& p, const on_device<bfloat16>& copy, const on_device<float>& m, const on_device<float>& v) {
    device::update(queue(), optim::adamw{}, c, device::update_table(layout(), from, to), p.data() + from, copy.data() + from, static_cast<const float*>(d_g.data()) + from, {m.data() + from, v.data() + from}, options);
  };
  run(begin, x.size(), whole, copy1, m1, v1);
  run(begin, middle, parts, copy2, m2, v2);
  run(middle, x.size(), parts, copy2, m2, v2);
  CHECK(whole.host() == parts.host());
  CHECK(v1.host() == v2.host());
  // Rounded by chance: the same for every cut, at most one step from the master, different from rounding to nearest, right in the mean.
  const auto a = copy1.host(), b = copy2.host();
  const auto master = whole.host();
  std::size_t different = 0, nearest = 0, far = 0;
  double error = 0, size = 0;
  for (std::size_t i = begin; i < a.size(); ++i) {
    different += a[i].bits != b[i].bits, nearest += a[i].bits != bfloat16(master[i]).bits;
    far += std::abs(float(a[i]) - master[i]) > std::abs(master[i]) * 0x1p-7f;
    error += (float(a[i]) - master[i]) / (std::abs(master[i]) + 1e-30), size += 1;
  }
  CHECK(different == 0);
  CHECK(nearest > 1000);
  CHECK(far == 0);
  CHECK(std::abs(error / size) < 1e-4);
  const on_device<float> v(std::vector<float>(x.size()));
  CHECK_THROWS_AS(device::update(queue(), optim::lars{}, c, device::update_table(layout(), begin, middle), parts.data() + begin, static_cast<const float*>(d_g.data()) + begin, {v.data()}), usage_error);
}

TEST_CASE("statistics follow what was observed", "[device][optim]") {
  auto observed = test::normal_values<float>(300, 1);
  const auto running = test::normal_values<float>(300, 2);
  const on_device<float> d_observed(observed), d_running(running);
  auto copy = on_device<bfloat16>::poisoned(300);
  follow_statistics(queue(), 300, 0.1, 4.0, static_cast<const float*>(d_observed.data()), d_running.data(), copy.data(), false);
  const auto out = d_running.host();
  const auto rounded = copy.host();
  for (std::size_t i = 0; i < 300; ++i) {
    CHECK(out[i] == Approx((1 - 0.1) * double(running[i]) + 0.1 * double(observed[i]) / 4).epsilon(1e-6));
    CHECK(rounded[i].bits == bfloat16(out[i]).bits);
  }
  // What is no number is left out where that is asked for.
  observed[7] = std::numeric_limits<float>::infinity(), observed[8] = std::nanf("");
  const on_device<float> odd(observed);
  for (const bool forgiving : {true, false}) {
    const on_device<float> followed(out);
    follow_statistics(queue(), 300, 0.1, 4.0, static_cast<const float*>(odd.data()), followed.data(), followed.data(), forgiving);
    const auto now = followed.host();
    CHECK((now[7] == out[7]) == forgiving);
    CHECK(std::isfinite(now[8]) == forgiving);
    CHECK(now[9] != out[9]);
  }
}
