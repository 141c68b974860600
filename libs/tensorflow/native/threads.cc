#include "threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <list>
#include <mutex>
#include <thread>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace loom {

namespace {

// While it lives, numbers too small to be normal are zeros, as in TensorFlow's own threads: else a result would depend
// on whose thread it is from.
class WithoutDenormals {
#if defined(__x86_64__)
 public:
  WithoutDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | ZEROS_OUT | ZEROS_IN); }
  ~WithoutDenormals() { _mm_setcsr(before_); }

 private:
  static constexpr unsigned ZEROS_OUT = 0x8000, ZEROS_IN = 0x0040;
  const unsigned before_;
#endif
};

// One call of InParallel. Lives on its caller's stack, until nobody holds it.
struct Job {
  int64_t count;
  const std::function<void(int64_t)>& task;
  std::atomic<int64_t> next{0};
  // Helpers at work on it. Guarded by the pool's mutex.
  int helpers = 0;

  void Work() {
    const WithoutDenormals zeros{};
    for (int64_t i = next++; i < count; i = next++) task(i);
  }
};

// Helpers sleep until there is a job, and while as many threads work as there may be: jobs of operations that run side
// by side have their callers.
class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; i++) std::thread([this] { Help(); }).detach();
  }

  void Run(int64_t count, const std::function<void(int64_t)>& task) {
    Job job{count, task};
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      jobs_.push_back(&job);
      working_++;
    }
    if (count > 1) changed_.notify_all();
    job.Work();
    std::unique_lock<std::mutex> lock(mutex_);
    jobs_.remove(&job);
    working_--;
    changed_.notify_all();
    changed_.wait(lock, [&] { return job.helpers == 0; });
  }

 private:
  Job* Waiting() {
    if (working_ >= threads_) return nullptr;
    for (Job* job : jobs_)
      if (job->next < job->count) return job;
    return nullptr;
  }

  void Help() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      changed_.wait(lock, [&] { return (job = Waiting()) != nullptr; });
      job->helpers++;
      working_++;
      lock.unlock();
      job->Work();
      lock.lock();
      job->helpers--;
      working_--;
      changed_.notify_all();
    }
  }

  const int threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Job*> jobs_;
  int working_ = 0;
};

}  // namespace

int Threads() {
  static const int threads = [] {
    const char* said = std::getenv("TF_NUM_INTRAOP_THREADS");
    const int number = said ? std::atoi(said) : 0;
    return number > 0 ? number : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }();
  return threads;
}

void InParallel(int64_t count, const std::function<void(int64_t)>& task) {
  // Never destroyed: helpers sleep in it while the process ends.
  static Pool& pool = *new Pool(Threads());
  pool.Run(count, task);
}

}  // namespace loom
