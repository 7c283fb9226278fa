// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <entrain/data/detail/source.hpp>
#include <entrain/data/images.hpp>

// The binary version of CIFAR-10 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009): records of
// one label byte and 3072 pixels (red, green and blue plane of 32 x 32); CIFAR-100 has two label bytes, coarse and fine.
//
//   data::cifar10 train{{"data_batch_1.bin", "data_batch_2.bin"}, {.normalise = {{0.491f, 0.482f, 0.447f}, {0.247f, 0.243f, 0.262f}}}};

namespace entrain::data {

struct cifar_options {
  normalisation normalise = {};
  read_limits limits = {};
};

namespace detail {

inline void append_cifar(source& in, std::size_t label_bytes, std::size_t classes, std::vector<std::uint8_t>& pixels,
                         std::vector<std::uint8_t>& labels) {
  constexpr std::size_t image = 3 * 32 * 32;
  const std::size_t record = label_bytes + image;
  const std::string all = in.read_text();
  if (all.empty() || all.size() % record != 0)
    throw file_error(in.where(all.size() / record * record), "the size of the file is no multiple of a record",
                     text("one or more records of ", record, " bytes"), in_bytes(all.size()));
  for (std::size_t at = 0; at < all.size(); at += record) {
    const auto label = std::uint8_t(all[at + label_bytes - 1]);
    if (label >= classes) throw file_error(in.where(at + label_bytes - 1), "label out of range", text("below ", classes), text(int(label)));
    labels.push_back(label);
    const auto* begin = reinterpret_cast<const std::uint8_t*>(all.data()) + at + label_bytes;
    pixels.insert(pixels.end(), begin, begin + image);
  }
}

inline images read_cifar(const std::vector<std::filesystem::path>& files, std::size_t label_bytes, std::size_t classes,
                         const cifar_options& options) {
  std::vector<std::uint8_t> pixels, labels;
  for (const auto& path : files) {
    source in(path, options.limits);
    append_cifar(in, label_bytes, classes, pixels, labels);
  }
  return images(std::move(pixels), std::move(labels), {3, 32, 32}, classes).normalised(options.normalise);
}

}  // namespace detail

class cifar10 : public images {
 public:
  explicit cifar10(const std::vector<std::filesystem::path>& files, const cifar_options& options = {})
      : images(detail::read_cifar(files, 1, 10, options)) {}
};

// With the fine labels.
class cifar100 : public images {
 public:
  explicit cifar100(const std::vector<std::filesystem::path>& files, const cifar_options& options = {})
      : images(detail::read_cifar(files, 2, 100, options)) {}
};

}  // namespace entrain::data
