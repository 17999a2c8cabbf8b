# Every test/fuzz/*_fuzz.cpp is a libFuzzer executable: preset native-fuzz. libFuzzer comes with clang's compiler-rt.
file(GLOB STERNA_FUZZ_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/../test/fuzz/*_fuzz.cpp)
foreach(source ${STERNA_FUZZ_SOURCES})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE sterna_core)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endforeach()
