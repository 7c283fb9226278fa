// SPDX-License-Identifier: Apache-2.0
//
// Policies of a user's own that lack something: each missing piece is told with the signature that is expected.
#include <array>

#include <entrain/optim/sgd.hpp>
#include <entrain/trainer/trainer.hpp>

#include "tests/trainer/models.hpp"

namespace en = entrain;

struct model_without_gradient {
  using slot_type = en::slot::model;
  using value_type = float;
  using batch_type = en::regression_batch;
  en::parameter_layout layout() const { return {{"weight", {3, 1}}}; }
  void initialise(std::span<float>, std::uint64_t) const {}
};

struct model_without_layout {
  using slot_type = en::slot::model;
  using value_type = float;
  using batch_type = en::regression_batch;
  void initialise(std::span<float>, std::uint64_t) const {}
  en::loss_sum loss_and_gradient(std::span<const float>, const en::regression_batch&, std::span<float>) const { return {}; }
};

struct optimizer_without_update {
  using slot_type = en::slot::optimizer;
  static constexpr std::array<std::string_view, 0> fields{};
  static constexpr bool elementwise = true;
  double learning_rate_at(std::uint64_t) const { return 0.1; }
};

struct compressor_without_payload {
  using slot_type = en::slot::compression;
};

struct communicator_without_messages {
  using slot_type = en::slot::communicator;
  int rank() const { return 0; }
  int size() const { return 1; }
};

struct dataset_of_tokens {
  using batch_type = en::token_batch;
  std::uint64_t size() const { return 1; }
  void fill(std::span<const std::uint64_t>, en::token_batch&) const {}
};

#if defined(CASE_model_without_gradient)
// expect: a model needs 'entrain::loss_sum loss_and_gradient(std::span<const value_type> parameters, const batch_type& batch, std::span<value_type> gradient)'
void meet() { en::trainer run{model_without_gradient{}, en::optim::sgd{}}; }
#endif

#if defined(CASE_model_without_layout)
// expect: a model needs 'entrain::parameter_layout layout() const': the names and shapes of its parameters
void meet() { en::trainer run{model_without_layout{}, en::optim::sgd{}}; }
#endif

#if defined(CASE_optimizer_without_update)
// expect: an optimizer needs 'template <class T> void update(const optim::update_context&, T* parameters, const T* gradient, std::array<T*, N> state, std::size_t n) const'
void meet() { en::trainer run{en::test::line<float>{}, optimizer_without_update{}}; }
#endif

#if defined(CASE_compressor_without_payload)
// expect: a compressor needs a line 'static constexpr compress::payload_kind payload = ...;': summable, gatherable, sparse, two_phase or rounds
void meet() { en::trainer run{en::test::line<float>{}, en::optim::sgd{}, compressor_without_payload{}}; }
#endif

#if defined(CASE_communicator_without_messages)
// expect: a communicator needs rank(), size(), start_send, start_receive, split, counters() and sequence(): see entrain/comm/concepts.hpp
void meet() { en::trainer run{en::test::line<float>{}, en::optim::sgd{}, communicator_without_messages{}}; }
#endif

#if defined(CASE_dataset_of_another_batch)
// expect: trainer::fit was given a dataset whose batches the model does not take: Dataset::batch_type must be the model's batch_type
void meet() {
  en::trainer run{en::test::line<float>{}, en::optim::sgd{}};
  run.fit(dataset_of_tokens{});
}
#endif

void complete() {
  en::trainer run{en::test::line<float>{}, en::optim::sgd{}};
  run.fit(en::test::plane{}, {.steps = 1});
}
