// dieWithParent(): a helper process must not outlive the one that started it, however that one ends.
#include "node/register.h"

#if defined(__linux__)
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>
#endif

namespace sterna_node {
namespace {

Napi::Value DieWithParent([[maybe_unused]] const Napi::CallbackInfo& info) {
#if defined(__linux__)
  const bool done = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
  return Napi::Boolean::New(info.Env(), done);
#else
  return Napi::Boolean::New(info.Env(), false);
#endif
}

}  // namespace

void RegisterProcess(Napi::Object exports) { SetFunction(exports, "dieWithParent", DieWithParent); }

}  // namespace sterna_node
