#include "engine/thread_pool.h"

#include <sched.h>
#include <time.h>

#include <algorithm>

#include "engine/core_budget.h"

namespace sterna {
namespace {

// An op cheaper than this, in OpDriver::cost units, runs faster on one thread than handed over.
constexpr int64_t kMinimumSharedCost = 8000;
// Chunks of a share: enough that others can take over from a thread that starts late or is preempted.
constexpr int64_t kChunksPerShare = 2;

constexpr int kSpinsBeforeYield = 2000;        // about 50 us of pause instructions
constexpr int kSpinsBeforePark = 2100;         // between inferences
constexpr int kSpinsBeforeParkInside = 4000;   // within one: about a millisecond of an op that is not shared
constexpr int kSpinsBeforeSleep = 2500;        // waiting for a worker that was preempted
constexpr timespec kSleep{0, 50'000};

// All words: generation in bits 29..63; word_: threads in bits 22..28, op in bits 0..21; shares: chunks in bits 0..28.
constexpr int kThreadsShift = 22, kGenerationShift = 29;
constexpr uint64_t kOneGeneration = uint64_t{1} << kGenerationShift, kBelowGeneration = kOneGeneration - 1;
constexpr uint64_t kNoOp = (uint64_t{1} << kThreadsShift) - 1;  // only wakes
static_assert(3 * kMaxOps + kMaxTensors <= kNoOp, "the index of an op, of its part, of an input's copy or of strips must fit its field");

uint64_t GenerationOf(uint64_t word) { return word & ~kBelowGeneration; }
uint32_t OpOf(uint64_t word) { return static_cast<uint32_t>(word & kNoOp); }
int ThreadsOf(uint64_t word) { return static_cast<int>((word & kBelowGeneration) >> kThreadsShift); }
// Generations wrap around.
bool IsNewer(uint64_t a, uint64_t b) { return static_cast<int64_t>(GenerationOf(a) - GenerationOf(b)) > 0; }

// A share of an op: granules [begin, end), taken in `chunks` pieces that differ by one granule at most.
struct ShareRange {
  int64_t begin, end, chunks;

  ShareRange(const OpDriver& op, int share, int threads) {
    const int64_t granules = (op.units() + op.granularity() - 1) / op.granularity();
    begin = granules * share / threads, end = granules * (share + 1) / threads;
    chunks = std::min(kChunksPerShare, end - begin);
  }
  int64_t FirstUnit(const OpDriver& op, int64_t chunk) const {
    return std::min((begin + (end - begin) * chunk / chunks) * op.granularity(), op.units());
  }
};

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");  // `yield` is a no-op on cores without SMT
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads, const std::vector<int>& cpus, const std::vector<DriverPtr>* ops, const std::vector<uint8_t*>* scratch)
    : cpus_(cpus), ops_(ops), scratch_(scratch), shares_(static_cast<size_t>(threads)) {
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

// Wakes the workers while the caller is still at what comes before the first op that is shared.
void ThreadPool::BeginInference(int threads) {
  if (threads == 1) return;
  active_.store(true);
  Publish(kNoOp, threads);
}
void ThreadPool::EndInference() { active_.store(false); }

void ThreadPool::Publish(uint64_t op, int threads) {
  const uint64_t generation = GenerationOf(word_.load(std::memory_order_relaxed)) + kOneGeneration;
  word_.store(generation | static_cast<uint64_t>(threads) << kThreadsShift | op);  // seq_cst: ordered before the look at parked_
  if ((parked_.load() & ((uint64_t{2} << (threads - 1)) - 1)) == 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  wake_.notify_all();
}

void ThreadPool::RunOp(uint32_t index, int threads) {
  OpDriver& op = *(*ops_)[index];
  if (threads == 1 || op.cost() < kMinimumSharedCost || op.units() <= op.granularity()) {
    op.RunInMode(0, op.units(), (*scratch_)[0]);
    return;
  }
  Publish(index, threads);
  const uint64_t word = word_.load(std::memory_order_relaxed);
  RunChunks(0, word);
  for (int spins = 0; !Done(word); ++spins) {
    if (spins < kSpinsBeforeYield) Pause();
    else if (spins < kSpinsBeforeSleep) sched_yield();
    else nanosleep(&kSleep, nullptr);
  }
}

// Runs chunks of the op of `word`, the thread's own ones first, until all are claimed.
void ThreadPool::RunChunks(int thread, uint64_t word) {
  OpDriver& op = *(*ops_)[OpOf(word)];
  const int threads = ThreadsOf(word);
  uint64_t done = GenerationOf(word);
  for (int i = 0; i < threads; ++i) {
    const int share = (thread + i) % threads;
    const ShareRange range(op, share, threads);
    for (int64_t chunk; Claim(share, word, range.chunks, &chunk);) {
      op.RunInMode(range.FirstUnit(op, chunk), range.FirstUnit(op, chunk + 1), (*scratch_)[static_cast<size_t>(thread)]);
      shares_[static_cast<size_t>(thread)].done.store(++done, std::memory_order_release);
    }
  }
}

// Claims the next chunk of a share. On success *chunk is the caller's. What orders memory is word_ and the counts of chunks done.
bool ThreadPool::Claim(int share, uint64_t word, int64_t chunks, int64_t* chunk) {
  std::atomic<uint64_t>& claimed = shares_[static_cast<size_t>(share)].claimed;
  const uint64_t generation = GenerationOf(word);
  for (uint64_t seen = claimed.load(std::memory_order_relaxed);;) {
    if (IsNewer(seen, word)) return false;
    const uint64_t next = GenerationOf(seen) == generation ? seen : generation;
    *chunk = static_cast<int64_t>(next - generation);
    if (*chunk == chunks) return false;
    if (claimed.compare_exchange_weak(seen, next + 1, std::memory_order_relaxed)) return true;
  }
}

bool ThreadPool::Done(uint64_t word) const {
  const OpDriver& op = *(*ops_)[OpOf(word)];
  const int threads = ThreadsOf(word);
  int64_t missing = 0;
  for (int i = 0; i < threads; ++i) {
    missing += ShareRange(op, i, threads).chunks;
    const uint64_t done = shares_[static_cast<size_t>(i)].done.load(std::memory_order_acquire);
    if (GenerationOf(done) == GenerationOf(word)) missing -= static_cast<int64_t>(done & kBelowGeneration);
  }
  return missing == 0;
}

void ThreadPool::Work(int thread) {
  StayOn(cpus_);
  uint64_t seen = word_.load();
  int spins = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    const uint64_t now = word_.load(std::memory_order_acquire);
    if (now != seen && thread < ThreadsOf(now)) {
      if (OpOf(now) != kNoOp) RunChunks(thread, now);
      seen = now;
      spins = 0;
      continue;
    }
    if (++spins < kSpinsBeforeYield) {
      Pause();
    } else if (now == seen && spins < (active_.load(std::memory_order_relaxed) ? kSpinsBeforeParkInside : kSpinsBeforePark)) {
      sched_yield();
    } else {
      Park(thread, seen);
      spins = 0;
    }
  }
}

void ThreadPool::Park(int thread, uint64_t seen) {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t bit = uint64_t{1} << thread;
  parked_.fetch_or(bit);  // seq_cst, before the look at word_: either the caller sees us parked, or we see its op
  wake_.wait(lock, [&] {
    const uint64_t now = word_.load();
    return stop_.load() || (now != seen && thread < ThreadsOf(now));
  });
  parked_.fetch_and(~bit);
}

}  // namespace sterna
