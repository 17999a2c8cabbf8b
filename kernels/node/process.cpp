// dieWithParent(): a helper process must not outlive the one that started it, however that one ends. openPipe(bytes): a pipe
// for the output of a helper process, which is read straight to where it belongs.
#include <cerrno>
#include <cstring>
#include <string>

#include "node/register.h"

#if defined(__linux__)
#include <fcntl.h>
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

Napi::Value OpenPipe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
#if defined(__linux__)
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    Napi::Error::New(env, std::string("pipe2: ") + std::strerror(errno)).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  // The system limits what all pipes of a user take together (pipe(7)); a smaller pipe only needs more reads.
  (void)fcntl(ends[1], F_SETPIPE_SZ, info[0].ToNumber().Int32Value());
  Napi::Object pipe = Napi::Object::New(env);
  pipe.Set("readFd", ends[0]);
  pipe.Set("writeFd", ends[1]);
  return pipe;
#else
  return env.Null();
#endif
}

}  // namespace

void RegisterProcess(Napi::Object exports) {
  SetFunction(exports, "dieWithParent", DieWithParent);
  SetFunction(exports, "openPipe", OpenPipe);
}

}  // namespace sterna_node
