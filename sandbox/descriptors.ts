import { closeSync, readdirSync, readFileSync } from 'node:fs'
import { codeOf } from '../registry/errors.ts'

const closeOnExec = 0o2000000

/**
 * Closes what this process inherited and would hand on to every program it starts. Node marks the low descriptors close-on-exec
 * when it starts but stops at the first gap above 15, and all that it opens itself is marked, so what is left is nobody's here.
 */
export function closeStrayDescriptors(): void {
  if (isDone || process.platform !== 'linux') return
  isDone = true
  for (const fd of readdirSync('/proc/self/fd').map(Number)) {
    if (fd > 2 && (flagsOf(fd) & closeOnExec) === 0) closeSync(fd)
  }
}

let isDone = false

function flagsOf(fd: number): number {
  try {
    return Number.parseInt(/^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0', 8)
  } catch (thrown) {
    // The descriptor of the listing itself is closed by now.
    if (codeOf(thrown) === 'ENOENT') return closeOnExec
    throw thrown
  }
}
