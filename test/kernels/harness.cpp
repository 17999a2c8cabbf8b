#include "harness.h"

#include "sterna/registry.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

namespace sterna_test {
namespace {

struct Test {
  const char* name;
  TestFunction function;
};

constexpr int kShownFailures = 5;

std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

struct State {
  int failures = 0;
  std::string skip_reason;
  std::vector<std::string> ledger;
};

State& Current() {
  static State state;
  return state;
}

// Whether a name has one of the parts, if there are any, and none of those that begin with a minus.
bool IsWanted(const char* name, int count, const char* const* parts) {
  bool all = true, named = false;
  for (int i = 0; i < count; ++i) {
    if (parts[i][0] == '-' && std::strstr(name, parts[i] + 1) != nullptr) return false;
    if (parts[i][0] == '-') continue;
    all = false;
    named = named || std::strstr(name, parts[i]) != nullptr;
  }
  return all || named;
}

}  // namespace

Registration::Registration(const char* name, TestFunction function) { Tests().push_back({name, function}); }

void Fail(const char* file, int line, const std::string& message) {
  if (++Current().failures <= kShownFailures) std::printf("  %s:%d: %s\n", file, line, message.c_str());
}

void Skip(const std::string& reason) { Current().skip_reason = reason; }

void Ledger(const std::string& kernel, const std::string& state) {
  std::vector<std::string>& ledger = Current().ledger;
  const std::string line = kernel + ": " + state;
  if (std::find(ledger.begin(), ledger.end(), line) == ledger.end()) ledger.push_back(line);
}

// Every kernel of the table that no test has entered: the ledger must not leave out what nobody thought of.
void LedgerOfTheRest() {
  const auto note = [](const char* family, const char* isa, const void* kernel) {
    const std::string name = std::string(family) + "/" + isa;
    const std::vector<std::string>& ledger = Current().ledger;
    const bool known = std::any_of(ledger.begin(), ledger.end(), [&](const std::string& line) { return line.compare(0, name.size() + 1, name + ":") == 0; });
    if (kernel != nullptr && !known) Ledger(name, "not run: no test runs it");
  };
  for (size_t i = 1; i < sterna::kIsaRowCount; ++i) {  // row 0 is ref, which the others are compared with
    const sterna::IsaKernels& k = sterna::kIsaRows[i].kernels;
#define STERNA_NOTE(family, Kernel) note(#family, k.isa, k.family);
    STERNA_FAMILIES(STERNA_NOTE, STERNA_NOTE, STERNA_NOTE)
#undef STERNA_NOTE
  }
}

const char* HowItRuns() {
#ifdef STERNA_HOW_IT_RUNS
  return STERNA_HOW_IT_RUNS;
#else
  return std::getenv("STERNA_EMULATED") != nullptr ? "emulated" : "native";
#endif
}

size_t DamageStep() {
  if (const char* text = std::getenv("STERNA_DAMAGE_STEP")) return static_cast<size_t>(std::max(1, std::atoi(text)));
#if defined(__SANITIZE_ADDRESS__)
  return 13;
#else
  return std::strcmp(HowItRuns(), "native") == 0 ? 1 : 61;
#endif
}

// Mappings with guard pages that are free again, by their size: the system takes longer to make one than most tests with them.
std::map<size_t, std::vector<uint8_t*>>& FreeMappings() {
  static std::map<size_t, std::vector<uint8_t*>> mappings;
  return mappings;
}

// `bytes` between two pages that cannot be accessed.
uint8_t* MapGuarded(size_t bytes, size_t page) {
  uint8_t* map = static_cast<uint8_t*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (map == MAP_FAILED || mprotect(map, page, PROT_NONE) != 0 || mprotect(map + bytes - page, page, PROT_NONE) != 0) {
    std::perror("mmap");
    std::abort();
  }
  return map;
}

Guarded::Guarded(size_t bytes, size_t slack) : bytes_(bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  map_bytes_ = (bytes + slack + page - 1) / page * page + 2 * page;
  std::vector<uint8_t*>& free = FreeMappings()[map_bytes_];
  if (free.empty()) free.push_back(MapGuarded(map_bytes_, page));
  map_ = free.back();
  free.pop_back();
  data_ = map_ + map_bytes_ - page - bytes - slack;
  std::memset(data_, 0xa5, bytes + slack);
}

Guarded::~Guarded() { FreeMappings()[map_bytes_].push_back(map_); }

}  // namespace sterna_test

// Usage: sterna_kernel_tests [part of a test's name, or -part of those to leave out]...
int main(int argc, char** argv) {
  using namespace sterna_test;
  int passed = 0, failed = 0, skipped = 0;
  for (const Test& test : Tests()) {
    if (!IsWanted(test.name, argc - 1, argv + 1)) continue;
    Current().failures = 0;
    Current().skip_reason.clear();
    test.function();
    if (Current().failures > 0) {
      ++failed;
      std::printf("FAIL %s (%d failures)\n", test.name, Current().failures);
    } else if (!Current().skip_reason.empty()) {
      ++skipped;
      std::printf("skip %s: %s\n", test.name, Current().skip_reason.c_str());
    } else {
      ++passed;
      std::printf("ok   %s\n", test.name);
    }
    std::fflush(stdout);
  }
  if (argc == 1) LedgerOfTheRest();
  for (const std::string& line : Current().ledger) std::printf("ledger %s\n", line.c_str());
  std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return failed == 0 && passed > 0 ? 0 : 1;
}
