// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <entrain/comm/threads.hpp>
#include <entrain/parallel/routes/two_phase.hpp>
#include <entrain/parallel/state_transfer.hpp>

#include "comm/holds.hpp"

// What compressors remember, saved by some ranks and loaded by others.

using namespace entrain;

namespace {

// A checkpoint in memory.
struct memory_file {
  struct tensor {
    shape dims;
    std::vector<double> values;
  };
  std::map<std::string, tensor> tensors;
  std::vector<std::vector<float>> kept;

  std::span<const float> keep(std::vector<float> v) { return kept.emplace_back(std::move(v)); }
  std::span<const double> keep(std::vector<double> v) { return doubles.emplace_back(std::move(v)); }
  template <class T>
  void operator()(const std::string& name, std::span<const T> values, const shape& dims) { tensors[name] = {dims, std::vector<double>(values.begin(), values.end())}; }
  shape shape_of(const std::string& name) const { return tensors.at(name).dims; }
  template <class T>
  void read(const std::string& name, std::span<T> out) const {
    const auto& from = tensors.at(name).values;
    HOLDS(from.size() == out.size());
    std::copy(from.begin(), from.end(), out.begin());
  }

 private:
  std::vector<std::vector<double>> doubles;
};

constexpr std::size_t n = 37;

struct state {
  std::vector<float> residual, part_residual, same = std::vector<float>(3);
  double threshold = 0;
  state(int ranks) : residual(n), part_residual(parallel::routes::part_values(n, std::size_t(ranks))) {}
  void visit(auto&& v) {
    v("residual", std::span<float>(residual));
    v("part_residual", std::span<float>(part_residual));
    v("same_factor", std::span<float>(same));
    v("threshold", threshold);
  }
};

float part_value(std::size_t i) { return i < n ? float(i + 1) : 0; }

memory_file saved_by(int ranks) {
  memory_file file;
  comm::run_ranks(ranks, [&](comm::threads& world) {
    state s(ranks);
    for (std::size_t i = 0; i < n; ++i) s.residual[i] = float(world.rank() + 1) * float(i);
    for (std::size_t i = 0; i < s.part_residual.size(); ++i) s.part_residual[i] = part_value(std::size_t(world.rank()) * s.part_residual.size() + i);
    s.threshold = world.rank() + 1;
    s.same = {4, 5, 6};
    s.visit(parallel::row_saver<comm::threads, memory_file>{world, file, "compression.weight"});
  });
  return file;
}

}  // namespace

TEST_CASE("what compressors remember survives another number of ranks", "[checkpoint]") {
  for (const int before : {1, 2, 3, 5})
    for (const int after : {1, 2, 3, 4}) {
      CAPTURE(before, after);
      auto file = saved_by(before);
      std::vector<float> sums(n);
      comm::run_ranks(after, [&](comm::threads& world) {
        state s(after);
        s.visit(parallel::row_loader<comm::threads, memory_file>{world, file, "compression.weight"});
        if (after == before) {
          for (std::size_t i = 0; i < n; ++i) HOLDS(s.residual[i] == float(world.rank() + 1) * float(i));
          HOLDS(s.threshold == world.rank() + 1);
        } else {
          HOLDS(s.threshold == (before + 1) / 2.0);  // the mean
        }
        HOLDS(s.same == std::vector<float>{4, 5, 6});
        for (std::size_t i = 0; i < s.part_residual.size(); ++i) HOLDS(s.part_residual[i] == part_value(std::size_t(world.rank()) * s.part_residual.size() + i));
        comm::all_reduce(world, view<float>(s.residual), comm::sum{});  // the sum over ranks is what it was
        for (std::size_t i = 0; i < n; ++i) HOLDS(std::abs(s.residual[i] - float(before * (before + 1) / 2) * float(i)) <= 1e-4f * float(i));
      });
    }
}

TEST_CASE("a state of another length is refused by name", "[checkpoint]") {
  auto file = saved_by(2);
  file.tensors["compression.weight.residual"] = {{2, n - 1}, std::vector<double>(2 * (n - 1))};
  CHECK_THROWS_WITH(comm::run_ranks(2,
                                    [&](comm::threads& world) {
                                      state s(2);
                                      s.visit(parallel::row_loader<comm::threads, memory_file>{world, file, "compression.weight"});
                                    }),
                    Catch::Contains("compression.weight.residual") && Catch::Contains("37") && Catch::Contains("36"));
}
