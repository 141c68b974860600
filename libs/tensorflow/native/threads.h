// Tasks on as many threads as TensorFlow's operations have.

#pragma once

#include <cstdint>
#include <functional>

namespace loom {

// How many threads that is.
int Threads();

// Calls task(0) … task(count - 1), the caller's thread among those that do, and returns when all are done. Which thread
// calls which is not said: a task's result may not depend on it.
void InParallel(int64_t count, const std::function<void(int64_t)>& task);

}  // namespace loom
