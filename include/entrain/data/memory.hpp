// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/core/batch.hpp>
#include <entrain/core/error.hpp>

// Datasets over arrays that the program already has. Copies and subsets share the arrays.
//
//   data::labelled_samples points{features, labels};             // features.size() / labels.size() features a sample
//   data::regression_samples curve{inputs, targets, samples};

namespace entrain::data {

namespace detail {

// Rows of equal length, shared, of which [first, first + count) are looked at.
template <class T> class rows {
 public:
  rows(std::vector<T> values, std::uint64_t count, const char* what) : count_(count), width_(count ? values.size() / count : 0) {
    if (values.size() != count_ * width_)
      throw usage_error("data::memory", std::string("the ") + what + " do not divide evenly among the samples",
                        entrain::detail::text("a multiple of ", count_), entrain::detail::text(values.size()));
    values_ = std::make_shared<const std::vector<T>>(std::move(values));
  }
  std::uint64_t size() const { return count_; }
  std::size_t width() const { return width_; }
  const T* row(std::uint64_t i) const {
    if (i >= count_)
      throw usage_error("data::memory::fill", "no such sample", entrain::detail::text("index < ", count_), entrain::detail::text(i));
    return values_->data() + (first_ + i) * width_;
  }
  void copy(std::span<const std::uint64_t> indices, T* out) const {
    for (const auto i : indices) out = std::copy_n(row(i), width_, out);
  }
  rows subset(std::uint64_t first, std::uint64_t count) const {
    if (first > count_ || count > count_ - first)
      throw usage_error("data::memory::subset", "the subset reaches beyond the data", entrain::detail::text("at most ", count_, " samples"),
                        entrain::detail::text("[", first, ", ", first, " + ", count, ")"));
    rows part = *this;
    part.first_ += first;
    part.count_ = count;
    return part;
  }

 private:
  std::shared_ptr<const std::vector<T>> values_;
  std::uint64_t first_ = 0, count_;
  std::size_t width_;
};

}  // namespace detail

// Features with a class label a sample.
class labelled_samples {
 public:
  using batch_type = labelled_batch;

  // features: samples x features, row by row; labels: one a sample, from 0. class_names may stay empty.
  labelled_samples(std::vector<float> features, std::vector<std::int32_t> labels, std::vector<std::string> class_names = {})
      : features_(std::move(features), labels.size(), "features"),
        labels_(labels, labels.size(), "labels"),
        class_names_(std::move(class_names)) {
    for (const auto label : labels) {
      if (label < 0) throw usage_error("data::labelled_samples", "a label is negative", "labels from 0", entrain::detail::text(label));
      classes_ = std::max(classes_, std::size_t(label) + 1);
    }
    classes_ = std::max(classes_, class_names_.size());
  }

  std::uint64_t size() const { return features_.size(); }
  std::size_t features() const { return features_.width(); }
  std::size_t classes() const { return classes_; }
  const std::vector<std::string>& class_names() const { return class_names_; }

  void fill(std::span<const std::uint64_t> indices, labelled_batch& batch) const {
    batch.resize(indices.size(), features());
    features_.copy(indices, batch.inputs.data());
    labels_.copy(indices, batch.targets.data());
  }
  labelled_samples subset(std::uint64_t first, std::uint64_t count) const {
    labelled_samples part = *this;
    part.features_ = features_.subset(first, count);
    part.labels_ = labels_.subset(first, count);
    return part;
  }

 private:
  detail::rows<float> features_;
  detail::rows<std::int32_t> labels_;
  std::vector<std::string> class_names_;
  std::size_t classes_ = 0;
};

// Features with real targets.
class regression_samples {
 public:
  using batch_type = regression_batch;

  // features: samples x features; targets: samples x outputs, row by row.
  regression_samples(std::vector<float> features, std::vector<float> targets, std::uint64_t samples)
      : features_(std::move(features), samples, "features"), targets_(std::move(targets), samples, "targets") {}

  std::uint64_t size() const { return features_.size(); }
  std::size_t features() const { return features_.width(); }
  std::size_t outputs() const { return targets_.width(); }

  void fill(std::span<const std::uint64_t> indices, regression_batch& batch) const {
    batch.resize(indices.size(), features(), outputs());
    features_.copy(indices, batch.inputs.data());
    targets_.copy(indices, batch.targets.data());
  }
  regression_samples subset(std::uint64_t first, std::uint64_t count) const {
    regression_samples part = *this;
    part.features_ = features_.subset(first, count);
    part.targets_ = targets_.subset(first, count);
    return part;
  }

 private:
  detail::rows<float> features_, targets_;
};

}  // namespace entrain::data
