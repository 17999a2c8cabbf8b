// Each node/<x>.cpp adds its functions to the addon's exports through one function declared here; addon.cpp calls them all.
#pragma once
#include <napi.h>

namespace sterna_node {

template <typename Result>
void SetFunction(Napi::Object object, const char* name, Result (*function)(const Napi::CallbackInfo&)) {
  object.Set(name, Napi::Function::New(object.Env(), function, name));
}

void RegisterErrors(Napi::Object exports);   // setErrorFactory(factory)
void RegisterCpu(Napi::Object exports);      // describeCpu(), measurePeaks(isa)
void RegisterProgram(Napi::Object exports);  // loadProgram, loadProgramFile, packProgram, checksumOf
void RegisterSystemd(Napi::Object exports);  // notifySystemd(message)
void RegisterMemory(Napi::Object exports);   // frugalMemory(), copyBytes(target, source), allFinite(data)
void RegisterProgramPages(Napi::Object exports);  // releaseProgramPages()
void RegisterProcess(Napi::Object exports);  // dieWithParent(), openPipe(bytes)
void RegisterStrips(Napi::Object exports);   // stripBytes(shapes)
void RegisterImage(Napi::Object exports);     // image: {resize, warp, ...}
void RegisterNearest(Napi::Object exports);  // nearestCandidates(...)
void RegisterAudio(Napi::Object exports);     // audio: {open, push, ...}

}  // namespace sterna_node
