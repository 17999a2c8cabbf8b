// Threads that share the units of one op at a time.
//
// An inference is a chain of some hundred ops of 10 us to 1 ms each, so handing an op over must cost well below a microsecond:
// workers spin between the ops of an inference, and park when it is over. All hand-over goes through one 64-bit word, {generation,
// op, claimed chunks}: claiming a chunk is one compare-and-swap on it, so a worker that wakes late can only claim a chunk of the op that
// runs now, never of one that is over. A thread claims the same share of every op first, whose input it has mostly computed itself
// (its L2 cache holds it), and then what others have not begun.
#pragma once
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "engine/op.h"

namespace sterna {

class ThreadPool {
 public:
  // `ops` and `scratch` (one block for each thread, the caller's first) must outlive the pool. Starts threads - 1 threads, or fewer
  // when the system refuses more: the results are the same.
  ThreadPool(int threads, const std::vector<DriverPtr>* ops, const std::vector<uint8_t*>* scratch);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Between these two calls workers spin instead of parking.
  void BeginInference();
  void EndInference();
  // Runs all units of op `index`, which ends before this returns. The calling thread takes part.
  void RunOp(uint32_t index);

 private:
  struct Worker {
    ThreadPool* pool;
    int thread;
    pthread_t handle;
  };
  static void* Main(void* worker);
  void Work(int thread);
  void RunChunks(int thread);
  bool ClaimChunk(int thread, uint32_t* index, int64_t* chunk);
  void Park(uint64_t seen);

  int threads_;
  const std::vector<DriverPtr>* ops_;
  const std::vector<uint8_t*>* scratch_;
  std::vector<int64_t> chunks_;       // by op; 1: not worth sharing
  std::vector<int64_t> chunk_units_;  // by op

  alignas(64) std::atomic<uint64_t> word_{0};
  alignas(64) std::atomic<int64_t> done_{0};
  alignas(64) std::atomic<bool> active_{false};
  std::atomic<int> parked_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Worker> workers_;
};

}  // namespace sterna
