// Graphs of TensorFlow in sessions of their own: what tfjs-node's binding has no function for. A run takes and gives
// arrays of JavaScript, and may be computed on a thread of libuv's pool, off the event loop.
//
//   create(config: Uint8Array): handle                         ConfigProto, serialised; the graph has no operations
//   add(handle, name, operation, inputs: (string | string[])[], attributes: [string, Uint8Array][]): Shape[]
//                                                              AttrValue, serialised; not while a run is on its way
//   run(handle, inputs: Input[], outputs: string[], wait: boolean): Output[] | Promise<Output[]>
//   close(handle): void                                        not while a run is on its way
//   allocatable(bytes: number): boolean                        whether there is memory for so many at once
//   filters(images, height, width, in, out: number): boolean   whether there are kernels (operations.h) for a 3x3
//                                                              convolution of these channels, and it is worth while
//
// An input of an operation is "operation:index", a list of these where the operation takes a list, or "^operation", which
// is only waited for. Shape: { dtype, shape } of an output, as TensorFlow infers it; null for a shape not known before it
// runs.
// Input: [name of an operation, TF_DataType, shape, typed array]; the values are copied before `run` returns. Output:
// { dtype, shape, values }, of "operation:index"; the values are copies.

#include "graph.h"

#include <cstdlib>
#include <cstring>

#include "operations.h"
#include "winograd.h"

using namespace loom;

namespace {

struct Run {
  Loaded* loaded = nullptr;
  std::vector<TF_Output> inputs, outputs;
  std::vector<TF_Tensor*> fed, fetched;
  TF_Status* status = TF_NewStatus();
  napi_deferred deferred = nullptr;
  napi_async_work work = nullptr;
  // Keeps the handle alive.
  napi_ref handle = nullptr;

  void Compute() {
    fetched.assign(outputs.size(), nullptr);
    TF_SessionRun(loaded->session, nullptr, inputs.data(), fed.data(), static_cast<int>(inputs.size()), outputs.data(),
                  fetched.data(), static_cast<int>(outputs.size()), nullptr, 0, nullptr, status);
  }

