// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <entrain/data/detail/source.hpp>
#include <entrain/data/images.hpp>

// IDX, the format of MNIST and its relatives (Fashion-MNIST, EMNIST, KMNIST): two zero bytes, a type byte, the number of
// dimensions, the dimensions as big-endian 32-bit numbers, then the values. Plain or gzip.
// (LeCun, Cortes, Burges, "The MNIST database of handwritten digits".)
//
//   data::idx train{"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", {.mean = 0.1307f, .deviation = 0.3081f}};
//
// Values must be unsigned bytes. Images have 2 dimensions (n x features), 3 (n x height x width) or 4 (n x channels x
// height x width); labels have one. Any byte out of place is a file_error.

namespace entrain::data {

struct idx_options {
  float mean = 0.0f, deviation = 1.0f;  // of pixels scaled to [0, 1]
  std::size_t classes = 10;             // labels must be below
  read_limits limits = {};
};

namespace detail {

struct idx_array {
  std::vector<std::uint64_t> dims;
  std::vector<std::uint8_t> values;
  std::uint64_t header = 0;  // bytes before the values
};

inline idx_array read_idx(source& in, std::size_t fewest_dims, std::size_t most_dims) {
  std::array<std::uint8_t, 4> magic{};
  in.read(magic.data(), 4, "the IDX magic number");
  if (magic[0] != 0 || magic[1] != 0)
    throw file_error(in.where(0), "this is no IDX file", "two zero bytes", text(int(magic[0]), " ", int(magic[1])));
  if (magic[2] != 0x08)
    throw file_error(in.where(2), "the values are of a type that is not read", "8 (unsigned byte)", text(int(magic[2])));
  const std::size_t rank = magic[3];
  if (rank < fewest_dims || rank > most_dims)
    throw file_error(in.where(3), "wrong number of dimensions",
                     fewest_dims == most_dims ? text(fewest_dims) : text(fewest_dims, " to ", most_dims), text(rank));
  idx_array out;
  std::uint64_t count = 1;
  for (std::size_t d = 0; d < rank; ++d) {
    std::array<std::uint8_t, 4> b{};
    const auto at = in.offset();
    in.read(b.data(), 4, "the IDX dimensions");
    const std::uint64_t dim = std::uint64_t(b[0]) << 24 | std::uint64_t(b[1]) << 16 | std::uint64_t(b[2]) << 8 | b[3];
    if (d > 0 && dim == 0) throw file_error(in.where(at), "a dimension is zero", "at least 1", "0");
    if (dim != 0 && count > ~std::uint64_t{0} / dim)
      throw file_error(in.where(at), "the product of the dimensions overflows", "less than 2^64 values", text(count, " x ", dim));
    count *= dim;
    out.dims.push_back(dim);
  }
  out.header = in.offset();
  out.values = in.read_vector(count, "the values that its dimensions announce");
  in.expect_end();
  return out;
}

inline images read_idx_images(source image_file, source label_file, const idx_options& options) {
  auto labels = read_idx(label_file, 1, 1);
  for (std::size_t i = 0; i < labels.values.size(); ++i)
    if (labels.values[i] >= options.classes)
      throw file_error(label_file.where(labels.header + i), "label out of range", text("below ", options.classes),
                       text(int(labels.values[i])));
  auto pixels = read_idx(image_file, 2, 4);
  if (pixels.dims[0] != labels.dims[0])
    throw file_error(image_file.where(4), "images and labels differ in number", text(labels.dims[0], " images, as many as labels"),
                     text(pixels.dims[0]));
  const auto rank = pixels.dims.size();
  const std::array<std::size_t, 3> shape = {rank == 4 ? std::size_t(pixels.dims[1]) : 1, rank == 2 ? 1 : std::size_t(pixels.dims[rank - 2]),
                                            std::size_t(pixels.dims[rank - 1])};
  return images(std::move(pixels.values), std::move(labels.values), shape, options.classes)
      .normalised({{options.mean}, {options.deviation}});
}

}  // namespace detail

// Images and labels of a pair of IDX files.
class idx : public images {
 public:
  idx(const std::filesystem::path& image_file, const std::filesystem::path& label_file, const idx_options& options = {})
      : images(detail::read_idx_images(detail::source(image_file, options.limits), detail::source(label_file, options.limits), options)) {}
};

}  // namespace entrain::data
