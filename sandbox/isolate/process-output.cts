// Loaded before an app that Node runs as a process: what it has written when it calls process.exit() is written. Node's pipes are
// asynchronous; of a burst of lines, all but 280 were lost.
for (const name of ['stdout', 'stderr'] as const) {
  const lazy = Object.getOwnPropertyDescriptor(process, name)
  if (!lazy?.get || !lazy.configurable) continue
  const get = () => {
    Object.defineProperty(process, name, lazy)
    const stream = process[name] as NodeJS.WriteStream & { _handle?: { setBlocking?(isBlocking: boolean): void } }
    // Of a pipe; files and terminals are written at once anyway.
    stream._handle?.setBlocking?.(true)
    return stream
  }
  Object.defineProperty(process, name, { ...lazy, get })
}
