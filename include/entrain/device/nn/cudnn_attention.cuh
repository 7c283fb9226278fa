// SPDX-License-Identifier: Apache-2.0
#pragma once

// Causal attention by cuDNN's graph of scaled-dot-product attention, for programs that define ENTRAIN_CUDNN (the CMake target
// entrain::cudnn does); for others there is nothing here. nn/attention.cuh asks here first and runs our own kernels where the answer
// is no: another element type than the 16-bit floats, heads that are no multiple of 8 or wider than 128, pointers that are not aligned
// to 16 bytes, a device before sm_80, another stream than the context's first, or a shape that cuDNN has nothing for.
//
// cuDNN is given strides into our tensors, nothing is copied. Its statistics are ours: the natural logarithm of the sum of the
// exponentials of a row's scaled scores, packed [batch, heads, length]; either side's backward pass continues the other's forward pass.
//
// The same bits in every run: the backward pass is asked for as deterministic. The documentation gives no figure for what that costs.
// On sm_90 the front end then keeps the gradients of all scores, 2 batch heads length^2 bytes (in 805 MB for 32 x 12 x 1024^2: written
// and read once, 0.4 ms at 4.3 TB/s), instead of adding to fp32 rows atomically. So that memory stays bounded, a pass whose workspace
// would take more than 1/32 of the device's memory runs on our kernels, which need none.
//
// Flops: forward 2 batch heads length^2 head_width, backward 2.5 times that. 12 heads of width 64, batch 32, length 1024: 52 GFLOP and
// 129 GFLOP, 0.1 ms and 0.3 ms + the 0.4 ms above at 450 TFLOP/s. Bytes beyond that: 8 (forward), 16 (backward) an element of out.

#if defined(ENTRAIN_CUDNN) && defined(__CUDA_ARCH__)

// The front end takes half a minute to compile. Nothing of it runs on the device: nvcc's passes for devices see what is called.
#include <string>

#include <entrain/engine/cuda.hpp>
#include <entrain/nn/ops.hpp>

namespace entrain::device::attention {
std::string describe_cudnn(const engine::cuda_queue& queue);
template <class T>
bool cudnn_forward(const engine::cuda_queue& queue, const nn::ops::causal_attention& op, const T* qkv, T* out, nn::ops::statistic<T>* log_sum_exp);
template <class T>
bool cudnn_backward(const engine::cuda_queue& queue, const nn::ops::causal_attention& op, const T* qkv, const T* out, const nn::ops::statistic<T>* log_sum_exp, const T* dout,
                    T* dqkv);
}  // namespace entrain::device::attention

#elif defined(ENTRAIN_CUDNN)

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>  // cudnn_frontend.h forgets it where it is told to leave out JSON
#include <initializer_list>
#include <list>
#include <memory>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include <cudnn.h>
#include <cudnn_frontend.h>

#include <entrain/core/dtype.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/device/matrix_fragment.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/engine/cuda.hpp>
#include <entrain/nn/ops.hpp>

namespace entrain::device::attention {

inline void cudnn_check(cudnnStatus_t status, const char* call, engine::source_place where = engine::source_place::here()) {
  if (status != CUDNN_STATUS_SUCCESS) engine::throw_cuda_error(call, cudnnGetErrorString(status), where);
}
inline void cudnn_check(const cudnn_frontend::error_object& status, const char* call, engine::source_place where = engine::source_place::here()) {
  if (status.is_bad()) engine::throw_cuda_error(call, status.err_msg, where);
}

struct cudnn_shape {
  std::int64_t batch = 0, length = 0, heads = 0, head_width = 0;
  bool brain_float = false, backward = false;

  std::string describe() const {
    return entrain::detail::text(backward ? "backward" : "forward", brain_float ? " bfloat16 [" : " float16 [", batch, ", ", length, ", ", heads, ", ", head_width, "]");
  }
  friend bool operator==(const cudnn_shape&, const cudnn_shape&) = default;
};

// One shape of one pass, built and ready to run, or refused: then told() says by which call and why.
class cudnn_plan {
 public:
  enum tensor : std::int64_t { queries = 1, keys, values, out, statistics, dout, dqueries, dkeys, dvalues };

  cudnn_plan(cudnnHandle_t handle, const cudnn_shape& shape, std::size_t most_workspace) : shape_(shape) {
    graph_.set_io_data_type(shape.brain_float ? cudnn_frontend::DataType_t::BFLOAT16 : cudnn_frontend::DataType_t::HALF);
    graph_.set_intermediate_data_type(cudnn_frontend::DataType_t::FLOAT).set_compute_data_type(cudnn_frontend::DataType_t::FLOAT);
    if (shape.backward) describe_backward();
    else describe_forward();
    supported_ = succeeded(graph_.validate(), "Graph::validate") && succeeded(graph_.build_operation_graph(handle), "Graph::build_operation_graph") &&
                 succeeded(graph_.create_execution_plans({cudnn_frontend::HeurMode_t::A}), "Graph::create_execution_plans") && succeeded(graph_.check_support(), "Graph::check_support") &&
                 succeeded(graph_.build_plans(), "Graph::build_plans");
    if (!supported_) return;
    std::int64_t bytes = 0;
    cudnn_check(graph_.get_workspace_size(bytes), "Graph::get_workspace_size");
    cudnn_check(graph_.get_plan_name(told_), "Graph::get_plan_name");
    workspace_bytes_ = std::size_t(bytes);
    if (workspace_bytes_ <= most_workspace) return;
    supported_ = false;
    told_ = entrain::detail::text("its workspace would be ", bytes, " bytes, more than ", most_workspace);
  }
  cudnn_plan(const cudnn_plan&) = delete;

