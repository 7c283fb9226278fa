// SPDX-License-Identifier: Apache-2.0
//
// The slots of a trainer: one policy for each question, and every argument a policy.
#include <entrain/optim/adamw.hpp>
#include <entrain/optim/sgd.hpp>
#include <entrain/trainer/trainer.hpp>

namespace en = entrain;

#if defined(CASE_two_optimizers)
// expect: entrain::trainer was given two optimizers: name one
template struct en::detail::explain_shape<en::optim::sgd, en::optim::adamw>;
#endif

#if defined(CASE_no_policy)
// expect: entrain::trainer was given an argument that is no policy
template struct en::detail::explain_shape<en::optim::sgd, int>;
#endif
