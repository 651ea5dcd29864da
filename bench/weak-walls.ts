import { Atelier } from '../test/support/atelier.ts'
import { onMachine } from '../test/support/machine-state.ts'
import { benchApps } from './apps.ts'
import { type Row, repeat } from './measure.ts'
import { untilSeen } from './push.ts'

const programs = ['/usr/bin/bwrap', '/usr/bin/unshare', '/usr/bin/nsenter', '/usr/sbin/nft', '/usr/bin/apt-get']

/** The same pushes to two platforms by turns: one with all the walls of this machine, one whose machine has no program to make them with. */
export async function measureWallsOfPush(): Promise<Row[]> {
  await using walled = await Atelier.start()
  await using open = await Atelier.start({ before: onMachine({ without: programs }) })
  const rows: Row[] = []
  for (const app of await benchApps()) {
    const sides = await Promise.all(
      [walled, open].map(async (atelier) => {
        const repo = await atelier.clone(await atelier.createApp(app.name))
        await repo.commit({ ...app.files, ...app.saying('first') })
        await repo.push()
        return { atelier, repo, values: [] as number[] }
      }),
    )
    await repeat(7, async (index) => {
      for (const { atelier, repo, values } of sides) {
        const text = `version ${index} of 7`
        await repo.commit(app.saying(text))
        values.push(await untilSeen(repo.push('--push-option=canary=skip'), () => atelier.get(app.name, '/'), text))
      }
    })
    const [behind, bare] = sides.map(({ values }) => values)
    rows.push({
      what: `push through the full walls, ${app.name}`,
      values: behind ?? [],
      unit: 's',
      target: '≤ 0.15 s over none',
      rival: { what: 'without walls', values: bare ?? [] },
    })
  }
  return rows
}
