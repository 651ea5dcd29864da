// A terminal's Ctrl-C may arrive twice: from the terminal itself and handed on by npm.
const sameKeystrokeMs = 300

/** Resolves at the first SIGINT, SIGTERM or SIGHUP, after `first`; every later one calls `again`. */
export function onEndSignal({ first, again }: { first: () => void; again: () => void }): Promise<null> {
  return new Promise((resolve) => {
    let firstAt: number | null = null
    const hear = () => {
      const now = performance.now()
      if (firstAt === null) {
        firstAt = now
        first()
        resolve(null)
      } else if (now - firstAt > sameKeystrokeMs) again()
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, hear)
  })
}
