import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { run } from '../../test/support/command.ts'

const npmCli = join(dirname(createRequire(import.meta.url).resolve('npm/package.json')), 'bin/npm-cli.js')

/** The platform's own npm, in a folder. Rejects with what it said when it fails. */
export async function npm(folder: string, args: string[]): Promise<void> {
  const { code, stderr } = await run(process.execPath, [npmCli, ...args, '--prefix', folder], {
    cwd: folder,
    env: process.env,
  })
  if (code !== 0) throw new Error(`npm ${args.join(' ')} ended with ${code}: ${stderr}`)
}
