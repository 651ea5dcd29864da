import { registerHooks } from 'node:module'

// postgres 3.4.9 writes to a connection that has closed under a transaction, which ends the process (its issues 1154, 1208), and never again to one
// that closed with something unwritten (docs/decisions/0006). Its source is mended as it is loaded, until a release does it.
// [what it says, what it should, how often]
const mends: [string, string, number][] = [
  [
    'if (q.cancelled)\n      return\n',
    "if (q.cancelled)\n      return\n\n    if (!socket)\n      return queryError(q, Errors.connection('CONNECTION_CLOSED', options)), true\n",
    1,
  ],
  ['clearImmediate(nextWriteTimer)\n', 'clearImmediate(nextWriteTimer); chunk = nextWriteTimer = null\n', 3],
]

const hooks = registerHooks({
  load(url, context, next) {
    const loaded = next(url, context)
    return url.endsWith('/postgres/src/connection.js') ? { ...loaded, source: mend(String(loaded.source)) } : loaded
  },
})
const { default: postgres } = await import('postgres')
hooks.deregister()

export { postgres }

function mend(source: string): string {
  return mends.reduce((text, [broken, whole, times]) => {
    const parts = text.split(broken)
    if (parts.length !== times + 1)
      throw new Error(`this release of postgres is not the one that is mended here: ${broken}`)
    return parts.join(whole)
  }, source)
}
