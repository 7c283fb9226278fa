// SPDX-License-Identifier: Apache-2.0
//
// Compressors that do not fit into each other.
#include <entrain/compress/chain.hpp>
#include <entrain/compress/dgc.hpp>
#include <entrain/compress/dragonn.hpp>
#include <entrain/compress/error_feedback.hpp>
#include <entrain/compress/majority_vote.hpp>
#include <entrain/compress/momentum_correction.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/per_layer.hpp>
#include <entrain/compress/power_sgd.hpp>
#include <entrain/compress/qsgd.hpp>
#include <entrain/compress/random_k.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/compress/sketch.hpp>
#include <entrain/compress/top_k.hpp>
#include <entrain/compress/warm_up.hpp>
#include <entrain/compress/way.hpp>

using namespace entrain::compress;

#if defined(CASE_quantiser_first)
// expect: compress::chain begins with what selects values and goes on with what encodes them: write compress::chain{compress::top_k{}, compress::qsgd{}}
void meet() { chain c{qsgd{}, top_k{}}; }
#endif

#if defined(CASE_summable_first)
// expect: compress::chain begins with what selects values and goes on with what encodes them: write compress::chain{compress::top_k{}, compress::qsgd{}}
void meet() { chain c{random_k{}, qsgd{}}; }
#endif

#if defined(CASE_select_twice)
// expect: the second link of compress::chain encodes the selected values: it must be a quantiser such as compress::qsgd, compress::sign or compress::cast
void meet() { chain c{top_k{}, top_k{}}; }
#endif

#if defined(CASE_delta_of_any_order)
// expect: compress::delta_indices needs ascending indices, which this sparsifier does not give: use compress::packed_indices in its place
void meet() { chain c{dragonn{}, qsgd{}}; }
#endif

#if defined(CASE_feedback_of_rounds)
// expect: this compressor keeps its own residual, since only it knows what became of its rounds: use it without compress::error_feedback around it
void meet() { error_feedback c{power_sgd{}}; }
#endif

#if defined(CASE_feedback_twice)
// expect: this compressor keeps what it has not sent itself: use it without compress::error_feedback around it
template <class C>
void twice(C c) { error_feedback<error_feedback<C>> again{error_feedback<C>{c}}; (void)again; }
void meet() { twice(top_k{}); }
#endif

#if defined(CASE_feedback_of_dgc)
// expect: this compressor keeps what it has not sent itself: use it without compress::error_feedback around it
void meet() { error_feedback c{travel{dgc{}, way::gather}}; }
#endif

#if defined(CASE_momentum_of_feedback)
// expect: compress::momentum_correction keeps what was not sent itself: write compress::momentum_correction{compress::top_k{}} without compress::error_feedback inside
void meet() { momentum_correction c{error_feedback{top_k{}}}; }
#endif

#if defined(CASE_momentum_of_rounds)
// expect: this compressor keeps its own residual: use it without compress::momentum_correction, and give the optimizer the momentum
void meet() { momentum_correction c{power_sgd{}}; }
#endif

#if defined(CASE_momentum_of_sketch)
// expect: what a count sketch leaves out is only known after the sum: compress::momentum_correction cannot keep it, use compress::sketched_sgd without it
void meet() { momentum_correction c{sketch{}}; }
#endif

#if defined(CASE_warm_up_without_ratio)
// expect: compress::warm_up lowers a compressor's 'ratio', and this one has none: put it around compress::top_k or another sparsifier
void meet() { warm_up c{sign{}}; }
#endif

#if defined(CASE_warm_up_of_sums)
// expect: compress::warm_up changes the length of what is sent, and a sum on its way has one length: use compress::after{steps, ...} to begin dense
void meet() { warm_up c{random_k{}}; }
#endif

#if defined(CASE_warm_up_of_feedback)
// expect: compress::warm_up goes around the sparsifier itself and inside of its wrappers: write compress::error_feedback{compress::warm_up{compress::top_k{}}}
void meet() { warm_up c{error_feedback{top_k{}}}; }
#endif

#if defined(CASE_warm_up_of_feedback_in_use)
// expect: compress::warm_up goes around the sparsifier itself and inside of its wrappers: write compress::error_feedback{compress::warm_up{compress::top_k{}}}
void meet() { travel c{warm_up{error_feedback{top_k{}}}, way::gather}; }
#endif

#if defined(CASE_warm_up_of_chain)
// expect: compress::warm_up goes around the sparsifier itself and inside of its wrappers: write compress::error_feedback{compress::warm_up{compress::top_k{}}}
void meet() { error_feedback c{warm_up{chain{top_k{}, qsgd{}}}}; }
#endif

#if defined(CASE_warm_up_of_travel)
// expect: compress::warm_up goes around the sparsifier itself and inside of its wrappers: write compress::error_feedback{compress::warm_up{compress::top_k{}}}
void meet() { warm_up c{travel{top_k{}, way::gather}}; }
#endif

#if defined(CASE_warm_up_of_rules)
// expect: compress::warm_up goes around a single sparsifier, inside of what chooses among compressors: write compress::per_layer{compress::rule{compress::warm_up{compress::top_k{}}, ...}, ...}
void meet() { warm_up c{per_layer{rule{top_k{}, {.matrices = true}}, none{}}}; }
#endif

#if defined(CASE_warm_up_of_dgc)
// expect: this compressor warms up by itself: set its steps_each and leave out the compress::warm_up around it
void meet() { warm_up c{dgc{}}; }
#endif

// What fits.
void fits() {
  error_feedback a{chain{top_k{}, qsgd{}}};
  error_feedback b{warm_up{top_k{}}};
  error_feedback d{chain{warm_up{top_k{}}, qsgd{}}};
  error_feedback e{travel{warm_up{top_k{}}, way::gather}};
  momentum_correction c{chain{dragonn{}, qsgd{}, packed_indices{}}, {.momentum = 0.5}};
}
