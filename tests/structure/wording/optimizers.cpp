// SPDX-License-Identifier: Apache-2.0
//
// An optimizer that owns its communication, and what does not go with it.
#include <entrain/comm/self.hpp>
#include <entrain/compress/compress.hpp>
#include <entrain/nn/host.hpp>
#include <entrain/nn/mlp.hpp>
#include <entrain/optim/optim.hpp>
#include <entrain/parallel/parallel.hpp>
#include <entrain/trainer/trainer.hpp>

#include "tests/trainer/models.hpp"

namespace en = entrain;

#if defined(CASE_sharded)
// expect: this optimizer owns its communication and takes steps of its own on every rank: use it with parallel::data, or use optim::adamw with this parallel policy
void meet() { en::trainer run{en::test::line<float>{}, en::optim::zero_one_adam{}, en::parallel::sharded{}}; }
#endif

#if defined(CASE_reproducible)
// expect: this optimizer owns its communication and takes steps of its own on every rank: use it with parallel::data, or use optim::adamw with this parallel policy
void meet() { en::trainer run{en::test::line<float>{}, en::optim::zero_one_adam{}, en::parallel::reproducible{}}; }
#endif

#if defined(CASE_pipeline)
// expect: this optimizer owns its communication and takes steps of its own on every rank: use it with parallel::data, or use optim::adamw with this parallel policy
void meet() { en::trainer run{en::nn::mlp{.inputs = 4, .hidden = {8}, .outputs = 2}, en::optim::zero_one_adam{}, en::parallel::pipeline<>{}}; }
#endif

#if defined(CASE_momentum_of_the_compressor)
// expect: an optimizer that owns its communication sends what ranks have moved, of which the sum must arrive: use compress::two_phase{compress::sign{}}
void meet() { en::trainer run{en::test::line<float>{}, en::optim::zero_one_adam{}, en::compress::one_bit_momentum{}}; }
#endif

#if defined(CASE_momentum_correction)
// expect: an optimizer that owns its communication sends what ranks have moved, of which the sum must arrive: use compress::two_phase{compress::sign{}}
void meet() { en::trainer run{en::test::line<float>{}, en::optim::zero_one_adam{}, en::compress::momentum_correction{en::compress::top_k{}}}; }
#endif

#if defined(CASE_directions)
// expect: an optimizer that owns its communication sends what ranks have moved, of which the sum must arrive: use compress::two_phase{compress::sign{}}
void meet() { en::trainer run{en::test::line<float>{}, en::optim::zero_one_adam{}, en::compress::majority_vote{}}; }
#endif

#if defined(CASE_blocks_left_out)
// expect: an optimizer that owns its communication sends what ranks have moved, of which the sum must arrive: use compress::two_phase{compress::sign{}}
void meet() { en::trainer run{en::test::line<float>{}, en::optim::zero_one_adam{}, en::compress::per_layer{en::compress::rule{en::compress::jointspar{}, {.matrices = true}}, en::compress::none{}}}; }
#endif

#if defined(CASE_clipped)
// expect: an optimizer that owns its communication does not know the norm of the gradient over all ranks in most of its steps: use it without optim::clipped
void meet() { en::trainer run{en::test::line<float>{}, en::optim::clipped{en::optim::zero_one_adam{}, 1.0}}; }
#endif

// What fits.
void fits() {
  en::trainer a{en::test::line<float>{}, en::optim::zero_one_adam{}};
  en::trainer b{en::compress::two_phase{en::compress::sign{}}, en::optim::zero_one_adam{}, en::test::line<float>{}};
}
