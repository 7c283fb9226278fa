// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/core/error.hpp>

// Images with 8-bit pixels and a class label each: what the readers of image formats (idx.hpp, cifar10.hpp) produce.
// Pixels stay bytes in memory, a quarter of their size as floats, and become (pixel / 255 - mean) / deviation of their
// channel as a batch is filled. Copies and subsets share the pixels.

namespace entrain::data {

// Of pixels scaled to [0, 1]: one value for all channels, or one a channel. The defaults leave [0, 1] as it is.
struct normalisation {
  std::vector<float> mean = {0.0f};
  std::vector<float> deviation = {1.0f};
};

class images {
 public:
  using batch_type = labelled_batch;

  // pixels: images x channels x height x width; labels: one an image, below `classes`.
  images(std::vector<std::uint8_t> pixels, std::vector<std::uint8_t> labels, std::array<std::size_t, 3> shape, std::size_t classes)
      : shape_(shape), classes_(classes), count_(labels.size()) {
    if (features() == 0 || pixels.size() % features() != 0 || pixels.size() / features() != labels.size())
      throw usage_error("data::images", "pixels and labels do not fit",
                        entrain::detail::text(labels.size(), " images of ", features(), " pixels"),
                        entrain::detail::text(pixels.size(), " pixels"));
    store_ = std::make_shared<const store>(store{std::move(pixels), std::move(labels)});
    *this = normalised({});
  }

  std::uint64_t size() const { return count_; }
  std::size_t features() const { return shape_[0] * shape_[1] * shape_[2]; }
  std::size_t channels() const { return shape_[0]; }
  std::size_t height() const { return shape_[1]; }
  std::size_t width() const { return shape_[2]; }
  std::size_t classes() const { return classes_; }

  void fill(std::span<const std::uint64_t> indices, labelled_batch& batch) const {
    batch.resize(indices.size(), features());
    const std::size_t plane = shape_[1] * shape_[2];
    float* out = batch.inputs.data();
    for (std::size_t i = 0; i < indices.size(); ++i) {
      if (indices[i] >= count_)
        throw usage_error("data::images::fill", "no such sample", entrain::detail::text("index < ", count_),
                          entrain::detail::text(indices[i]));
      const auto index = std::size_t(first_ + indices[i]);
      const std::uint8_t* in = store_->pixels.data() + index * features();
      for (std::size_t c = 0; c < shape_[0]; ++c) {
        const float* value = values_.data() + (values_.size() > 256 ? 256 * c : 0);
        for (std::size_t p = 0; p < plane; ++p) *out++ = value[*in++];
      }
      batch.targets[i] = store_->labels[index];
    }
  }

  // Samples [first, first + count) as a dataset of their own.
  images subset(std::uint64_t first, std::uint64_t count) const {
    if (first > count_ || count > count_ - first)
      throw usage_error("data::images::subset", "the subset reaches beyond the data", entrain::detail::text("at most ", count_, " samples"),
                        entrain::detail::text("[", first, ", ", first, " + ", count, ")"));
    images part = *this;
    part.first_ += first;
    part.count_ = count;
    return part;
  }

  images normalised(const normalisation& n) const {
    const auto fits = [&](std::size_t values) { return values == 1 || values == shape_[0]; };
    if (!fits(n.mean.size()) || !fits(n.deviation.size()))
      throw usage_error("data::images::normalised", "means and deviations do not fit the channels",
                        entrain::detail::text("1 or ", shape_[0], " of each"),
                        entrain::detail::text(n.mean.size(), " and ", n.deviation.size()));
    for (const float d : n.deviation)
      if (!(d > 0)) throw usage_error("data::images::normalised", "a deviation is not positive", "above 0", entrain::detail::text(d));
    images out = *this;
    const std::size_t tables = std::max(n.mean.size(), n.deviation.size());
    out.values_.resize(256 * tables);
    for (std::size_t c = 0; c < tables; ++c)
      for (std::size_t p = 0; p < 256; ++p)
        out.values_[256 * c + p] = (float(p) / 255.0f - n.mean[n.mean.size() > 1 ? c : 0]) / n.deviation[n.deviation.size() > 1 ? c : 0];
    return out;
  }

 private:
  struct store {
    std::vector<std::uint8_t> pixels, labels;
  };
  std::shared_ptr<const store> store_;
  std::array<std::size_t, 3> shape_;
  std::size_t classes_;
  std::uint64_t first_ = 0, count_;
  std::vector<float> values_;  // what a pixel becomes: one table of 256 for all channels, or one a channel
};

}  // namespace entrain::data
