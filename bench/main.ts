import { cpus, release, totalmem } from 'node:os'
import { Atelier } from '../test/support/atelier.ts'
import { measureFlips } from './flip.ts'
import { format, type Row } from './measure.ts'
import { measureMemory } from './memory.ts'
import { measurePushes } from './push.ts'
import { measureStart } from './start.ts'

const wanted = process.argv.slice(2)
const isWanted = (name: string) => wanted.length === 0 || wanted.includes(name)
const show = (rows: Row[]) => {
  for (const row of rows) console.log(format(row))
}

console.log(
  `${cpus().length} × ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}; npm run bench ${wanted.join(' ')}`,
)
if (isWanted('start')) show(await measureStart())

const atelier = await Atelier.start()
try {
  if (isWanted('memory')) show(await measureMemory(atelier, 'idle, no app'))
  if (isWanted('push') || isWanted('flip')) show(await measurePushes(atelier))
  if (isWanted('memory')) show(await measureMemory(atelier, 'three live apps'))
  if (isWanted('flip')) show(await measureFlips(atelier))
} finally {
  await atelier.close()
}
