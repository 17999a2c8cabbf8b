// Each node/<x>.cpp adds its functions to the addon's exports through one function declared here; addon.cpp calls them all.
#pragma once
#include <napi.h>

namespace sterna_node {

void RegisterErrors(Napi::Env env, Napi::Object exports);   // setErrorFactory(factory)
void RegisterCpu(Napi::Env env, Napi::Object exports);      // describeCpu(), measurePeaks(isa)
void RegisterProgram(Napi::Env env, Napi::Object exports);  // loadProgram, loadProgramFile, packProgram, checksumOf
void RegisterSystemd(Napi::Env env, Napi::Object exports);  // notifySystemd(message)
void RegisterMemory(Napi::Env env, Napi::Object exports);   // frugalMemory()
void RegisterProcess(Napi::Env env, Napi::Object exports);  // dieWithParent()
void RegisterStrips(Napi::Env env, Napi::Object exports);   // stripBytes(shapes)
void RegisterImage(Napi::Env env, Napi::Object exports);
void RegisterNearest(Napi::Env env, Napi::Object exports);  // nearestCandidates(...)
void RegisterAudio(Napi::Env env, Napi::Object exports);

}  // namespace sterna_node
