// The addon's entry point. It may be loaded once in each worker thread: all state hangs on the environment.
#include "node/errors.h"
#include "node/register.h"

namespace sterna_node {
namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  RegisterErrors(env, exports);
  RegisterCpu(env, exports);
  RegisterProgram(env, exports);
  RegisterSystemd(env, exports);
  RegisterMemory(env, exports);
  RegisterProcess(env, exports);
  RegisterStrips(env, exports);
  RegisterImage(env, exports);
  RegisterNearest(env, exports);
  RegisterAudio(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(sterna, Init)

}  // namespace sterna_node
