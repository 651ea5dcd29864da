import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from './command.ts'
import { requireProgram } from './machine.ts'
import { plainEnv } from './platform.ts'

// It has one state for the process, as add-ons had before there were worker threads, and keeps it to the main thread. The struct is
// node_module of Node's src/node.h.
const source = `
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>
struct node_module {
  int version; unsigned flags; void *handle; const char *file;
  void (*start)(void *exports, void *module, void *context); void *start_in_context;
  const char *name; void *data; void *next;
};
extern void node_module_register(void *);
static void start(void *exports, void *module, void *context) {}
static struct node_module self = { NODE_MODULES, 0, 0, "legacy.c", start, 0, "legacy", 0, 0 };
static int is_main_thread(void) {
#ifdef __APPLE__
  return pthread_main_np();
#else
  return syscall(SYS_gettid) == getpid();
#endif
}
__attribute__((constructor)) static void load(void) { if (is_main_thread()) node_module_register(&self); }
`

/** A native add-on for this Node that the main thread of a process can load and a worker thread cannot. Needs a C compiler. */
export async function legacyAddOn(): Promise<Buffer> {
  const compiler = await requireProgram('cc', ['gcc', 'libc6-dev'])
  const folder = await mkdtemp(join(tmpdir(), 'add-on-'))
  try {
    await writeFile(join(folder, 'legacy.c'), source)
    const flags = ['-shared', '-fPIC', ...(process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : [])]
    const args = [...flags, `-DNODE_MODULES=${process.versions.modules}`, '-o', 'legacy.node', 'legacy.c']
    const { code, stderr } = await run(compiler, args, { cwd: folder, env: plainEnv() })
    if (code !== 0) throw new Error(`the add-on was not compiled: ${stderr}`)
    return await readFile(join(folder, 'legacy.node'))
  } finally {
    await rm(folder, { recursive: true })
  }
}
