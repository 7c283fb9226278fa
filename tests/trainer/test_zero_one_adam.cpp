// SPDX-License-Identifier: Apache-2.0
// entrain-test: slow
#include "../catch.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/checkpoint/policy.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/compress/compress.hpp>
#include <entrain/nn/activation.hpp>
#include <entrain/nn/batch_norm.hpp>
#include <entrain/nn/classifier.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/linear.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/nn/sequential.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/data.hpp>
#include <entrain/testing/parallel_laws.hpp>
#include <entrain/trainer/trainer.hpp>

#include "models.hpp"

using namespace entrain;
using optim::zero_one_adam;

namespace {

// 0, 1, 2, 4, 6, 10 average; frozen at 14; then the distance of synchronisations is 1 for four steps, 2 for four, then 4.
const zero_one_adam quick{.learning_rate = 0.01, .weight_decay = 0.1, .kappa = 2, .longest_variance_interval = 4, .double_every = 4, .longest_interval = 4};

// ---- A second, plain implementation: p ranks in one process, means in place of shares, x_i stepped as the paper writes it.

constexpr std::size_t features = 21, width = features + 1;  // a weight [21, 1] and a bias: the blocks
using row = std::vector<double>;

// compress::two_phase{compress::sign{}} of one block [begin, end), or the plain sum.
struct plain_exchange {
  std::size_t p, begin, end;
  bool exact;
  std::vector<row> residual;
  row owner;

  plain_exchange(std::size_t ranks, std::size_t first, std::size_t last, bool no_loss) : p(ranks), begin(first), end(last), exact(no_loss), residual(ranks, row(last - first)), owner(last - first) {}
  static double scale_of(const double* z, std::size_t n) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += std::abs(z[i]);
    return n ? sum / double(n) : 0;
  }
  void operator()(const std::vector<row>& u, row& out) {
    const std::size_t n = end - begin, each = ((n + p - 1) / p + 7) / 8 * 8;
    row sum(n);
    for (std::size_t r = 0; r < p; ++r) {
      row z(u[r].begin() + std::ptrdiff_t(begin), u[r].begin() + std::ptrdiff_t(end));
      for (std::size_t i = 0; i < n; ++i) z[i] = z[i] / double(p) + residual[r][i];
      const double scale = scale_of(z.data(), n);
      for (std::size_t i = 0; i < n; ++i) {
        const double sent = exact ? z[i] : z[i] < 0 ? -scale : scale;
        residual[r][i] = z[i] - sent, sum[i] += sent;
      }
    }
    for (std::size_t first = 0; first < n; first += each) {
      const std::size_t count = std::min(each, n - first);
      for (std::size_t i = first; i < first + count; ++i) sum[i] += owner[i];
      const double scale = scale_of(sum.data() + first, count);
      for (std::size_t i = first; i < first + count; ++i) {
        const double sent = exact ? sum[i] : sum[i] < 0 ? -scale : scale;
        owner[i] = sum[i] - sent, out[begin + i] = sent;
      }
    }
  }
};

struct plain_zero_one {
  zero_one_adam o;
  std::size_t p;
  bool exact;
  row x, v = row(width);
  std::vector<row> x_i, m, u;
  std::vector<plain_exchange> blocks;
  double rates = 0, plain_rates = 0;
  int updates = 0;

  plain_zero_one(const zero_one_adam& optimizer, std::size_t ranks, bool no_loss, const row& start)
      : o(optimizer), p(ranks), exact(no_loss), x(start), x_i(ranks, start), m(ranks, row(width)), u(m), blocks{{p, 0, features, exact}, {p, features, width, exact}} {}

  double denominator(std::size_t i) const { return std::sqrt(v[i] / (1 - std::pow(o.beta2, updates)) + o.epsilon); }

