// Graphs of TensorFlow in sessions of their own: what tfjs-node's binding has no function for. A run takes and gives
// arrays of JavaScript, and may be computed on a thread of libuv's pool, off the event loop.
//
//   create(config: Uint8Array): handle                         ConfigProto, serialised; the graph has no operations
//   add(handle, name, operation, inputs: (string | string[])[], attributes: [string, Uint8Array][]): Shape[]
//                                                              AttrValue, serialised; not while a run is on its way
//   run(handle, inputs: Input[], outputs: string[], wait: boolean): Output[] | Promise<Output[]>
//   close(handle): void                                        not while a run is on its way
//   allocatable(bytes: number): boolean                        whether there is memory for so many at once
//
// An input of an operation is "operation:index", a list of these where the operation takes a list, or "^operation", which
// is only waited for. Shape: { dtype, shape } of an output, as TensorFlow infers it; null for a shape not known before it
// runs.
// Input: [name of an operation, TF_DataType, shape, typed array]; the values are copied before `run` returns. Output:
// { dtype, shape, values }, of "operation:index"; the values are copies.

#include <node_api.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/c/c_api.h"

namespace {

struct Loaded {
  TF_Graph* graph = nullptr;
  TF_Session* session = nullptr;
  int running = 0;

  // False while a run is on its way.
  bool Close() {
    if (running > 0) return false;
    TF_Status* status = TF_NewStatus();
    if (session) TF_DeleteSession(session, status);
    if (graph) TF_DeleteGraph(graph);
    session = nullptr;
    graph = nullptr;
    TF_DeleteStatus(status);
    return true;
  }
};

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

using Status = std::unique_ptr<TF_Status, decltype(&TF_DeleteStatus)>;
Status NewStatus() { return Status(TF_NewStatus(), TF_DeleteStatus); }

napi_value Throw(napi_env env, const std::string& message) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_error(env, nullptr, message.c_str());
  return nullptr;
}

bool StringOf(napi_env env, napi_value value, std::string* text) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  text->resize(length);
  return napi_get_value_string_utf8(env, value, text->data(), length + 1, &length) == napi_ok;
}

size_t WidthOf(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array:
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      return 1;
    case napi_int16_array:
    case napi_uint16_array:
      return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array:
      return 4;
    default:
      return 8;
  }
}

bool BytesOf(napi_env env, napi_value value, void** data, size_t* bytes) {
  napi_typedarray_type type;
  size_t length = 0;
  if (napi_get_typedarray_info(env, value, &type, &length, data, nullptr, nullptr) != napi_ok) return false;
  *bytes = length * WidthOf(type);
  return true;
}

napi_value Create(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value args[1];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  void* config = nullptr;
  size_t length = 0;
  if (count < 1 || !BytesOf(env, args[0], &config, &length)) return Throw(env, "expected a configuration as bytes");
  const Status status = NewStatus();
  auto loaded = std::make_unique<Loaded>();
  loaded->graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_SetConfig(options, config, length, status.get());
  if (TF_GetCode(status.get()) == TF_OK) loaded->session = TF_NewSession(loaded->graph, options, status.get());
  TF_DeleteSessionOptions(options);
  if (TF_GetCode(status.get()) != TF_OK) {
    loaded->Close();
    return Throw(env, std::string("no session can be made: ") + TF_Message(status.get()));
  }
  napi_value handle;
  const auto finalize = [](napi_env, void* data, void*) {
    auto* loaded = static_cast<Loaded*>(data);
    if (loaded->Close()) delete loaded;
  };
  napi_create_external(env, loaded.release(), finalize, nullptr, &handle);
  return handle;
}

Loaded* LoadedOf(napi_env env, napi_value handle) {
  void* data = nullptr;
  if (napi_get_value_external(env, handle, &data) != napi_ok) return nullptr;
  auto* loaded = static_cast<Loaded*>(data);
  return loaded->session ? loaded : nullptr;
}

