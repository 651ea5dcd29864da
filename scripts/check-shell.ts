// No text becomes a command line: programs are started with a list of arguments. Fails with one line per place where a shell could come in.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { shellProblems } from './shell-rules.ts'

const root = join(import.meta.dirname, '..')
// Tests hold code of apps, which may do what it likes.
const files = globSync('{git-gateway,build-workers,registry,sandbox,proxy,cli,scripts}/**/*.{ts,mjs,js}', { cwd: root })
const problems = files
  .filter((file) => !file.endsWith('.test.ts') && !file.startsWith('scripts/shell-rules'))
  .flatMap((file) => shellProblems(file, readFileSync(join(root, file), 'utf8')))

for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
