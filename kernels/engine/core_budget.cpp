#include "engine/core_budget.h"

#include <sched.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

namespace sterna {
namespace {

// Cores that this process may use; 1 when the system does not say.
int UsableCores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? std::max(CPU_COUNT(&set), 1) : 1;
}

}  // namespace

bool StayOn(const std::vector<int>& cpus) {
  if (cpus.empty()) return true;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof(set), &set) == 0;
}

CoreBudget& CoreBudget::Of(const std::vector<int>& cpus) {
  static std::mutex mutex;
  static auto* budgets = new std::map<std::vector<int>, std::unique_ptr<CoreBudget>>;  // never freed: programs may outlive static objects
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<CoreBudget>& budget = (*budgets)[cpus];
  if (budget == nullptr) budget = std::make_unique<CoreBudget>(cpus.empty() ? UsableCores() : static_cast<int>(cpus.size()));
  return *budget;
}

int CoreBudget::Enter(int wanted) {
  int busy = busy_.load(std::memory_order_relaxed), helpers;
  do helpers = std::clamp(cores_ - busy - 1, 0, wanted);
  while (!busy_.compare_exchange_weak(busy, busy + 1 + helpers, std::memory_order_relaxed));
  return helpers;
}

int CoreBudget::Keep(int helpers) {
  int busy = busy_.load(std::memory_order_relaxed);
  while (helpers > 0 && busy > cores_) {
    if (busy_.compare_exchange_weak(busy, busy - 1, std::memory_order_relaxed)) return helpers - 1;
  }
  return helpers;
}

}  // namespace sterna