napi_value Close(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value args[1];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Loaded* loaded = count < 1 ? nullptr : LoadedOf(env, args[0]);
  if (loaded && !loaded->Close()) return Throw(env, "expected a graph that is not running, it is");
  return nullptr;
}

// "operation:index", the index 0 where none is named. False where the graph has no such operation.
bool FindOutput(TF_Graph* graph, const std::string& name, TF_Output* found) {
  const size_t colon = name.rfind(':');
  found->index = colon == std::string::npos ? 0 : std::atoi(name.c_str() + colon + 1);
  found->oper = TF_GraphOperationByName(graph, name.substr(0, colon).c_str());
  return found->oper != nullptr && found->index < TF_OperationNumOutputs(found->oper);
}

napi_value Element(napi_env env, napi_value array, uint32_t i) {
  napi_value element = nullptr;
  napi_get_element(env, array, i, &element);
  return element;
}

napi_value ShapeOf(napi_env env, const std::vector<int64_t>& sides) {
  napi_value shape;
  napi_create_array_with_length(env, sides.size(), &shape);
  for (size_t i = 0; i < sides.size(); i++) {
    napi_value side;
    napi_create_int64(env, sides[i], &side);
    napi_set_element(env, shape, static_cast<uint32_t>(i), side);
  }
  return shape;
}

// What an operation takes, found in the graph before it is described: a description can't be broken off.
struct Described {
  std::vector<std::pair<bool, std::vector<TF_Output>>> inputs;  // whether it is a list, and what is in it
  std::vector<TF_Operation*> before;
  std::vector<std::pair<std::string, std::pair<void*, size_t>>> attributes;
};

// Gives the name of what is missing, or nothing.
std::string FindInput(napi_env env, TF_Graph* graph, napi_value input, Described* found) {
  bool is_list = false;
  uint32_t length = 1;
  napi_is_array(env, input, &is_list);
  if (is_list) napi_get_array_length(env, input, &length);
  std::vector<TF_Output> places(length);
  for (uint32_t i = 0; i < length; i++) {
    std::string name;
    if (!StringOf(env, is_list ? Element(env, input, i) : input, &name)) return "a name";
    if (name[0] == '^' && !is_list) {
      TF_Operation* operation = TF_GraphOperationByName(graph, name.c_str() + 1);
      if (!operation) return name;
      found->before.push_back(operation);
      return "";
    }
    if (!FindOutput(graph, name, &places[i])) return name;
  }
  found->inputs.emplace_back(is_list, std::move(places));
  return "";
}

// { dtype, shape } of each output.
napi_value InferredOf(napi_env env, TF_Graph* graph, TF_Operation* operation) {
  napi_value outputs;
  const int count = TF_OperationNumOutputs(operation);
  napi_create_array_with_length(env, static_cast<size_t>(count), &outputs);
  const Status status = NewStatus();
  for (int i = 0; i < count; i++) {
    const TF_Output place{operation, i};
    const int rank = TF_GraphGetTensorNumDims(graph, place, status.get());
    std::vector<int64_t> sides(rank < 0 ? 0 : static_cast<size_t>(rank));
    if (rank > 0) TF_GraphGetTensorShape(graph, place, sides.data(), rank, status.get());
    bool known = rank >= 0;
    for (const int64_t side : sides) known = known && side >= 0;
    napi_value output, dtype, shape;
    napi_create_object(env, &output);
    napi_create_int32(env, TF_OperationOutputType(place), &dtype);
    if (known) {
      shape = ShapeOf(env, sides);
    } else {
      napi_get_null(env, &shape);
    }
    napi_set_named_property(env, output, "dtype", dtype);
    napi_set_named_property(env, output, "shape", shape);
    napi_set_element(env, outputs, static_cast<uint32_t>(i), output);
  }
  return outputs;
}

