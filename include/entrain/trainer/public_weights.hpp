// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>

#include <entrain/checkpoint/public_weights.hpp>
#include <entrain/checkpoint/public_weights_writer.hpp>
#include <entrain/checkpoint/weight_table.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/trainer/run_state.hpp>

// A trainer's parameters from and to public weights files, on any engine and under any parallel policy. Both are collective. Rank 0 alone
// reads or writes; if it fails, every rank throws, and the trainer is as it was. A trainer without a file: checkpoint/public_weights.hpp.
//
//   trainer run{nn::gpt::gpt2_124m(), optim::adamw{}, world};
//   load_public_weights(run, "gpt2/model.safetensors");
//
// Optimizer and compressor state and the count of steps stay as they are: load before the first step.

namespace entrain {

// Cost: the file, one copy of the parameters more on rank 0, one broadcast of the parameters.
template <class Trainer>
void load_public_weights(Trainer& run, const std::filesystem::path& path, const checkpoint::weight_table& table = checkpoint::gpt2_weights,
                         const checkpoint::load_weights_options& options = {}) {
  run.set_parameters([&](const parameter_layout& layout, auto arena) { checkpoint::load_public_weights(path, layout, arena, table, options); });
}

template <class Trainer>
void save_public_weights(Trainer& run, const std::filesystem::path& path, const checkpoint::weight_table& table = checkpoint::gpt2_weights,
                         const checkpoint::save_weights_options& options = {}) {
  run.assemble_parameters();
  detail::on_rank_zero(run.comm(), "save_public_weights",
                       [&] { checkpoint::save_public_weights(path, run.replica().layout(), run.parameters(), table, options); });
}

}  // namespace entrain
