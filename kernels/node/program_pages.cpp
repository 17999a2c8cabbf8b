// releaseProgramPages(): takes the pages of programs and libraries out of this process that it no longer uses.
#include <algorithm>
#include <utility>
#include <vector>

#include "node/deferred.h"
#include "node/register.h"

#if defined(__linux__)
#include <cinttypes>
#include <cstdio>
#include <sys/mman.h>
#endif

namespace sterna_node {
namespace {

#if defined(__linux__)

using File = std::pair<unsigned, unsigned long>;  // device and inode; the inode is 0 for memory without a file

struct Mapping {
  std::uintptr_t begin, end;
  File file;
  bool constant, executable;
  std::size_t resident_kb = 0, changed_kb = 0;
};

/** The mappings of this process as proc_pid_smaps(5) lists them; none where the system does not. */
std::vector<Mapping> OwnMappings() {
  std::vector<Mapping> all;
  std::FILE* list = std::fopen("/proc/self/smaps", "re");
  if (list == nullptr) return all;
  char line[512];
  while (std::fgets(line, sizeof line, list) != nullptr) {
    std::uintptr_t begin, end;
    char access[5];
    unsigned major, minor;
    unsigned long inode;
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %x:%x %lu", &begin, &end, access, &major, &minor, &inode) == 6) {
      all.push_back({begin, end, {major << 20 | minor, inode}, access[1] == '-' && access[3] == 'p', access[2] == 'x'});
    } else if (!all.empty()) {
      std::sscanf(line, "Rss: %zu", &all.back().resident_kb);
      std::sscanf(line, "Anonymous: %zu", &all.back().changed_kb);
    }
  }
  std::fclose(list);
  return all;
}

/** Bytes that were resident. Pages that the process wrote to, as relocations do, exist nowhere else, so mappings with such pages stay. */
std::size_t ReleaseAll() {
  const std::vector<Mapping> all = OwnMappings();
  const auto is_program = [&](const File& file) {
    return std::any_of(all.begin(), all.end(), [&](const Mapping& each) { return each.executable && each.file == file; });
  };
  std::size_t released = 0;
  for (const Mapping& each : all) {
    if (each.file.second == 0 || !each.constant || each.changed_kb > 0 || each.resident_kb == 0 || !is_program(each.file)) continue;
    if (madvise(reinterpret_cast<void*>(each.begin), each.end - each.begin, MADV_DONTNEED) == 0) released += each.resident_kb * 1024;
  }
  return released;
}

#else

std::size_t ReleaseAll() { return 0; }

#endif

/** Beside the thread of JavaScript: the list of a large process takes the system ten milliseconds and more. */
class Release : public Napi::AsyncWorker {
 public:
  Release(Napi::Env env, Deferred done) : Napi::AsyncWorker(env), done_(done) {}
  void Execute() override { released_ = ReleaseAll(); }
  void OnOK() override { done_.Resolve(Napi::Number::New(Env(), static_cast<double>(released_))); }
  void OnError(const Napi::Error& error) override { done_.Reject(error.Value()); }

 private:
  Deferred done_;
  std::size_t released_ = 0;
};

Napi::Value ReleaseProgramPages(const Napi::CallbackInfo& info) {
  const Deferred done(info.Env());
  if (done.IsEmpty()) return {};
  (new Release(info.Env(), done))->Queue();  // deletes itself
  return done.Promise();
}

}  // namespace

void RegisterProgramPages(Napi::Object exports) { SetFunction(exports, "releaseProgramPages", ReleaseProgramPages); }

}  // namespace sterna_node
