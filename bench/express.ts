import { join } from 'node:path'
import type { Atelier } from '../test/support/atelier.ts'
import { example } from '../test/support/example.ts'
import { writeFiles } from '../test/support/repo.ts'
import { compareWithRivals, deployed } from './compare.ts'
import type { Row } from './measure.ts'
import { nginxBefore } from './rivals/nginx.ts'
import { nodeProgram } from './rivals/node.ts'
import { npm } from './rivals/npm.ts'

/** The Express example, pushed, and the same files with the same lockfile installed by hand behind nginx. */
export async function measureExpress(atelier: Atelier): Promise<Row[]> {
  const files = await example('express')
  const target = await deployed(atelier, 'edge-express', files)
  const byHand = await atelier.directory()
  await writeFiles(byHand, files)
  await npm(byHand, ['ci', '--omit=dev', '--ignore-scripts'])
  const backend = nodeProgram(byHand, join(byHand, 'server.js'))
  const start = async () => nginxBefore('nginx → the same Express', await atelier.directory(), backend)
  return compareWithRivals('Express app through the whole edge', target, [{ start, target: '≥ 0.7 / 1.0' }])
}
