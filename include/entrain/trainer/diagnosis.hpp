// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/comm/concepts.hpp>
#include <entrain/compress/choices.hpp>
#include <entrain/core/policy.hpp>
#include <entrain/nn/concepts.hpp>
#include <entrain/optim/concepts.hpp>
#include <entrain/parallel/concepts.hpp>
#include <entrain/trainer/composition.hpp>

// Why a set of arguments makes no trainer, one plain sentence for each reason (tests/structure/wording holds them to it).
// The checks run from the outside in and each only if those before it hold, so that a mistake is told once.

namespace entrain::detail {

template <class... P>
inline constexpr bool all_are_policies = (policy<P> && ...);

template <class... P>
inline constexpr bool slots_are_unique =
    filled<slot::model, P...> <= 1 && filled<slot::optimizer, P...> <= 1 && filled<slot::communicator, P...> <= 1 && filled<slot::compression, P...> <= 1 &&
    filled<slot::parallelism, P...> <= 1 && filled<slot::engine, P...> <= 1 && filled<slot::precision, P...> <= 1 && filled<slot::checkpoint, P...> <= 1 &&
    filled<slot::fault, P...> <= 1;

template <class... P>
inline constexpr bool required_are_filled = filled<slot::model, P...> == 1 && filled<slot::optimizer, P...> == 1;

template <class... P>
inline constexpr bool shape_is_right = all_are_policies<P...> && slots_are_unique<P...> && required_are_filled<P...>;

// The types behind the slots; only asked for when the shape is right.
template <class... P>
struct chosen {
  using engine_policy = policy_of<slot::engine, P...>;
  using precision_policy = policy_of<slot::precision, P...>;
  using value_type = typename policy_of<slot::precision, P...>::value_type;
  using kept_type = typename precision::kept_type_of<policy_of<slot::precision, P...>>::type;
  using model = typename instance_of<policy_of<slot::model, P...>, value_type, engine::running<engine_policy>>::type;
  using optimizer = policy_of<slot::optimizer, P...>;
  using communicator = policy_of<slot::communicator, P...>;
  using compressor = policy_of<slot::compression, P...>;
  using parallelism = policy_of<slot::parallelism, P...>;
};

template <class Chosen>
inline constexpr bool optimizer_meets_parallelism = !optim::owns_communication<typename Chosen::optimizer> || parallel::takes_local_steps<typename Chosen::parallelism>;

template <class Chosen>
inline constexpr bool engine_meets_precision =
    !precision::asks_float8_products<typename Chosen::precision_policy> || requires(const engine::running<typename Chosen::engine_policy>& e) { e.with_float8_products(); };

template <class... P>
constexpr bool members_fit() {
  if constexpr (!shape_is_right<P...>) {
    return false;
  } else {
    using c = chosen<P...>;
    if constexpr (!nn::differentiable<typename c::model> || !comm::communicator<typename c::communicator>) return false;
    else
      return std::same_as<typename c::model::value_type, typename c::value_type> && optim::optimizer<typename c::optimizer, typename c::kept_type> &&
             compress::compression<typename c::compressor, typename c::kept_type> && optimizer_meets_parallelism<c> && engine_meets_precision<c>;
  }
}

template <class Slot, class... P>
inline constexpr bool at_most_one = !all_are_policies<P...> || filled<Slot, P...> <= 1;

template <class... P>
struct explain_shape {
  static_assert(all_are_policies<P...>,
                "entrain::trainer was given an argument that is no policy: a policy names the question it answers with a line such as "
                "'using slot_type = entrain::slot::optimizer;'");
  static_assert(at_most_one<slot::model, P...>, "entrain::trainer was given two models: name one");
  static_assert(at_most_one<slot::optimizer, P...>, "entrain::trainer was given two optimizers: name one");
  static_assert(at_most_one<slot::communicator, P...>, "entrain::trainer was given two communicators: name one");
  static_assert(at_most_one<slot::compression, P...>, "entrain::trainer was given two compressors: name one, or wrap one in the other");
  static_assert(at_most_one<slot::parallelism, P...>, "entrain::trainer was given two parallel policies: name one");
  static_assert(at_most_one<slot::engine, P...>, "entrain::trainer was given two engines: name one");
  static_assert(at_most_one<slot::precision, P...>, "entrain::trainer was given two precisions: name one");
  static_assert(at_most_one<slot::checkpoint, P...>, "entrain::trainer was given two checkpoint policies: name one");
  static_assert(at_most_one<slot::fault, P...>, "entrain::trainer was given two fault policies: name one");
  static_assert(!all_are_policies<P...> || filled<slot::model, P...> > 0,
                "entrain::trainer needs a model: pass a description such as nn::gpt{...}, or a type of your own with "
                "'using slot_type = entrain::slot::model;'");
  static_assert(!all_are_policies<P...> || filled<slot::optimizer, P...> > 0, "entrain::trainer needs an optimizer: pass one such as optim::adamw{.learning_rate = 1e-3}");
};

template <class Model>
struct explain_model {
  static_assert(nn::has_value_type<Model>, "a model needs a line 'using value_type = float;' (or double): the number format that it computes in");
  static_assert(nn::has_batch_type<Model>, "a model needs a line 'using batch_type = ...;': what it takes to compute a loss from");
  static_assert(nn::has_layout<Model>, "a model needs 'entrain::parameter_layout layout() const': the names and shapes of its parameters");
  static_assert(!nn::has_value_type<Model> || nn::has_initialise<Model>,
                "a model needs 'void initialise(std::span<value_type> parameters, std::uint64_t seed)': the first values of its parameters");
  static_assert(!(nn::has_value_type<Model> && nn::has_batch_type<Model>) || nn::has_loss_and_gradient<Model>,
                "a model needs 'entrain::loss_sum loss_and_gradient(std::span<const value_type> parameters, const batch_type& batch, std::span<value_type> gradient)', "
                "which adds the gradient of the sum of the samples' losses");
};

template <class Compressor, class T>
struct explain_compressor {
  using compressor = Compressor;
  static constexpr bool plain = [] {
    if constexpr (compress::says_payload<compressor>) return compressor::payload != compress::payload_kind::two_phase && compressor::payload != compress::payload_kind::rounds;
    else return false;
  }();
  static_assert(compress::says_payload<compressor>, "a compressor needs a line 'static constexpr compress::payload_kind payload = ...;': summable, gatherable, sparse, two_phase or rounds");
  static_assert(!plain || compress::has_wire<compressor, T>, "a compressor needs 'template <class T> using wire_type = ...;' and 'template <class T> std::size_t wire_count(std::size_t n) const'");
  static_assert(compress::has_block_state<compressor, T>,
                "a compressor needs 'template <class T> auto make_state(std::size_t n) const' returning a visitable state, such as compress::no_state");
  static_assert(!plain || !(compress::has_wire<compressor, T> && compress::has_block_state<compressor, T>) || compress::has_encode<compressor, T>,
                "a compressor needs 'void encode(state&, const compress::context&, std::span<T> values, std::span<wire_type<T>> wire) const'");
  static_assert(!plain || !compress::has_wire<compressor, T> || compress::has_decode<compressor, T>,
                "a compressor needs 'void decode_add(const compress::context&, std::span<const wire_type<T>> wire, std::span<T> values, T scale) const'");
  static_assert(plain || !compress::says_payload<compressor> || compress::has_its_payload<compressor, T>(),
                "a compressor with the payload two_phase needs part_count, encode_parts, combine and decode_add, one with the payload rounds needs 'rounds', round_count, round and finish: "
                "see entrain/compress/concepts.hpp");
};
template <class Leaves, class T>
struct explain_leaves;
template <class... C, class T>
struct explain_leaves<std::tuple<C...>, T> {
  std::tuple<explain_compressor<C, T>...> each;
};
template <class Compression, class T>
struct explain_compression : std::conditional_t<compress::chooser<Compression>, explain_leaves<compress::leaves_of<Compression>, T>, explain_compressor<Compression, T>> {};

template <class Chosen>
struct explain_members {
  using model = typename Chosen::model;
  using T = typename Chosen::value_type;
  using kept = typename Chosen::kept_type;
  using optimizer = typename Chosen::optimizer;
  using compressor = typename Chosen::compressor;
  static constexpr bool model_fits = nn::differentiable<model>;
  [[no_unique_address]] explain_model<model> model_;

