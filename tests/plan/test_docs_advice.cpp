// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <sstream>

#include <entrain/comm/threads.hpp>
#include <entrain/compress/cast.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/selective.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/nn/gpt.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/plan/advise.hpp>

// The code of docs/advice.md.

using namespace entrain;

TEST_CASE("advice, as in the documentation", "[docs]") {
  std::ostringstream out;
  //! [advise]
  const nn::gpt model{.layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = 65};
  const compress::error_feedback sparse{compress::top_k{.ratio = 0.01}};
  for (const double bits : {1e8, 1e10}) {
    const auto wires = compress::wires::uniform(5e-5, bits / 8);  // seconds a message, bytes a second
    out << plan::advise(model, 4, wires, {.compute = 0.2}, compress::cast<bfloat16>{}, sparse, compress::qsgd{}, compress::error_feedback{compress::sign{}});
  }
  //! [advise]
  CHECK(out.str().find("pays: ") != std::string::npos);
  CHECK(out.str().find("does not pay: ") != std::string::npos);
}

TEST_CASE("a policy that decides, as in the documentation", "[docs]") {
  comm::run_ranks(2, [](comm::threads& world) {
    const compress::error_feedback sparse{compress::top_k{.ratio = 0.01}};
    //! [selective]
    const compress::selective where_it_pays{sparse, world};  // measured here, by all ranks together
    const compress::selective elsewhere{sparse, compress::wires::uniform(5e-5, 12.5e6), {.encode = 3e-9, .decode = 1e-10}};
    const compress::per_layer rules{elsewhere, compress::cast<bfloat16>{}};  // what it leaves is cast
    //! [selective]
    if (compress::leaf_of(where_it_pays, 1, 0) != 1 || !elsewhere.takes([] { compress::block b(1 << 20); return b.ranks = 2, b; }())) throw error("selective", "wrong decision");
    if (compress::leaf_of(rules, 1, 0) != 1) throw error("selective", "wrong rule");
  });
}

TEST_CASE("the cost of one exchange, as in the documentation", "[docs]") {
  //! [predict]
  const compress::qsgd policy{};
  const compress::costs costs = compress::measure(policy);  // a few milliseconds
  compress::block shape(1 << 20);
  shape.ranks = 8;
  const compress::exchange_cost cost = compress::predict<float>(policy, costs, compress::wires::uniform(2e-6, 1.25e9), shape);
  //! [predict]
  CHECK(cost.seconds() > cost.wires);
  CHECK(cost.wires > 0);
}
