// The addon's entry point. It may be loaded once in each worker thread: all state hangs on the environment.
#include "node/errors.h"
#include "node/register.h"

namespace sterna_node {
namespace {

Napi::Object Init(Napi::Env, Napi::Object exports) {
  RegisterErrors(exports);
  RegisterCpu(exports);
  RegisterProgram(exports);
  RegisterSystemd(exports);
  RegisterMemory(exports);
  RegisterProgramPages(exports);
  RegisterProcess(exports);
  RegisterStrips(exports);
  RegisterImage(exports);
  RegisterNearest(exports);
  RegisterAudio(exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(sterna, Init)

}  // namespace sterna_node