  template <class M>
  static constexpr bool same_value_type() {
    if constexpr (nn::has_value_type<M>) return std::same_as<typename M::value_type, T>;
    else return true;
  }
  static_assert(same_value_type<model>(), "the model computes in another number format than the trainer: pass precision::fp64 with a model of doubles, precision::fp32 with one of floats");
  static_assert(comm::communicator<typename Chosen::communicator>, "a communicator needs rank(), size(), start_send, start_receive, split, counters() and sequence(): see entrain/comm/concepts.hpp");
  static_assert(optim::has_fields<optimizer>,
                "an optimizer needs a line 'static constexpr std::array<std::string_view, N> fields{...};': the names of its state arrays (N may be 0)");
  static_assert(optim::says_elementwise<optimizer>, "an optimizer needs a line 'static constexpr bool elementwise = true;' (false when an update looks at other elements)");
  static_assert(optim::has_learning_rate<optimizer>, "an optimizer needs 'double learning_rate_at(std::uint64_t step) const'");
  static_assert(!optim::has_fields<optimizer> || optim::updates_parameters<optimizer, kept>,
                "an optimizer needs 'template <class T> void update(const optim::update_context&, T* parameters, const T* gradient, std::array<T*, N> state, std::size_t n) const'");
  static_assert(optimizer_meets_parallelism<Chosen>,
                "this optimizer owns its communication and takes steps of its own on every rank: use it with parallel::data, or use optim::adamw with this parallel policy");
  static_assert(engine_meets_precision<Chosen>, "precision::fp8_mixed multiplies in 8 bits, which this engine does not: pass engine::cuda{}, or precision::fp32 on the host");
  [[no_unique_address]] explain_compression<compressor, kept> compressor_;
};

// An optimizer that takes the momentum from the exchange, and compressors that bring it, need each other.
template <class Chosen>
constexpr bool momentum_travels() {
  if constexpr (requires { requires Chosen::optimizer::takes_momentum; })
    static_assert(compress::delivers_momentum<typename Chosen::compressor>(),
                  "after its first steps optim::one_bit_adam takes what is exchanged for the momentum, of every block: pass compress::one_bit_momentum_of(optimizer), and in compress::per_layer give "
                  "blocks that are to travel exactly compress::exact_momentum_of(optimizer)");
  return true;
}

// Instantiated when something is wrong: one of its static_asserts fires.
template <class... P>
constexpr bool explain() {
  if constexpr (!shape_is_right<P...>) return sizeof(explain_shape<P...>) > 0;
  else return sizeof(explain_members<chosen<P...>>) > 0;
}

}  // namespace entrain::detail
