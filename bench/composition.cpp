// SPDX-License-Identifier: Apache-2.0
//
// What composition costs: a step of the composed trainer against the same step written by hand for this one case, taking turns.
//
// By hand means: the model's loss and gradient, then AdamW in one loop over each block, with no trainer, slots, buckets,
// exchange or plan in between. Both use the library's kernels, so the difference is the composition.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <vector>

#include <entrain/nn/gpt.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/optim/adamw.hpp>
#include <entrain/trainer/trainer.hpp>

namespace en = entrain;

namespace {

en::token_batch random_tokens(std::size_t samples, std::size_t length, std::size_t vocabulary) {
  const en::random_stream random(1, en::purpose::user);
  en::token_batch batch;
  batch.resize(samples, length);
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) {
    batch.inputs[i] = std::int32_t(random.below(2 * i, vocabulary));
    batch.targets[i] = std::int32_t(random.below(2 * i + 1, vocabulary));
  }
  return batch;
}

class by_hand {
 public:
  explicit by_hand(const en::nn::gpt& description)
      : model_(description.make<float>(en::engine::host{})), layout_(model_.layout()), x_(layout_.size()), g_(layout_.size()), m_(layout_.size()), v_(layout_.size()) {
    model_.initialise(x_.span(), 1);
  }
  double step(const en::token_batch& batch, std::uint64_t t) {
    en::nn::pass how;
    how.seed = 1, how.step = t, how.accumulate = false;
    const en::loss_sum loss = model_.loss_and_gradient(x_.span(), batch, g_.span(), how, [](std::size_t) {});
    en::optim::update_context c{t, rule_.learning_rate, 1.0 / double(loss.count), en::block_kind::weight};
    for (const auto& block : layout_.blocks()) {
      c.kind = block.kind;
      rule_.update<float>(c, x_.data() + block.offset, g_.data() + block.offset, {m_.data() + block.offset, v_.data() + block.offset}, block.count);
    }
    return loss.mean();
  }

 private:
  decltype(std::declval<en::nn::gpt>().make<float>(en::engine::host{})) model_;
  en::parameter_layout layout_;
  en::buffer<float> x_, g_, m_, v_;
  en::optim::adamw rule_;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(values.size() / 2), values.end());
  return values[values.size() / 2];
}

template <class F>
double seconds(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void compare(const char* name, const en::nn::gpt& description, std::size_t batch_size, int rounds, int steps) {
  const auto batch = random_tokens(batch_size, description.context, description.vocabulary);
  by_hand plain(description);
  en::trainer composed{description, en::optim::adamw{}};
  double plain_loss = 0, composed_loss = 0;
  std::uint64_t t = 0;
  std::vector<double> plain_times, composed_times;
  for (int round = 0; round < rounds; ++round) {
    const double a = seconds([&] { for (int s = 0; s < steps; ++s) plain_loss = plain.step(batch, t + std::uint64_t(s)); });
    const double b = seconds([&] { for (int s = 0; s < steps; ++s) composed_loss = composed.step(batch).loss.mean(); });
    t += std::uint64_t(steps);
    if (round == 0) continue;  // warm-up
    plain_times.push_back(a / steps), composed_times.push_back(b / steps);
  }
  std::printf("%-12s by hand %8.3f ms, composed %8.3f ms, losses %.7f and %.7f\n", name, 1e3 * median(plain_times), 1e3 * median(composed_times), plain_loss, composed_loss);
  if (plain_loss != composed_loss) throw en::error("bench composition", "the two do not compute the same", std::to_string(plain_loss), std::to_string(composed_loss));
  std::printf("ratio composition%s %.3f\n", name, median(plain_times) / median(composed_times));
}

}  // namespace

int main() {
  compare("_tiny", en::nn::gpt{.layers = 1, .heads = 1, .width = 16, .context = 8, .vocabulary = 16}, 1, 41, 200);
  compare("", en::nn::gpt{.layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = 65}, 12, 21, 10);
}
