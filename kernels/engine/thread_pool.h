// Threads that share the units of one op at a time.
//
// An inference is a chain of some hundred ops of 5 us to 1 ms each, so handing an op over must cost well below a microsecond:
// workers spin between the ops of an inference, and park when it is over. A line that two cores write costs up to half a
// microsecond each time (cores of different clusters or dies), so that each line has one writer as a rule: the caller publishes an op in
// one word, each thread counts what it has claimed and what it has done in lines of its own, and others write there only to take
// over what a thread has not begun. A thread's share of every op is the same part of it, whose input it has mostly computed
// itself (its L2 cache holds it).
//
// An op ends when all its chunks are done, hence claimed, so a worker that wakes late finds nothing to claim in it: all words carry
// the op's generation, and a newer one in a share means that the op is over.
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
  // when the system refuses more: the results are the same. They stay on `cpus`, if there are any.
  ThreadPool(int threads, const std::vector<int>& cpus, const std::vector<DriverPtr>* ops, const std::vector<uint8_t*>* scratch);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Between these two calls the workers of the first `threads` threads, the caller being one, spin instead of parking.
  void BeginInference(int threads);
  void EndInference();
  // Runs all units of op `index` on the first `threads` threads. It ends before this returns; the calling thread takes part.
  void RunOp(uint32_t index, int threads);

 private:
  struct Worker {
    ThreadPool* pool;
    int thread;
    pthread_t handle;
  };
  // What one thread has claimed and done: generation and number of chunks.
  struct Share {
    alignas(64) std::atomic<uint64_t> claimed{0};
    alignas(64) std::atomic<uint64_t> done{0};
  };
  static void* Main(void* worker);
  void Work(int thread);
  void Publish(uint64_t op, int threads);
  void RunChunks(int thread, uint64_t word);
  bool Claim(int share, uint64_t word, int64_t chunks, int64_t* chunk);
  bool Done(uint64_t word) const;
  void Park(int thread, uint64_t seen);

  const std::vector<int> cpus_;
  const std::vector<DriverPtr>* ops_;
  const std::vector<uint8_t*>* scratch_;
  std::vector<Share> shares_;  // by thread

  alignas(64) std::atomic<uint64_t> word_{0};  // the op that runs, and who shares it
  alignas(64) std::atomic<bool> active_{false};
  std::atomic<uint64_t> parked_{0};  // bit i: thread i sleeps
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Worker> workers_;
};

}  // namespace sterna
