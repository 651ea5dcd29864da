import { test } from './support/atelier.ts'
import { linked } from './support/linked-app.ts'
import { openAndClose } from './support/preview-bulk.ts'

test.override('platformEnv', {
  ATELIER_OUTBOUND_ALLOW: '127.0.0.31/32,127.0.0.32/32',
  ATELIER_RECONCILE_SEC: '1',
  ATELIER_REPO_POLL_SEC: '3600',
})

test('20 pull requests: asleep they cost nothing, and closed nothing of them is left: rows, folders, processes, sockets, memory', async ({
  atelier,
}) => {
  const { forge, hook } = await linked(atelier, 'gitea', 'crowded')
  await atelier.cli(['previews', 'set', '--most', '500', '-a', 'crowded'])
  await openAndClose(atelier, { forge, hook }, { count: 20, atOnce: 10 })
})