  ~Run() {
    for (TF_Tensor* tensor : fed) TF_DeleteTensor(tensor);
    for (TF_Tensor* tensor : fetched)
      if (tensor) TF_DeleteTensor(tensor);
    TF_DeleteStatus(status);
  }
};

// One input of a run. Gives what is wrong with it, or nothing.
std::string AddInput(napi_env env, napi_value input, Run* run) {
  std::string name;
  int32_t type = 0;
  uint32_t rank = 0;
  void* data = nullptr;
  size_t bytes = 0;
  napi_value shape = Element(env, input, 2);
  if (!StringOf(env, Element(env, input, 0), &name) ||
      napi_get_value_int32(env, Element(env, input, 1), &type) != napi_ok ||
      napi_get_array_length(env, shape, &rank) != napi_ok || !BytesOf(env, Element(env, input, 3), &data, &bytes))
    return "expected inputs of a name, a type, a shape and values";
  std::vector<int64_t> sides(rank);
  size_t numbers = 1;
  for (uint32_t i = 0; i < rank; i++) {
    if (napi_get_value_int64(env, Element(env, shape, i), &sides[i]) != napi_ok || sides[i] < 0)
      return "expected " + name + " to have a shape of whole numbers";
    numbers *= static_cast<size_t>(sides[i]);
  }
  const auto data_type = static_cast<TF_DataType>(type);
  const size_t expected = numbers * TF_DataTypeSize(data_type);
  if (bytes != expected)
    return "expected " + std::to_string(expected) + " bytes for " + name + ", got " + std::to_string(bytes);
  TF_Output place;
  if (!FindOutput(run->loaded->graph, name, &place)) return "expected an input of the graph, got " + name;
  TF_Tensor* tensor = TF_AllocateTensor(data_type, sides.data(), static_cast<int>(rank), bytes);
  void* values = tensor ? TF_TensorData(tensor) : nullptr;
  if (bytes > 0 && !values) {
    if (tensor) TF_DeleteTensor(tensor);
    return "OOM when allocating " + std::to_string(bytes) + " bytes for " + name;
  }
  if (bytes > 0) std::memcpy(values, data, bytes);
  run->inputs.push_back(place);
  run->fed.push_back(tensor);
  return "";
}

napi_typedarray_type ArrayOf(TF_DataType type) {
  switch (type) {
    case TF_FLOAT:
      return napi_float32_array;
    case TF_DOUBLE:
      return napi_float64_array;
    case TF_INT32:
      return napi_int32_array;
    default:
      return napi_uint8_array;
  }
}

napi_value OutputOf(napi_env env, TF_Tensor* tensor) {
  napi_value output, dtype, buffer, values;
  const size_t bytes = TF_TensorByteSize(tensor);
  void* data = nullptr;
  if (napi_create_arraybuffer(env, bytes, &data, &buffer) != napi_ok || (bytes > 0 && !data)) return nullptr;
  if (bytes > 0) std::memcpy(data, TF_TensorData(tensor), bytes);
  const TF_DataType type = TF_TensorType(tensor);
  const napi_typedarray_type array = ArrayOf(type);
  napi_create_typedarray(env, array, bytes / WidthOf(array), buffer, 0, &values);
  napi_create_int32(env, type, &dtype);
  napi_create_object(env, &output);
  napi_set_named_property(env, output, "dtype", dtype);
  napi_set_named_property(env, output, "shape", ShapeOf(env, SidesOf(tensor)));
  napi_set_named_property(env, output, "values", values);
  return output;
}

napi_value OutputsOf(napi_env env, const Run& run) {
  napi_value outputs;
  napi_create_array_with_length(env, run.fetched.size(), &outputs);
  for (size_t i = 0; i < run.fetched.size(); i++) {
    napi_value output = OutputOf(env, run.fetched[i]);
    if (!output) return nullptr;
    napi_set_element(env, outputs, static_cast<uint32_t>(i), output);
  }
  return outputs;
}

std::string NoMemory(const Run& run) {
  size_t bytes = 0;
  for (TF_Tensor* tensor : run.fetched) bytes += TF_TensorByteSize(tensor);
  return "OOM when allocating " + std::to_string(bytes) + " bytes for what the graph gives";
}
std::string Failure(const Run& run) { return std::string("the graph failed: ") + TF_Message(run.status); }

void Finish(napi_env env, napi_status, void* data) {
  std::unique_ptr<Run> run(static_cast<Run*>(data));
  run->loaded->running--;
  const bool failed = TF_GetCode(run->status) != TF_OK;
  napi_value outputs = failed ? nullptr : OutputsOf(env, *run);
  if (outputs) {
    napi_resolve_deferred(env, run->deferred, outputs);
  } else {
    napi_value text, error;
    const std::string message = failed ? Failure(*run) : NoMemory(*run);
    napi_create_string_utf8(env, message.c_str(), message.size(), &text);
    napi_create_error(env, nullptr, text, &error);
    napi_reject_deferred(env, run->deferred, error);
  }
  napi_delete_reference(env, run->handle);
  napi_delete_async_work(env, run->work);
}

napi_value RunGraph(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value args[4];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  auto run = std::make_unique<Run>();
  bool wait = false;
  uint32_t inputs = 0, outputs = 0;
  if (count < 4 || !(run->loaded = LoadedOf(env, args[0]))) return Throw(env, "expected a graph that is loaded");
  if (napi_get_array_length(env, args[1], &inputs) != napi_ok ||
      napi_get_array_length(env, args[2], &outputs) != napi_ok || napi_get_value_bool(env, args[3], &wait) != napi_ok)
    return Throw(env, "expected inputs, names of outputs, and whether to wait");
  for (uint32_t i = 0; i < inputs; i++) {
    const std::string wrong = AddInput(env, Element(env, args[1], i), run.get());
    if (!wrong.empty()) return Throw(env, wrong);
  }
  for (uint32_t i = 0; i < outputs; i++) {
    std::string name;
    TF_Output place;
    if (!StringOf(env, Element(env, args[2], i), &name) || !FindOutput(run->loaded->graph, name, &place))
      return Throw(env, "expected an output of the graph, got " + name);
    run->outputs.push_back(place);
  }
  if (wait) {
    run->Compute();
    if (TF_GetCode(run->status) != TF_OK) return Throw(env, Failure(*run));
    napi_value given = OutputsOf(env, *run);
    return given ? given : Throw(env, NoMemory(*run));
  }
  napi_value promise, name;
  napi_create_promise(env, &run->deferred, &promise);
  napi_create_reference(env, args[0], 1, &run->handle);
  napi_create_string_utf8(env, "graph", NAPI_AUTO_LENGTH, &name);
  const auto compute = [](napi_env, void* data) { static_cast<Run*>(data)->Compute(); };
  napi_create_async_work(env, nullptr, name, compute, Finish, run.get(), &run->work);
  run->loaded->running++;
  napi_queue_async_work(env, run->work);
  run.release();
  return promise;
}

napi_value Allocatable(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value args[1], found;
  int64_t bytes = 0;
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  if (count < 1 || napi_get_value_int64(env, args[0], &bytes) != napi_ok || bytes < 0)
    return Throw(env, "expected a number of bytes");
  // Volatile: an allocation that nothing is done with may be left out.
  void* volatile memory = std::malloc(static_cast<size_t>(bytes));
  napi_get_boolean(env, bytes == 0 || memory, &found);
  std::free(memory);
  return found;
}

napi_value Filters(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value args[5], can;
  int64_t sides[5];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  for (size_t i = 0; i < 5; i++)
    if (i >= count || napi_get_value_int64(env, args[i], &sides[i]) != napi_ok || sides[i] < 0)
      return Throw(env, "expected images, height, width and channels in and out as whole numbers");
  const Convolution convolution{sides[0], sides[1], sides[2], sides[3], sides[4]};
  napi_get_boolean(env, CanFilter(convolution) && IsWorthWhile(convolution), &can);
  return can;
}

napi_value Init(napi_env env, napi_value exports) {
  RegisterOperations();
  const napi_property_descriptor members[] = {
      {"create", nullptr, Create, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"add", nullptr, Add, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"run", nullptr, RunGraph, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"close", nullptr, Close, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"allocatable", nullptr, Allocatable, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"filters", nullptr, Filters, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_define_properties(env, exports, sizeof(members) / sizeof(members[0]), members);
  return exports;
}

}  // namespace

NAPI_MODULE(loom_session, Init)