  const cudnn_shape& shape() const { return shape_; }
  bool supported() const { return supported_; }
  const std::string& told() const { return told_; }  // cuDNN's name of its plan
  std::size_t workspace_bytes() const { return workspace_bytes_; }
  void use(std::byte* workspace) { workspace_ = workspace; }

  void point(tensor which, const void* data) { pointers_.at(which) = const_cast<void*>(data); }
  void run(cudnnHandle_t handle) { cudnn_check(graph_.execute(handle, pointers_, workspace_), "Graph::execute"); }

 private:
  using attributes = cudnn_frontend::graph::Tensor_attributes;
  using tensor_pointer = std::shared_ptr<attributes>;

  // A refusal is an answer, a CUDA failure is not.
  bool succeeded(const cudnn_frontend::error_object& status, const char* call) {
    if (status.is_good()) return true;
    told_ = entrain::detail::text(call, ": ", status.err_msg);
    using code = cudnn_frontend::error_code_t;
    if (status.code == code::CUDA_API_FAILED || status.code == code::INVALID_CUDA_DEVICE || status.code == code::HANDLE_ERROR) cudnn_check(status, call);
    return false;
  }

  // In the order [batch, heads, length, columns]; the distance between sequences and tokens is that of our rows.
  void place(attributes& made, tensor name) {
    const std::int64_t width = shape_.heads * shape_.head_width, row = name == out || name == dout ? width : 3 * width;
    if (name == statistics) {
      made.set_dim({shape_.batch, shape_.heads, shape_.length, 1}).set_stride({shape_.heads * shape_.length, shape_.length, 1, 1});
      made.set_data_type(cudnn_frontend::DataType_t::FLOAT);
    } else {
      made.set_dim({shape_.batch, shape_.heads, shape_.length, shape_.head_width}).set_stride({shape_.length * row, shape_.head_width, row, 1});
    }
    made.set_uid(name);
    pointers_.emplace(std::int64_t(name), nullptr);
  }
  tensor_pointer input(tensor name) {
    attributes made;
    place(made, name);
    return graph_.tensor(made);
  }
  void output(const tensor_pointer& made, tensor name) {
    made->set_output(true);
    place(*made, name);
  }
  template <class Options>
  Options options() const {
    Options made;
    made.set_name("causal_attention").set_attn_scale(float(1 / std::sqrt(double(shape_.head_width))));
    made.set_diagonal_alignment(cudnn_frontend::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);  // nothing right of the diagonal
    return made;
  }
  void describe_forward() {
    auto how = options<cudnn_frontend::graph::SDPA_attributes>();
    how.set_generate_stats(true);
    const tensor_pointer q = input(queries), k = input(keys), v = input(values);
    const std::array<tensor_pointer, 2> made = graph_.sdpa(q, k, v, how);
    output(made[0], out), output(made[1], statistics);
  }
  void describe_backward() {
    auto how = options<cudnn_frontend::graph::SDPA_backward_attributes>();
    how.set_deterministic_algorithm(true);
    const tensor_pointer q = input(queries), k = input(keys), v = input(values), y = input(out), dy = input(dout), sums = input(statistics);
    const std::array<tensor_pointer, 3> made = graph_.sdpa_backward(q, k, v, y, dy, sums, how);
    output(made[0], dqueries), output(made[1], dkeys), output(made[2], dvalues);
  }

