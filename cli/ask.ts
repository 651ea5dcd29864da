import { text } from 'node:stream/consumers'
import { usage } from './failure.ts'

/** All of standard input. */
export function readStdin(): Promise<string> {
  return text(process.stdin)
}

/** Asks a person; what is typed is shown. Without a terminal it is a usage error that names what to write `instead`. */
export async function ask(question: string, { instead }: { instead: string }): Promise<string> {
  if (!process.stdin.isTTY) throw usage(`there is nobody to ask whether that is meant; add ${instead}`)
  const { createInterface } = await import('node:readline/promises')
  const asking = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return await asking.question(question)
  } finally {
    asking.close()
  }
}

/** Asks a person for a secret; what is typed is not shown. */
export async function askSecret(question: string): Promise<string> {
  if (!process.stdin.isTTY) throw usage('there is nobody to ask for a token; hand it in with: --token -')
  const { createInterface } = await import('node:readline/promises')
  const { Writable } = await import('node:stream')
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const asking = createInterface({ input: process.stdin, output: nowhere, terminal: true })
  process.stderr.write(question)
  try {
    return await asking.question('')
  } finally {
    asking.close()
    process.stderr.write('\n')
  }
}
