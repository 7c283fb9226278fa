// SPDX-License-Identifier: Apache-2.0
//
// Known tasks with known results: nanoGPT's CPU setting on tiny Shakespeare, and the cnn example's network on MNIST's test images.
//
//   quality gpt FILE      validation loss over the whole last tenth of the text
//   quality mnist FOLDER  accuracy on the last 2,000 images after training on the first 8,000

#include <cstdio>
#include <filesystem>
#include <string>

#include <entrain/entrain.hpp>

namespace en = entrain;

namespace {

// github.com/karpathy/nanoGPT, README: --device=cpu --compile=False --eval_iters=20 --block_size=64 --batch_size=12
// --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0, with the learning rates, betas,
// decay and clipping of its config/train_shakespeare_char.py. That file's rate is 1e-3; this model also bears twice that.
void train_gpt(en::comm::mpi& world, const std::string& file, double rate, const char* name) {
  const en::data::bytes text{file, {.context = 64, .vocabulary = en::data::vocabulary::distinct}};
  const auto [train, validate] = text.split(0.9);
  namespace schedule = en::optim::schedule;
  const en::optim::adamw adamw{.learning_rate = rate, .beta2 = 0.99, .weight_decay = 0.1};
  en::trainer run{en::nn::gpt{.layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = text.vocabulary_size()},
                  en::optim::clipped{en::optim::scheduled{adamw, schedule::warm_up{100} * schedule::then(schedule::constant{}, 100, schedule::cosine{1900, 0.1})}, 1.0}, world,
                  en::monitor::progress{}};
  run.fit(train, {.steps = 2000, .batch = 12});
  const auto loss = run.evaluate(validate.with_stride(64));
  if (world.rank() == 0) std::printf("value %s %.4f\n", name, loss.mean());
}

void train_cnn(en::comm::mpi& world, const std::filesystem::path& folder) {
  const auto file = [&](const char* name) { return std::filesystem::exists(folder / name) ? folder / name : folder / (std::string(name) + ".gz"); };
  const en::data::idx digits{file("t10k-images-idx3-ubyte"), file("t10k-labels-idx1-ubyte")};
  const std::uint64_t steps = 1250;
  en::trainer run{en::nn::cnn{}, en::optim::scheduled{en::optim::adamw{.learning_rate = 1e-3}, en::optim::schedule::cosine{steps, 0.05}}, world, en::monitor::progress{}};
  run.fit(digits.subset(0, 8000), {.steps = steps, .batch = 64});
  const auto result = run.evaluate(digits.subset(8000, 2000));
  if (world.rank() == 0) std::printf("value mnist_accuracy_%drank%s %.2f\n", world.size(), world.size() == 1 ? "" : "s", 100 * result.accuracy());
}

}  // namespace

int main(int argc, char** argv) {
  return en::run_main(argc, argv, [&](en::comm::mpi& world) {
    const std::string task = argc > 2 ? argv[1] : "";
    if (task == "gpt") train_gpt(world, argv[2], 2e-3, "nanogpt_validation_loss"), train_gpt(world, argv[2], 1e-3, "nanogpt_validation_loss_at_rate_1e-3");
    else if (task == "mnist") train_cnn(world, argv[2]);
    else throw en::usage_error("quality", "no such task", "gpt FILE or mnist FOLDER", task);
  });
}