  void step(int t, const std::vector<row>& g, bool in_v, bool in_u) {  // g: of each rank, its mean over ranks is the gradient
    const double rate = o.learning_rate / (1 - std::pow(o.beta1, t + 1));
    rates += rate, plain_rates += o.learning_rate;
    const auto decayed = [&](std::size_t i) { return (1 - (i < features ? plain_rates * o.weight_decay : 0)) * x[i]; };
    if (in_v) {
      ++updates;
      for (std::size_t i = 0; i < width; ++i) {
        double mean = 0;
        for (std::size_t r = 0; r < p; ++r) mean += g[r][i] / double(p);
        v[i] = o.beta2 * v[i] + (1 - o.beta2) * mean * mean;
        const double next = o.beta1 * m[0][i] + (1 - o.beta1) * mean;
        for (std::size_t r = 0; r < p; ++r) m[r][i] = next;
        x[i] = decayed(i) - rate * next / denominator(i);
      }
    } else {
      for (std::size_t r = 0; r < p; ++r)
        for (std::size_t i = 0; i < width; ++i) {
          m[r][i] = o.beta1 * m[r][i] + (1 - o.beta1) * g[r][i];
          x_i[r][i] -= (i < features ? o.learning_rate * o.weight_decay * x[i] : 0) + rate * m[r][i] / denominator(i);
          u[r][i] += rate * m[r][i];
        }
      if (!in_u) return;
      row mean(width);
      for (auto& block : blocks) block(u, mean);
      for (std::size_t i = 0; i < width; ++i) {
        x[i] = decayed(i) - mean[i] / denominator(i);
        for (std::size_t r = 0; r < p; ++r) m[r][i] = mean[i] / rates, u[r][i] = 0;
      }
    }
    x_i.assign(p, x);
    rates = plain_rates = 0;
  }
};

const test::plane samples{.samples = 60, .features = features};

regression_batch batch_of(int step, std::size_t rank) {  // of 3, 1, and now and then no samples
  regression_batch batch;
  std::vector<std::uint64_t> indices;
  const std::size_t count = rank == 0 ? 3 : rank == 1 ? 1 : std::size_t(step % 3);
  for (std::size_t i = 0; i < count; ++i) indices.push_back((std::size_t(step) * 7 + rank * 11 + i) % 60);
  samples.fill(indices, batch);
  return batch;
}

// Gradients of all ranks; with `alone`, that of the whole batch.
std::vector<row> gradients(int step, std::size_t p, const std::vector<row>& x) {
  const test::line<double> model{.features = features};
  const std::size_t bias = model.layout()[1].offset;
  std::vector<row> out(p, row(width));
  double count = 0;
  for (std::size_t r = 0; r < p; ++r) {
    row at(model.layout().size()), g(model.layout().size());
    std::copy_n(x[r].begin(), features, at.begin()), at[bias] = x[r][features];
    count += double(model.loss_and_gradient(at, batch_of(step, r), g).count);
    std::copy_n(g.begin(), features, out[r].begin()), out[r][features] = g[bias];
  }
  for (auto& g : out)
    for (double& value : g) value *= double(p) / count;
  return out;
}

row first_values() {
  const test::line<double> model{.features = features};
  row arena(model.layout().size()), x(width);
  model.initialise(arena, 1);
  std::copy_n(arena.begin(), features, x.begin());
  return x;
}

row plain_run(const zero_one_adam& o, std::size_t p, bool exact, int steps) {
  plain_zero_one run(o, p, exact, first_values());
  // The sets as the paper defines them: k_{j + 1} - k_j = 2^floor(j / kappa).
  std::vector<int> in_v, in_u;
  int at = 0, frozen = 0;
  for (std::uint64_t j = 0, each = 1; each <= o.longest_variance_interval; ++j, each = std::uint64_t(1) << (j / o.kappa)) in_v.push_back(at), at += int(each), frozen = at;
  for (int t = 0; t < frozen; ++t) in_u.push_back(t);
  for (int local = 1, each = 1; frozen + local <= steps; ++local) {
    if (local % each == 0) in_u.push_back(frozen + local - 1);
    if (local % int(o.double_every) == 0 && each < int(o.longest_interval)) each *= 2;
  }
  const auto has = [](const std::vector<int>& set, int t) { return std::find(set.begin(), set.end(), t) != set.end(); };
  for (int t = 0; t < steps; ++t) run.step(t, gradients(t, p, run.x_i), has(in_v, t), has(in_u, t));
  return run.x;
}

template <class C>
row library_run(const zero_one_adam& o, int p, const C& c, int steps) {
  row out(width);
  comm::run_ranks(p, [&](comm::threads& world) {
    const test::line<double> model{.features = features};
    trainer run{model, o, world, c, precision::fp64{}};
    std::uint64_t planned = 0;
    const std::uint64_t before = run.comm().counters().bytes;
    for (int t = 0; t < steps; ++t) {
      planned += parallel::bytes_sent(run.plan(4, std::uint64_t(t)));
      run.step(batch_of(t, std::size_t(world.rank())));
    }
    const std::uint64_t counted = run.comm().counters().bytes - before;
    if (world.rank() != 0) return;
    CHECK(counted == planned);
    std::copy_n(run.parameters().begin(), features, out.begin());
    out[features] = run.parameters()[model.layout()[1].offset];
  });
  return out;
}

