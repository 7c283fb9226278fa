// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/compress/choices.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/parallel/state_transfer.hpp>

// What an exchange's compressors remember, to and from a checkpoint: a row a rank of every state ("compression.BLOCK.NAME", with
// choosers "compression.LEAF.BLOCK.NAME"; state_transfer.hpp says what becomes of it on another number of ranks), and what a measured
// policy has chosen ("compression.choices", phases x blocks). Both are collective.

namespace entrain::parallel {

namespace detail {

template <class Compression>
std::string compression_name(const parameter_layout& layout, std::size_t block, [[maybe_unused]] std::size_t leaf) {
  if constexpr (compress::chooser<Compression>) return "compression." + std::to_string(leaf) + "." + layout[block].name;
  else return "compression." + layout[block].name;
}

template <class Exchange>
constexpr bool keeps_choices() {
  if constexpr (requires { Exchange::keeps_choices; }) return Exchange::keeps_choices;
  else return false;
}

template <class Exchange>
shape choices_shape(const Exchange& exchange, const parameter_layout& layout) {
  const std::size_t blocks = layout.blocks().size();
  return {blocks == 0 ? 0 : exchange.choices().size() / blocks, blocks};
}

template <class Compression, class Exchange, class Source>
void load_choices(Exchange& exchange, const parameter_layout& layout, Source& source) {
  const shape found = source.shape_of("compression.choices"), expected = choices_shape(exchange, layout);
  if (found != expected) throw file_error("checkpoint", "'compression.choices' is of another compression policy or model", to_string(expected), to_string(found));
  std::vector<std::uint64_t> chosen(exchange.choices().size());
  source.read("compression.choices", std::span<std::uint64_t>(chosen));
  for (const auto leaf : chosen)
    if (leaf >= compress::leaf_count<Compression>)
      throw file_error("checkpoint", "'compression.choices' names a compressor that the policy does not have", "below " + std::to_string(compress::leaf_count<Compression>), std::to_string(leaf));
  exchange.choose(std::move(chosen));
}

}  // namespace detail

template <class Compression, class Exchange, class Communicator, class Sink>
void save_compression(Exchange& exchange, const parameter_layout& layout, Communicator& comm, Sink& sink) {
  if constexpr (detail::keeps_choices<Exchange>())
    if (comm.rank() == 0) sink("compression.choices", std::span<const std::uint64_t>(exchange.choices()), detail::choices_shape(exchange, layout));
  exchange.for_each_state([&](std::size_t block, std::size_t leaf, auto& state) {
    row_saver<Communicator, Sink> rows{comm, sink, detail::compression_name<Compression>(layout, block, leaf)};
    state.visit(rows);
  });
}

template <class Compression, class Exchange, class Communicator, class Source>
void load_compression(Exchange& exchange, const parameter_layout& layout, Communicator& comm, Source& source) {
  if constexpr (detail::keeps_choices<Exchange>())
    if (source.contains("compression.choices")) detail::load_choices<Compression>(exchange, layout, source);
  exchange.for_each_state([&](std::size_t block, std::size_t leaf, auto& state) {
    row_loader<Communicator, Source> rows{comm, source, detail::compression_name<Compression>(layout, block, leaf)};
    state.visit(rows);
  });
}

}  // namespace entrain::parallel