  cudnn_shape shape_;
  cudnn_frontend::graph::Graph graph_;
  std::unordered_map<std::int64_t, void*> pointers_;  // its entries are made once; runs only fill them in
  std::string told_;
  std::byte* workspace_ = nullptr;
  std::size_t workspace_bytes_ = 0;
  bool supported_ = false;
};

// cuDNN's handle and the plans of a context: context.keep<cudnn_plans>(). A shape's first call builds its plan and takes what
// workspace it needs; later calls allocate nothing on the device.
class cudnn_plans {
 public:
  explicit cudnn_plans(const engine::cuda_context& context) {
    int major = 0;
    engine::cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, context.device()), "cudaDeviceGetAttribute");
    if (major < 8) return;
    std::size_t free = 0, total = 0;
    engine::cuda_check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    most_workspace_ = total / 32;
    cudnn_check(cudnnCreate(&handle_), "cudnnCreate");
  }
  cudnn_plans(const cudnn_plans&) = delete;
  ~cudnn_plans() {
    plans_.clear();
    if (handle_) (void)cudnnDestroy(handle_);
  }

  bool serves() const { return handle_ != nullptr; }
  cudnnHandle_t on(cudaStream_t stream) {
    cudnn_check(cudnnSetStream(handle_, stream), "cudnnSetStream");
    return handle_;
  }
  cudnn_plan& of(const cudnn_shape& shape) {
    for (auto& plan : plans_)
      if (plan.shape() == shape) return plan;
    cudnn_plan& made = plans_.emplace_back(handle_, shape, most_workspace_);
    if (made.supported()) made.use(workspace(made.workspace_bytes()));
    return made;
  }
  const std::list<cudnn_plan>& all() const { return plans_; }

 private:
  // Plans run one after another and share the memory. What has been given out stays where it is: captured graphs know its address.
  std::byte* workspace(std::size_t bytes) {
    if (bytes == 0) return nullptr;
    if (workspaces_.empty() || workspaces_.back().size() < bytes) workspaces_.emplace_back(bytes);
    return workspaces_.back().data();
  }

  cudnnHandle_t handle_ = nullptr;
  std::size_t most_workspace_ = 0;
  std::vector<buffer<std::byte, cuda_space>> workspaces_;
  std::list<cudnn_plan> plans_;
};

// A line for each shape that has been asked for: the name of cuDNN's plan, or why our kernels ran instead.
inline std::string describe_cudnn(const engine::cuda_queue& queue) {
  std::string lines;
  for (const auto& plan : queue.context().keep<cudnn_plans>().all())
    lines += plan.shape().describe() + (plan.supported() ? ": cuDNN, " : ": own kernels, cuDNN refused: ") + plan.told() + "\n";
  return lines;
}

// The plan for this operation, or nullptr where our kernels are to run.
template <class T>
cudnn_plan* cudnn_plan_for(const engine::cuda_queue& queue, const nn::ops::causal_attention& op, bool backward, std::initializer_list<const void*> pointers) {
  if (op.batch * op.length * op.heads == 0 || op.head_width == 0 || op.head_width % 8 != 0 || op.head_width > 128) return nullptr;
  if (queue.stream() != queue.context().compute()) return nullptr;  // the workspace is that stream's
  for (const void* p : pointers)
    if (!aligned(p)) return nullptr;
  auto& plans = queue.context().keep<cudnn_plans>();
  if (!plans.serves()) return nullptr;
  const auto size = [](std::size_t n) { return std::int64_t(n); };
  cudnn_plan& plan = plans.of({size(op.batch), size(op.length), size(op.heads), size(op.head_width), std::is_same_v<T, bfloat16>, backward});
  return plan.supported() ? &plan : nullptr;
}

// Both return false, and have done nothing, where our kernels are to run.
template <class T>
bool cudnn_forward(const engine::cuda_queue& queue, const nn::ops::causal_attention& op, const T* qkv, T* out, nn::ops::statistic<T>* log_sum_exp) {
  if constexpr (matrix_element<T>) {
    cudnn_plan* const plan = cudnn_plan_for<T>(queue, op, false, {qkv, out, log_sum_exp});
    if (!plan) return false;
    plan->point(cudnn_plan::queries, qkv), plan->point(cudnn_plan::keys, qkv + op.width()), plan->point(cudnn_plan::values, qkv + 2 * op.width());
    plan->point(cudnn_plan::out, out), plan->point(cudnn_plan::statistics, log_sum_exp);
    plan->run(queue.context().template keep<cudnn_plans>().on(queue.stream()));
    return true;
  }
  return false;
}

template <class T>
bool cudnn_backward(const engine::cuda_queue& queue, const nn::ops::causal_attention& op, const T* qkv, const T* out, const nn::ops::statistic<T>* log_sum_exp, const T* dout,
                    T* dqkv) {
  if constexpr (matrix_element<T>) {
    cudnn_plan* const plan = cudnn_plan_for<T>(queue, op, true, {qkv, out, log_sum_exp, dout, dqkv});
    if (!plan) return false;
    plan->point(cudnn_plan::queries, qkv), plan->point(cudnn_plan::keys, qkv + op.width()), plan->point(cudnn_plan::values, qkv + 2 * op.width());
    plan->point(cudnn_plan::dqueries, dqkv), plan->point(cudnn_plan::dkeys, dqkv + op.width()), plan->point(cudnn_plan::dvalues, dqkv + 2 * op.width());
    plan->point(cudnn_plan::out, out), plan->point(cudnn_plan::statistics, log_sum_exp), plan->point(cudnn_plan::dout, dout);
    plan->run(queue.context().template keep<cudnn_plans>().on(queue.stream()));
    return true;
  }
  return false;
}

}  // namespace entrain::device::attention

#endif
