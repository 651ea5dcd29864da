import { Failure } from './failure.ts'
import { up } from './up/main.ts'

try {
  await up(process.argv.slice(3))
} catch (e) {
  if (!(e instanceof Failure)) throw e
  process.stderr.write(`atelier: ${e.message}\n`)
  process.exitCode = e.exitCode
}