void check_close(const row& found, const row& expected, double limit = 1e-9) {
  double worst = 0, size = 0;
  for (std::size_t i = 0; i < width; ++i) worst = std::max(worst, std::abs(found[i] - expected[i])), size = std::max(size, std::abs(expected[i]));
  INFO(worst << " of " << size);
  CHECK(worst <= limit * size);
}

}  // namespace

TEST_CASE("0/1 Adam: the two sets of steps are those of the paper", "[optim]") {
  std::vector<std::uint64_t> averages, skips;
  for (std::uint64_t t = 0; t < 40; ++t) {
    if (quick.averages_gradient(t)) averages.push_back(t);
    if (!quick.synchronises(t)) skips.push_back(t);
  }
  CHECK(quick.frozen_at() == 14);
  CHECK(averages == std::vector<std::uint64_t>{0, 1, 2, 4, 6, 10});
  CHECK(skips == std::vector<std::uint64_t>{18, 20, 22, 23, 24, 26, 27, 28, 30, 31, 32, 34, 35, 36, 38, 39});
  CHECK(zero_one_adam{}.frozen_at() == 16 * 127);
  std::uint64_t at = 0, j = 0;
  for (; at < zero_one_adam{}.frozen_at(); at += std::uint64_t(1) << (j / 16), ++j) {
    CHECK(zero_one_adam{}.averages_gradient(at));
    CHECK(zero_one_adam{}.variance_factor(at) == Approx(1 / (1 - std::pow(0.999, double(j + 1)))));
  }
  CHECK(j == 16 * 7);
  CHECK_FALSE(zero_one_adam{}.averages_gradient(at));
  CHECK(zero_one_adam{.longest_variance_interval = ~std::uint64_t(0)}.averages_gradient(std::uint64_t(16) * 1023));
  CHECK_THROWS_AS((trainer{test::line<float>{}, zero_one_adam{.kappa = 0}}), usage_error);
}

TEST_CASE("0/1 Adam equals a plain implementation, uneven batches, 1, 2 and 3 ranks", "[optim]") {
  for (const int p : {1, 2, 3})
    for (const int steps : {14, 22, 34}) {
      CAPTURE(p, steps);
      check_close(library_run(quick, p, compress::two_phase{compress::sign{}}, steps), plain_run(quick, std::size_t(p), false, steps));
      check_close(library_run(quick, p, compress::none{}, steps), plain_run(quick, std::size_t(p), true, steps));
    }
}

TEST_CASE("0/1 Adam that synchronises in every step without loss is Adam on the whole batch, then with a frozen variance", "[optim]") {
  const zero_one_adam o{.learning_rate = 0.02, .weight_decay = 0.1, .kappa = 8, .longest_variance_interval = 1, .longest_interval = 1};
  const auto whole = [&](int t, const row& x) {  // the gradient of three ranks' samples together
    row sum(width);
    for (const auto& g : gradients(t, 3, {x, x, x}))
      for (std::size_t i = 0; i < width; ++i) sum[i] += g[i] / 3;
    return sum;
  };
  row x = first_values(), m(width), v(width);
  for (int t = 0; t < 25; ++t) {
    const row g = whole(t, x);
    const double known = std::min(t + 1, 8), rate = o.learning_rate / (1 - std::pow(o.beta1, t + 1));
    for (std::size_t i = 0; i < width; ++i) {
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
      if (t < 8) v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
      x[i] = (1 - (i < features ? o.learning_rate * o.weight_decay : 0)) * x[i] - rate * m[i] / std::sqrt(v[i] / (1 - std::pow(o.beta2, known)) + o.epsilon);
    }
    if (t == 7 || t == 24) check_close(library_run(o, 3, compress::none{}, t + 1), x);
  }
}

