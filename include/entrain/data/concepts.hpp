// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

// What it means to be a dataset: samples that can be asked for by index, in any order, by any rank.
//
//  1. batch_type is what it fills (core/batch.hpp, or a type of yours that your model takes).
//  2. size() is the number of samples; the same on every rank.
//  3. fill(indices, batch) writes the samples with these indices into the batch, in this order. It is const and may be
//     called from a loader's thread; the same indices give the same batch. No indices give an empty batch.
//
// A dataset does not shuffle, split or count epochs: data/order.hpp says which index comes when.

namespace entrain::data {

template <class D>
concept dataset = requires(const D& d, std::span<const std::uint64_t> indices, typename D::batch_type& batch) {
  { d.size() } -> std::convertible_to<std::uint64_t>;
  d.fill(indices, batch);
};

}  // namespace entrain::data
