// Graphs that grow operation by operation, each with a session to run it in.

#include "graph.h"

#include <cstdlib>
#include <utility>

namespace loom {

bool Loaded::Close() {
  if (running > 0) return false;
  const Status status = NewStatus();
  if (session) TF_DeleteSession(session, status.get());
  if (graph) TF_DeleteGraph(graph);
  session = nullptr;
  graph = nullptr;
  return true;
}

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

std::vector<int64_t> SidesOf(const TF_Tensor* tensor) {
  std::vector<int64_t> sides(static_cast<size_t>(TF_NumDims(tensor)));
  for (size_t i = 0; i < sides.size(); i++) sides[i] = TF_Dim(tensor, static_cast<int>(i));
  return sides;
}

Loaded* LoadedOf(napi_env env, napi_value handle) {
  void* data = nullptr;
  if (napi_get_value_external(env, handle, &data) != napi_ok) return nullptr;
  auto* loaded = static_cast<Loaded*>(data);
  return loaded->session ? loaded : nullptr;
}

bool FindOutput(TF_Graph* graph, const std::string& name, TF_Output* found) {
  const size_t colon = name.rfind(':');
  found->index = colon == std::string::npos ? 0 : std::atoi(name.c_str() + colon + 1);
  found->oper = TF_GraphOperationByName(graph, name.substr(0, colon).c_str());
  return found->oper != nullptr && found->index < TF_OperationNumOutputs(found->oper);
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

napi_value Close(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value args[1];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Loaded* loaded = count < 1 ? nullptr : LoadedOf(env, args[0]);
  if (loaded && !loaded->Close()) return Throw(env, "expected a graph that is not running, it is");
  return nullptr;
}

namespace {

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

}  // namespace

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

}  // namespace loom
