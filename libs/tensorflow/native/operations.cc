#include "operations.h"

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "graph.h"
#include "tensorflow/c/ops.h"
#include "winograd.h"

// Of tensorflow/c/kernels.h, which includes headers that are no part of the C interface.
extern "C" {
struct TF_KernelBuilder;
struct TF_OpKernelConstruction;
struct TF_OpKernelContext;
TF_KernelBuilder* TF_NewKernelBuilder(const char* operation, const char* device,
                                      void* (*create)(TF_OpKernelConstruction*),
                                      void (*compute)(void*, TF_OpKernelContext*), void (*remove)(void*));
void TF_RegisterKernelBuilder(const char* kernel, TF_KernelBuilder* builder, TF_Status* status);
void TF_GetInput(TF_OpKernelContext* context, int i, TF_Tensor** tensor, TF_Status* status);
TF_Tensor* TF_AllocateOutput(TF_OpKernelContext* context, int i, TF_DataType type, const int64_t* sides, int count,
                             size_t bytes, TF_Status* status);
void TF_OpKernelContext_Failure(TF_OpKernelContext* context, TF_Status* status);
}

namespace loom {

namespace {

using Sides = std::vector<int64_t>;
using Tensor = std::unique_ptr<TF_Tensor, decltype(&TF_DeleteTensor)>;
using Shape = std::unique_ptr<TF_ShapeHandle, decltype(&TF_DeleteShapeHandle)>;

// Of its inputs' sides, the convolution that an operation is part of and the sides of what it gives.
struct Plan {
  Convolution convolution;
  Sides output;
};

struct Filtering {
  static constexpr const char* name = "LoomConvolution";
  static constexpr std::array<const char*, 2> inputs = {"images: float", "filter: float"};
  static bool Fits(const Sides& x, const Sides& f) { return f[0] == 3 && f[1] == 3 && f[2] == x[3]; }
  static Plan PlanOf(const Sides& x, const Sides& f) {
    return {{x[0], x[1], x[2], x[3], f[3]}, {x[0], x[1], x[2], f[3]}};
  }
  static constexpr auto kernel = &Kernels::filter;
};

struct FilteringInputGradient {
  static constexpr const char* name = "LoomConvolutionInputGradient";
  static constexpr std::array<const char*, 2> inputs = {"gradient: float", "filter: float"};
  static bool Fits(const Sides& dy, const Sides& f) { return f[0] == 3 && f[1] == 3 && f[3] == dy[3]; }
  static Plan PlanOf(const Sides& dy, const Sides& f) {
    return {{dy[0], dy[1], dy[2], f[2], dy[3]}, {dy[0], dy[1], dy[2], f[2]}};
  }
  static constexpr auto kernel = &Kernels::input_gradient;
};

struct FilteringFilterGradient {
  static constexpr const char* name = "LoomConvolutionFilterGradient";
  static constexpr std::array<const char*, 2> inputs = {"images: float", "gradient: float"};
  static bool Fits(const Sides& x, const Sides& dy) {
    return x[0] == dy[0] && x[1] == dy[1] && x[2] == dy[2];
  }
  static Plan PlanOf(const Sides& x, const Sides& dy) {
    return {{x[0], x[1], x[2], x[3], dy[3]}, {3, 3, x[3], dy[3]}};
  }
  static constexpr auto kernel = &Kernels::filter_gradient;
};

std::string Said(const Sides& sides) {
  std::string text;
  for (const int64_t side : sides) text += (text.empty() ? "" : ", ") + std::to_string(side);
  return "[" + text + "]";
}

// Null, with the reason, where two shapes do not go together.
template <typename Operation>
std::unique_ptr<Plan> PlanFor(const Sides& first, const Sides& second, TF_Status* status) {
  if (first.size() == 4 && second.size() == 4 && Operation::Fits(first, second)) {
    auto plan = std::make_unique<Plan>(Operation::PlanOf(first, second));
    if (CanFilter(plan->convolution)) return plan;
  }
  const std::string message = std::string("expected ") + Operation::inputs[0] + " and " + Operation::inputs[1] +
                              " of a 3x3 convolution of channels by sixteens, got " + Said(first) + " and " +
                              Said(second);
  TF_SetStatus(status, TF_INVALID_ARGUMENT, message.c_str());
  return nullptr;
}

template <typename Operation>
void Compute(TF_OpKernelContext* context, TF_Status* status) {
  const auto input = [&](int i) {
    TF_Tensor* tensor = nullptr;
    TF_GetInput(context, i, &tensor, status);
    return Tensor(tensor, TF_DeleteTensor);
  };
  const Tensor first = input(0);
  if (TF_GetCode(status) != TF_OK) return;
  const Tensor second = input(1);
  if (TF_GetCode(status) != TF_OK) return;
  const auto plan = PlanFor<Operation>(SidesOf(first.get()), SidesOf(second.get()), status);
  if (!plan) return;
  size_t bytes = sizeof(float);
  for (const int64_t side : plan->output) bytes *= static_cast<size_t>(side);
  const Tensor output(TF_AllocateOutput(context, 0, TF_FLOAT, plan->output.data(), 4, bytes, status), TF_DeleteTensor);
  if (TF_GetCode(status) != TF_OK) return;
  const auto floats = [](const Tensor& tensor) { return static_cast<float*>(TF_TensorData(tensor.get())); };
  const auto kernel = FilteringKernels()->*Operation::kernel;
  if (!kernel(plan->convolution, floats(first), floats(second), floats(output)))
    TF_SetStatus(status, TF_RESOURCE_EXHAUSTED, (std::string("OOM when allocating for ") + Operation::name).c_str());
}

// Sides of an input whose shape is known.
bool KnownSides(TF_ShapeInferenceContext* context, int i, Sides* sides, TF_Status* status) {
  const Shape shape(TF_NewShapeHandle(), TF_DeleteShapeHandle);
  TF_ShapeInferenceContextGetInput(context, i, shape.get(), status);
  if (TF_GetCode(status) != TF_OK || !TF_ShapeInferenceContextRankKnown(context, shape.get())) return false;
  sides->resize(static_cast<size_t>(TF_ShapeInferenceContextRank(context, shape.get())));
  for (size_t axis = 0; axis < sides->size(); axis++) {
    TF_DimensionHandle* side = TF_NewDimensionHandle();
    TF_ShapeInferenceContextDim(context, shape.get(), static_cast<int64_t>(axis), side);
    const bool known = TF_DimensionHandleValueKnown(side);
    if (known) (*sides)[axis] = TF_DimensionHandleValue(side);
    TF_DeleteDimensionHandle(side);
    if (!known) return false;
  }
  return true;
}

template <typename Operation>
void Infer(TF_ShapeInferenceContext* context, TF_Status* status) {
  Sides first, second;
  if (!KnownSides(context, 0, &first, status) || !KnownSides(context, 1, &second, status)) {
    if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetUnknownShape(context, status);
    return;
  }
  const auto plan = PlanFor<Operation>(first, second, status);
  if (!plan) return;
  Shape output(TF_ShapeInferenceContextScalar(context), TF_DeleteShapeHandle);
  for (const int64_t side : plan->output) {
    const Shape axis(TF_ShapeInferenceContextVectorFromSize(context, static_cast<size_t>(side)), TF_DeleteShapeHandle);
    Shape longer(TF_NewShapeHandle(), TF_DeleteShapeHandle);
    TF_ShapeInferenceContextConcatenateShapes(context, output.get(), axis.get(), longer.get(), status);
    if (TF_GetCode(status) != TF_OK) return;
    output = std::move(longer);
  }
  TF_ShapeInferenceContextSetOutput(context, 0, output.get(), status);
}

template <typename Operation>
void Register() {
  const Status status = NewStatus();
  TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(Operation::name);
  for (const char* input : Operation::inputs) TF_OpDefinitionBuilderAddInput(definition, input);
  TF_OpDefinitionBuilderAddOutput(definition, "output: float");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(definition, Infer<Operation>);
  TF_RegisterOpDefinition(definition, status.get());
  const auto compute = [](void*, TF_OpKernelContext* context) {
    const Status computed = NewStatus();
    Compute<Operation>(context, computed.get());
    if (TF_GetCode(computed.get()) != TF_OK) TF_OpKernelContext_Failure(context, computed.get());
  };
  TF_RegisterKernelBuilder(Operation::name, TF_NewKernelBuilder(Operation::name, "CPU", nullptr, compute, nullptr),
                           status.get());
}

}  // namespace

void RegisterOperations() {
  static std::once_flag once;
  std::call_once(once, [] {
    Register<Filtering>();
    Register<FilteringInputGradient>();
    Register<FilteringFilterGradient>();
  });
}

}  // namespace loom
