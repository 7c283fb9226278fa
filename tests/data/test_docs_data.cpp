// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/data/bytes.hpp>
#include <entrain/data/csv.hpp>
#include <entrain/data/loader.hpp>
#include <entrain/testing/dataset_laws.hpp>

// The code of docs/data.md.

namespace {

//! [dataset]
// y = sin(x) at points that are a function of the index: nothing is stored.
struct sine {
  using batch_type = entrain::regression_batch;
  std::uint64_t samples = 1000;

  std::uint64_t size() const { return samples; }

  void fill(std::span<const std::uint64_t> indices, entrain::regression_batch& batch) const {
    const entrain::random_stream random(1, entrain::purpose::user);
    batch.resize(indices.size(), 1, 1);  // samples, features, outputs
    for (std::size_t i = 0; i < indices.size(); ++i) {
      batch.inputs[i] = 6.0f * random.uniform(indices[i]) - 3.0f;
      batch.targets[i] = std::sin(batch.inputs[i]);
    }
  }
};
//! [dataset]

}  // namespace

TEST_CASE("the dataset of the documentation keeps the laws", "[docs]") {
  //! [laws]
  entrain::testing::check_dataset(sine{});
  //! [laws]
}

TEST_CASE("two ranks see what one rank sees, as the documentation says", "[docs]") {
  using namespace entrain;
  const sine dataset;
  //! [loader]
  data::loader input{dataset, {.seed = 1, .batch = 64, .rank = 0, .ranks = 2, .first_step = 40}};
  const auto& batch = input.next();  // this rank's 32 samples of step 40
  //! [loader]
  data::loader whole{dataset, {.seed = 1, .batch = 64, .first_step = 40}};
  const auto& all = whole.next();
  CHECK(batch.samples == 32);
  CHECK(all.samples == 64);
  for (std::size_t i = 0; i < 32; ++i) CHECK(batch.inputs[i] == all.inputs[i]);
}

TEST_CASE("a text is cut into windows, as in the documentation", "[docs]") {
  using namespace entrain;
  const std::string words = "the quick brown fox jumps over the lazy dog";
  //! [text]
  const auto text = data::bytes::from_string(words, {.context = 8, .vocabulary = data::vocabulary::distinct});
  const auto [train, validate] = text.split(0.75);  // one vocabulary for both
  const auto exact = validate.with_stride(8);       // windows that do not overlap: every token at most once
  //! [text]
  CHECK(text.size() == words.size() - 8);
  CHECK(exact.size() == 1);
  CHECK(text.decode(text.encode("fox")) == "fox");
}
