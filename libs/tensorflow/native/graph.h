// What the growing of a graph (graph.cc) and its runs (session.cc) share: the graph in its session, and values of
// JavaScript as values of C++.

#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"

namespace loom {

// A graph and the session it runs in; both null once it is closed.
struct Loaded {
  TF_Graph* graph = nullptr;
  TF_Session* session = nullptr;
  int running = 0;

  // False while a run is on its way.
  bool Close();
};

using Status = std::unique_ptr<TF_Status, decltype(&TF_DeleteStatus)>;
inline Status NewStatus() { return Status(TF_NewStatus(), TF_DeleteStatus); }

napi_value Throw(napi_env env, const std::string& message);
bool StringOf(napi_env env, napi_value value, std::string* text);
size_t WidthOf(napi_typedarray_type type);
bool BytesOf(napi_env env, napi_value value, void** data, size_t* bytes);
napi_value Element(napi_env env, napi_value array, uint32_t i);
napi_value ShapeOf(napi_env env, const std::vector<int64_t>& sides);
std::vector<int64_t> SidesOf(const TF_Tensor* tensor);
// Null where the handle is of none, or of a closed one.
Loaded* LoadedOf(napi_env env, napi_value handle);
// "operation:index", the index 0 where none is named. False where the graph has no such operation.
bool FindOutput(TF_Graph* graph, const std::string& name, TF_Output* found);

// The members `create`, `add` and `close` of the binding, as session.cc describes them.
napi_value Create(napi_env env, napi_callback_info info);
napi_value Add(napi_env env, napi_callback_info info);
napi_value Close(napi_env env, napi_callback_info info);

}  // namespace loom
