import { spawn } from 'node:child_process'

export type CommandResult = { code: number | null; stdout: string; stderr: string }
export type CommandOptions = {
  cwd?: string
  /** Complete: nothing is inherited. */
  env: NodeJS.ProcessEnv
  input?: string
  uid?: number
  gid?: number
  signal?: AbortSignal
}

/** Runs a program to its end, whatever its exit code, and keeps what it said. */
export function run(program: string, args: string[], { input, ...options }: CommandOptions): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] })
    const said = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        said[name] += text
      })
    }
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, ...said }))
    // A program that ends without reading its input is no failure of the test.
    child.stdin.once('error', () => child.stdin.destroy())
    child.stdin.end(input ?? '')
  })
}
