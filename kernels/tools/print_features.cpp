// Prints the features that CPU and operating system offer, separated by ';': cmake/native_units.cmake asks for them before anything is built.
#include <cstdio>

#include "isa/arm/cpu.cpp"
#include "isa/cpu_other.cpp"
#include "isa/x86/cpu.cpp"

int main() {
  for (const std::string& feature : sterna::QueryCpu().features) std::printf("%s;", feature.c_str());
}