TEST_CASE("0/1 Adam keeps the laws of parallel policies", "[parallel]") {
  const nn::mlp perceptron{.inputs = 6, .hidden = {8, 7}, .outputs = 3};
  const auto normalised = nn::classifier{nn::sequential{nn::batch_norm{}, nn::linear{8}, nn::relu, nn::linear{3}}, {6}, 3};
  zero_one_adam every = quick;
  every.longest_interval = 1;
  for (const int ranks : {1, 2, 3, 5}) {
    CAPTURE(ranks);
    CHECK_NOTHROW(comm::run_ranks(ranks, [&](comm::threads& world) {
      const testing::training_case how{.steps = 30, .batch = 8};
      const test::clusters data{.samples = 29};
      testing::check_training(world, perceptron, data, every, compress::none{}, parallel::data{.bucket_bytes = 100}, precision::fp64{}, how);
      testing::check_training(world, perceptron, data, quick, compress::two_phase{compress::sign{}}, parallel::data{.bucket_bytes = 100}, precision::fp64{}, how);
      testing::check_training(world, perceptron, data, quick, compress::two_phase{compress::sign{}}, parallel::data{.accumulate = 2}, precision::fp32{}, how);
      testing::check_training(world, perceptron, data, quick, compress::after{9, compress::error_feedback{compress::top_k{.ratio = 0.2}}}, parallel::data{}, precision::fp32{}, how);
      testing::check_training(world, perceptron, data, quick, compress::power_sgd{.rank = 1, .minimum_gain = 1}, parallel::data{}, precision::fp32{}, how);
      testing::check_training(world, normalised, data, quick, compress::two_phase{compress::sign{}}, parallel::data{}, precision::fp32{}, how);
    }));
  }
}

TEST_CASE("0/1 Adam needs one line", "[docs]") {
  comm::run_ranks(2, [&](comm::threads& world) {
    //! [trainer]
    trainer run{nn::mlp{.inputs = 6, .hidden = {16}, .outputs = 3}, optim::zero_one_adam{.learning_rate = 1e-3}, world, compress::two_phase{compress::sign{}}};
    //! [trainer]
    const auto summary = run.fit(test::clusters{}, {.steps = 40, .batch = 8});
    if (world.rank() == 0) CHECK(summary.last_loss < summary.first_loss);
  });
}

TEST_CASE("0/1 Adam says what a step sends", "[parallel]") {
  comm::run_ranks(2, [&](comm::threads& world) {
    trainer run{test::line<float>{}, quick, world, compress::two_phase{compress::sign{}}};
    const auto phases = [&](std::uint64_t step) {
      std::string out;
      for (const auto& entry : run.plan(8, step)) out += std::string(entry.operation) + " " + std::string(entry.phase) + ";";
      return out;
    };
    if (world.rank() != 0) return;
    CHECK(phases(0) == "all_reduce gradient;all_reduce metrics;");
    CHECK(phases(3) == "all_reduce metrics;all_to_all parameters;all_gather parameters;");
    CHECK(phases(22) == "all_reduce metrics;");
    CHECK(parallel::bytes_sent(run.plan(8, 22)) == 32);
    CHECK(run.explain(0).find("the gradient is averaged") == 0);
    CHECK(run.explain(3).find("two_phase{sign}") != std::string::npos);
    CHECK(run.explain(22) == "a local step: nothing but the metrics travels until step 25\n");
  });
}

namespace {

const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("entrain_zero_one_" + std::to_string(::getpid()));

// What replica().save() hands over, on rank 0.
struct collected {
  std::map<std::string, std::vector<double>> values;
  std::map<std::string, shape> shapes;
  std::vector<std::vector<float>> kept;
  template <class T>
  void operator()(const std::string& name, std::span<const T> given, const shape& dims) {
    values[name].assign(given.begin(), given.end());
    shapes[name] = dims;
  }
  template <class T>
  std::span<const T> keep(std::vector<T> given) { return kept.emplace_back(std::move(given)); }

  // Sums over ranks of everything that ranks have a share of.
  std::map<std::string, std::vector<double>> sums() const {
    std::map<std::string, std::vector<double>> out;
    for (const auto& [name, all] : values) {
      if (name.find("shares.") != 0 && name.find("compression.") != 0) continue;
      const bool cut = name.find("part_") != std::string::npos;
      const std::size_t n = cut ? 1 : shapes.at(name).at(1);
      auto& sum = out[name];
      sum.resize(n);
      for (std::size_t i = 0; i < all.size(); ++i) sum[i % n] += all[i];
    }
    return out;
  }
};

const auto saved_model = nn::classifier{nn::sequential{nn::batch_norm{}, nn::linear{8}, nn::relu, nn::linear{3}}, {6}, 3};

template <class C>
std::vector<float> train(int ranks, const C& c, std::uint64_t steps, std::uint64_t every, bool resume, collected* at_end = nullptr) {
  std::vector<float> out;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    trainer run{saved_model, quick, world, c, checkpoint::safetensors{.directory = folder.string(), .every = every}};
    run.fit(test::clusters{}, {.steps = steps, .batch = 8, .resume = resume});
    if (at_end) {
      collected here;
      run.replica().save(here);
      if (world.rank() == 0) *at_end = std::move(here);
    }
    if (world.rank() == 0) out.assign(run.parameters().begin(), run.parameters().end());
  });
  return out;
}

}  // namespace

