// How many threads of all programs of the process compute at a time: no more than there are cores to run them.
//
// A thread that spins for a worker which has no core, or that takes one from another program's, makes both slower than one thread
// would be. So an inference asks for helpers when it begins, gets as many as cores are free, and gives one back when another
// program begins meanwhile. Its results are the same with any number.
#pragma once
#include <atomic>
#include <vector>

namespace sterna {

// Keeps the calling thread on these CPUs; empty: does nothing. False when the process may use none of them.
bool StayOn(const std::vector<int>& cpus);

class CoreBudget {
 public:
  explicit CoreBudget(int cores) : cores_(cores) {}

  // The process's budget for programs that run on these CPUs; empty: on any that the process may use. Programs on other sets that
  // have cores in common do not know of each other.
  static CoreBudget& Of(const std::vector<int>& cpus);

  // A calling thread, which computes in any case, begins and wants so many helpers. Returns how many it gets.
  int Enter(int wanted);
  // How many of its `helpers` an inference keeps: one less when more threads compute than there are cores.
  int Keep(int helpers);
  void Leave(int helpers) { busy_.fetch_sub(1 + helpers, std::memory_order_relaxed); }

 private:
  const int cores_;
  std::atomic<int> busy_{0};
};

}  // namespace sterna
