import { realpath } from 'node:fs/promises'
import { Client } from '../client.ts'
import { note, paint, print } from '../output.ts'
import { appNameOf } from './app-name.ts'
import { AppOutput } from './app-output.ts'
import { DevBuilds } from './dev-builds.ts'
import { DevFront } from './dev-front.ts'
import { DevPlatform } from './dev-platform.ts'
import { EndSignal } from './end-signal.ts'
import { FolderWatch } from './folder-watch.ts'
import { findOwnServer, runOwnServer } from './own-server.ts'
import { VariableFiles } from './variable-files.ts'

export type Wish = { port: number | null; build?: true; app?: string; fresh?: true }

/** `atelier dev`: serves the folder until Ctrl-C. Throws a Failure when it cannot begin. */
export async function develop(given: string, wish: Wish): Promise<void> {
  const folder = await realpath(given)
  const files = new VariableFiles(folder)
  const own = wish.build ? null : await findOwnServer(folder)
  if (own) return runOwnServer(own, { folder, variables: await files.read(), port: wish.port })

  await using cleanup = new AsyncDisposableStack()
  const end = cleanup.use(new EndSignal())
  const app = wish.app ?? (await appNameOf(folder))
  const front = cleanup.use(await DevFront.open(wish.port))
  print(`${paint('bold', app)} at ${paint('cyan', front.url)}  ${paint('dim', '(Ctrl-C ends it)')}`)
  const startedAt = performance.now()
  const platform = await end.before(DevPlatform.start(folder, { fresh: wish.fresh ?? false }))
  if (!platform) return
  cleanup.use(platform)
  end.onAgain(() => platform.hurry())
  const client = new Client(platform.address)
  const builds = await DevBuilds.open(client, { app, folder, files, front, startedAt })
  const output = new AppOutput(client, app)
  const watch = FolderWatch.start(folder, { onChange: (names) => builds.changed(names) })
  cleanup.defer(() => {
    watch.close()
    output.close()
    builds.close()
  })
  builds.changed([])
  const lost = platform.ended.then((why) => note(`atelier: the platform beneath has ended: ${why}`))
  await Promise.race([end.asked, lost])
  await front.close()
  note(paint('dim', 'ending', process.stderr))
}