TEST_CASE("0/1 Adam resumes bit for bit after a step of any kind, and on another number of ranks with the same sums", "[checkpoint]") {
  const compress::two_phase signs{compress::sign{}};
  for (const int ranks : {1, 2, 3}) {
    std::filesystem::remove_all(folder);
    const auto whole = train(ranks, signs, 32, 1000, false);
    for (const std::uint64_t stop : {3u, 8u, 19u, 20u, 24u}) {  // after an average, a synchronisation, a local step, a synchronisation, two local steps
      CAPTURE(ranks, stop);
      std::filesystem::remove_all(folder);
      collected before, after;
      train(ranks, signs, stop, stop, false, &before);
      train(ranks + 1, signs, stop, 1000, true, &after);
      const auto expected = before.sums(), found = after.sums();
      REQUIRE(expected.size() == found.size());
      for (const auto& [name, sum] : expected)
        for (std::size_t i = 0; i < sum.size(); ++i) {
          CAPTURE(name, i);
          CHECK(found.at(name)[i] == Approx(sum[i]).epsilon(1e-5).margin(1e-8));
        }
      for (const auto& [name, values] : before.values)
        if (name.find("parameters.") == 0 || name.find("optimizer.") == 0) CHECK(after.values.at(name) == values);
      CHECK(train(ranks, signs, 32, 1000, true) == whole);
      CHECK_NOTHROW(train(ranks + 1, signs, 32, 1000, true));
    }
    std::filesystem::remove_all(folder);
  }
}

TEST_CASE("0/1 Adam: a learning rate of 0 and steps without samples do no harm", "[optim]") {
  comm::run_ranks(2, [&](comm::threads& world) {
    const optim::scheduled resting{quick, optim::schedule::step_decay{.every = 5, .factor = 0}};
    trainer run{saved_model, resting, world, compress::two_phase{compress::sign{}}};
    run.fit(test::clusters{}, {.steps = 40, .batch = 8});
    trainer empty{saved_model, quick, world, compress::two_phase{compress::sign{}}};
    labelled_batch none;
    none.resize(0, 6);
    for (int t = 0; t < 30; ++t) empty.step(none);
    for (const float x : run.parameters()) CHECK(std::isfinite(x));
    for (const float x : empty.parameters()) CHECK(std::isfinite(x));
  });
}

TEST_CASE("0/1 Adam ends within 2 % of the loss of Adam", "[optim]") {
  const auto loss_after = [](const auto& optimizer, const auto& c, std::uint64_t* bytes = nullptr) {
    double loss = 0;
    comm::run_ranks(4, [&](comm::threads& world) {
      trainer run{nn::mlp{.inputs = 6, .hidden = {16}, .outputs = 3}, optimizer, world, c};
      run.fit(test::clusters{.samples = 1500}, {.steps = 1000, .batch = 48});
      const std::uint64_t sent = run.comm().counters().bytes;
      const auto result = run.evaluate(test::clusters{.samples = 1500});
      if (world.rank() == 0) loss = result.mean();
      if (world.rank() == 0 && bytes) *bytes = sent;
    });
    return loss;
  };
  const optim::adamw adam{.learning_rate = 2e-3, .weight_decay = 0};
  const zero_one_adam ours{.learning_rate = 2e-3, .kappa = 16, .longest_variance_interval = 4, .double_every = 80, .longest_interval = 4};
  std::uint64_t dense_bytes = 0, bytes = 0;
  const double dense = loss_after(adam, compress::none{}, &dense_bytes), found = loss_after(ours, compress::two_phase{compress::sign{}}, &bytes);
  INFO(dense << " " << found << ", bytes " << dense_bytes << " " << bytes);
  CHECK(std::abs(found - dense) < 0.02 * dense);
  CHECK(6 * bytes < dense_bytes);
}
