#include "engine/thread_pool.h"

#include <sched.h>

#include <algorithm>

namespace sterna {
namespace {

// An op cheaper than this, in OpDriver::cost units, runs faster on one thread than handed over.
constexpr int64_t kMinimumSharedCost = 8000;
// Chunks for each thread: enough that one that starts late or is preempted does not hold up the others.
constexpr int64_t kChunksPerThread = 2;
constexpr int kSpinsBeforeYield = 2000;  // about 50 us of pause instructions
constexpr int kSpinsBeforePark = 2100;

// word_: generation in bits 42..63, op in bits 24..41, claimed chunks in bits 0..23.
constexpr int kOpShift = 24, kGenerationShift = 42;
constexpr int64_t kMaxChunks = kOpShift;
static_assert(kMaxOps <= 1u << (kGenerationShift - kOpShift), "an op's index must fit its field");

uint32_t OpOf(uint64_t word) { return static_cast<uint32_t>((word >> kOpShift) & (kMaxOps - 1)); }
bool Claimed(uint64_t word, int64_t chunk) { return ((word >> chunk) & 1) != 0; }

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");  // `yield` is a no-op on cores without SMT
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads, const std::vector<DriverPtr>* ops, const std::vector<uint8_t*>* scratch) : threads_(threads), ops_(ops), scratch_(scratch) {
  for (const DriverPtr& op : *ops) {
    const int64_t wanted = op->cost() < kMinimumSharedCost ? 1 : std::min<int64_t>(threads * kChunksPerThread, kMaxChunks);
    const int64_t granules = (op->units() + op->granularity() - 1) / op->granularity();
    const int64_t each = (granules + wanted - 1) / wanted * op->granularity();
    chunk_units_.push_back(each);
    chunks_.push_back((op->units() + each - 1) / each);
  }
  workers_.reserve(static_cast<size_t>(threads));
  for (int i = 1; i < threads; ++i) {
    workers_.push_back({this, i, {}});
    if (pthread_create(&workers_.back().handle, nullptr, &ThreadPool::Main, &workers_.back()) == 0) continue;
    workers_.pop_back();
    break;
  }
}

void* ThreadPool::Main(void* argument) {
  const Worker* worker = static_cast<const Worker*>(argument);
  worker->pool->Work(worker->thread);
  return nullptr;
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  for (const Worker& worker : workers_) pthread_join(worker.handle, nullptr);
}

void ThreadPool::BeginInference() { active_.store(true); }
void ThreadPool::EndInference() { active_.store(false); }

void ThreadPool::RunOp(uint32_t index) {
  if (chunks_[index] == 1) {
    (*ops_)[index]->Run(0, (*ops_)[index]->units(), (*scratch_)[0]);
    return;
  }
  const uint64_t generation = (word_.load(std::memory_order_relaxed) >> kGenerationShift) + 1;
  done_.store(0, std::memory_order_relaxed);
  word_.store(generation << kGenerationShift | uint64_t{index} << kOpShift);  // seq_cst: ordered before the look at parked_
  if (parked_.load() > 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  RunChunks(0);
  for (int spins = 0; done_.load(std::memory_order_acquire) < chunks_[index]; ++spins) {
    if (spins < kSpinsBeforeYield) Pause();
    else sched_yield();
  }
}

// Claims a chunk of the op that runs now, the thread's own ones first. On success *index and *chunk are the caller's.
bool ThreadPool::ClaimChunk(int thread, uint32_t* index, int64_t* chunk) {
  uint64_t word = word_.load(std::memory_order_acquire);
  for (;;) {
    *index = OpOf(word);
    const int64_t chunks = chunks_[*index], first = chunks * thread / threads_;
    int64_t i = 0;
    while (i < chunks && Claimed(word, (first + i) % chunks)) ++i;
    if (i == chunks) return false;
    *chunk = (first + i) % chunks;
    if (word_.compare_exchange_weak(word, word | uint64_t{1} << *chunk, std::memory_order_acq_rel, std::memory_order_acquire)) return true;
  }
}

void ThreadPool::RunChunks(int thread) {
  uint32_t index;
  int64_t chunk;
  while (ClaimChunk(thread, &index, &chunk)) {
    OpDriver& op = *(*ops_)[index];
    const int64_t begin = chunk * chunk_units_[index];
    op.Run(begin, std::min(begin + chunk_units_[index], op.units()), (*scratch_)[static_cast<size_t>(thread)]);
    done_.fetch_add(1, std::memory_order_release);
  }
}

void ThreadPool::Work(int thread) {
  uint64_t seen = word_.load();
  int spins = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    const uint64_t now = word_.load(std::memory_order_acquire);
    if (now >> kGenerationShift != seen >> kGenerationShift) {
      RunChunks(thread);
      seen = now;
      spins = 0;
      continue;
    }
    if (++spins < kSpinsBeforeYield) {
      Pause();
    } else if (active_.load(std::memory_order_relaxed) || spins < kSpinsBeforePark) {
      sched_yield();
    } else {
      Park(seen);
      spins = 0;
    }
  }
}

void ThreadPool::Park(uint64_t seen) {
  std::unique_lock<std::mutex> lock(mutex_);
  parked_.fetch_add(1);  // seq_cst, before the look at word_: either the caller sees us parked, or we see its op
  wake_.wait(lock, [&] { return stop_.load() || word_.load() >> kGenerationShift != seen >> kGenerationShift; });
  parked_.fetch_sub(1);
}

}  // namespace sterna