napi_value Add(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value args[5];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Loaded* loaded = count < 5 ? nullptr : LoadedOf(env, args[0]);
  if (!loaded || loaded->running > 0) return Throw(env, "expected a graph that is loaded and not running");
  std::string name, operation;
  uint32_t inputs = 0, attributes = 0;
  if (!StringOf(env, args[1], &name) || !StringOf(env, args[2], &operation) ||
      napi_get_array_length(env, args[3], &inputs) != napi_ok ||
      napi_get_array_length(env, args[4], &attributes) != napi_ok)
    return Throw(env, "expected a name, an operation, its inputs and its attributes");
  Described described;
  for (uint32_t i = 0; i < inputs; i++) {
    const std::string missing = FindInput(env, loaded->graph, Element(env, args[3], i), &described);
    if (!missing.empty()) return Throw(env, "expected inputs of " + name + " from its graph, got " + missing);
  }
  described.attributes.resize(attributes);
  for (uint32_t i = 0; i < attributes; i++) {
    auto& [key, value] = described.attributes[i];
    napi_value pair = Element(env, args[4], i);
    if (!StringOf(env, Element(env, pair, 0), &key) || !BytesOf(env, Element(env, pair, 1), &value.first, &value.second))
      return Throw(env, "expected attributes of " + name + " to have a name and bytes");
  }
  // The first of them that fails says why.
  const Status status = NewStatus(), finished = NewStatus();
  TF_OperationDescription* description = TF_NewOperation(loaded->graph, operation.c_str(), name.c_str());
  for (const auto& [is_list, places] : described.inputs) {
    if (is_list) {
      TF_AddInputList(description, places.data(), static_cast<int>(places.size()));
    } else {
      TF_AddInput(description, places[0]);
    }
  }
  for (TF_Operation* before : described.before) TF_AddControlInput(description, before);
  for (const auto& [key, value] : described.attributes)
    if (TF_GetCode(status.get()) == TF_OK)
      TF_SetAttrValueProto(description, key.c_str(), value.first, value.second, status.get());
  TF_Operation* added = TF_FinishOperation(description, finished.get());
  for (const Status* each : {&status, &finished})
    if (TF_GetCode(each->get()) != TF_OK)
      return Throw(env, operation + " can't be part of the graph: " + TF_Message(each->get()));
  return InferredOf(env, loaded->graph, added);
}

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

napi_value OutputOf(napi_env env, TF_Tensor* tensor) {
  napi_value output, dtype, buffer, values;
  std::vector<int64_t> sides(static_cast<size_t>(TF_NumDims(tensor)));
  for (size_t i = 0; i < sides.size(); i++) sides[i] = TF_Dim(tensor, static_cast<int>(i));
  const size_t bytes = TF_TensorByteSize(tensor);
  void* data = nullptr;
  if (napi_create_arraybuffer(env, bytes, &data, &buffer) != napi_ok || (bytes > 0 && !data)) return nullptr;
  if (bytes > 0) std::memcpy(data, TF_TensorData(tensor), bytes);
  const TF_DataType type = TF_TensorType(tensor);
  const napi_typedarray_type array =
      type == TF_FLOAT ? napi_float32_array : (type == TF_INT32 ? napi_int32_array : napi_uint8_array);
  napi_create_typedarray(env, array, bytes / WidthOf(array), buffer, 0, &values);
  napi_create_int32(env, type, &dtype);
  napi_create_object(env, &output);
  napi_set_named_property(env, output, "dtype", dtype);
  napi_set_named_property(env, output, "shape", ShapeOf(env, sides));
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

napi_value Init(napi_env env, napi_value exports) {
  const napi_property_descriptor members[] = {
      {"create", nullptr, Create, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"add", nullptr, Add, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"run", nullptr, RunGraph, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"close", nullptr, Close, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"allocatable", nullptr, Allocatable, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_define_properties(env, exports, sizeof(members) / sizeof(members[0]), members);
  return exports;
}

}  // namespace

NAPI_MODULE(loom_session, Init)
