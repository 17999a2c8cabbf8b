// A plugin for qemu-user (7.2 or later, plugin interface version 1): prints how many instructions a program executed.
//
//   gcc -O2 -shared -fPIC -o count.so count_instructions.c && qemu-aarch64 -plugin ./count.so PROGRAM
//
// Debian does not ship qemu-plugin.h; what is needed of it is declared here.
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

typedef uint64_t PluginId;
struct qemu_plugin_tb;
typedef void (*OnTranslation)(PluginId id, struct qemu_plugin_tb* block);
typedef void (*OnExit)(PluginId id, void* data);
enum { kInlineAddU64 = 0 };
void qemu_plugin_register_vcpu_tb_trans_cb(PluginId id, OnTranslation callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* block, int operation, void* counter, uint64_t amount);
void qemu_plugin_register_atexit_cb(PluginId id, OnExit callback, void* data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t executed;

// A block of code that is left half way (by a fault) counts whole.
static void CountBlock(PluginId id, struct qemu_plugin_tb* block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, kInlineAddU64, &executed, qemu_plugin_tb_n_insns(block));
}

static void Print(PluginId id, void* data) {
  (void)id, (void)data;
  fprintf(stderr, "%" PRIu64 " instructions\n", executed);
}

__attribute__((visibility("default"))) int qemu_plugin_install(PluginId id, const void* info, int argc, char** argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, CountBlock);
  qemu_plugin_register_atexit_cb(id, Print, NULL);
  return 0;
}
