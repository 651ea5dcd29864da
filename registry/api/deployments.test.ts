import { mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { zstdDecompressSync } from 'node:zlib'
import { create } from 'tar'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventsOf, finishDeployment, startControlPlane } from '../../test/support/control-plane.ts'
import { appendBuildLog } from '../build-logs.ts'
import { staticPathsKey } from '../bundle-store/keys.ts'
import { claimBuild } from '../claims.ts'
import { recordMigrations } from '../deploy-commands.ts'
import { findDeployment, moveDeployment } from '../deployments.ts'
import { deleteToken, listTokens } from '../tokens.ts'

const plane = await startControlPlane()
afterAll(() => plane.close())

let token: string
let app: string
beforeAll(async () => {
  token = await plane.token('deploy')
})
beforeEach(async () => {
  app = await plane.app()
})

async function archive(content = 'hello'): Promise<Buffer> {
  const folder = await mkdtemp(join(plane.home, 'app-'))
  await writeFile(join(folder, 'index.html'), content)
  return buffer(create({ cwd: folder, gzip: true }, ['.']))
}

async function upload(query: string, content?: string) {
  const answer = await plane.ask('POST', `deploy?${query}&follow=false`, { token, body: await archive(content) })
  return { answer, deployment: answer.json as { id: string; version: string; error: unknown } }
}

const newest = async () => {
  const { json } = await plane.ask('GET', `deploys?app=${app}&limit=1`, { token })
  return (json as { deployments: { id: string; state: string }[] }).deployments[0]
}

describe('deploying a folder', () => {
  test('stores its files as the source of a version named by the time, and wakes a worker', async () => {
    const { answer, deployment } = await upload(`app=${app}`)
    expect(answer).toMatchObject({ status: 202, json: { app_id: app, number: 1, state: 'queued', source: 'upload' } })
    expect(deployment.version).toMatch(/^\d{8}-\d{6}$/)
    expect(plane.woken).toContain(deployment.id)
    const row = await findDeployment(plane.sql, deployment.id)
    expect(row).toMatchObject({ sourceKey: `sources/${app}/${deployment.version}.tar.zst`, environment: 'production' })
    const source = await buffer(await plane.store.get(row?.sourceKey ?? ''))
    expect(zstdDecompressSync(source).toString()).toContain('hello')
  })

  test('is refused while production is locked, unless it lifts the lock', async () => {
    await plane.deployed(app, '1.0.0')
    await plane.ask('POST', 'lock', { token, json: { app_id: app, message: 'migrating' } })
    expect((await upload(`app=${app}&version=1.0.1`)).answer).toMatchObject({ json: { error: { code: 'APP_LOCKED' } } })
    expect((await upload(`app=${app}&version=1.0.2&unlock=true`)).answer.status).toBe(202)
    expect((await upload(`app=${app}&version=1.0.3`)).answer.status).toBe(202)
  })

  test('ten at once get ten versions, each with its own files', async () => {
    const made = await Promise.all(Array.from({ length: 10 }, (_, index) => upload(`app=${app}`, `content-${index}`)))
    const versions = made.map(({ deployment }) => deployment.version)
    expect(new Set(versions).size).toBe(10)
    for (const [index, version] of versions.entries()) {
      const source = await buffer(await plane.store.get(`sources/${app}/${version}.tar.zst`))
      expect(zstdDecompressSync(source).toString()).toContain(`content-${index}`)
    }
  })

  test('creates the app when it is missing and the token may', async () => {
    const name = `new-${app}`
    expect((await upload(`app=${name}`)).answer.status).toBe(202)
    const limited = await plane.token('deploy', app)
    const refused = await plane.ask('POST', `deploy?app=other-${app}`, { token: limited, body: await archive() })
    expect(refused).toMatchObject({ status: 404, json: { error: { code: 'APP_NOT_FOUND' } } })
    const nonsense = await plane.ask('POST', `deploy?app=bad-${app}`, { token, body: Buffer.from('nonsense') })
    expect(nonsense.status).toBe(400)
    expect((await plane.ask('GET', `apps/bad-${app}`, { token })).status).toBe(404)
    const both = await Promise.all([upload(`app=twice-${app}`), upload(`app=twice-${app}`)])
    expect(both.map(({ answer }) => answer.status)).toEqual([202, 202])
    const illegal = await upload('app=x-pr-1')
    expect(illegal.answer).toMatchObject({ status: 400, json: { error: { code: 'APP_NAME_ILLEGAL' } } })
  })

  test('a version name is given once', async () => {
    expect((await upload(`app=${app}&version=1.2.3`)).deployment.version).toBe('1.2.3')
    const again = await upload(`app=${app}&version=1.2.3`, 'other')
    expect(again.answer).toMatchObject({ status: 409, json: { error: { code: 'NAME_TAKEN' } } })
    const source = await buffer(await plane.store.get(`sources/${app}/1.2.3.tar.zst`))
    expect(zstdDecompressSync(source).toString()).toContain('hello')
  })

  test('the versions of a deleted app are free again for the next app of that name', async () => {
    await upload(`app=${app}&version=1.2.3`, 'of-the-first')
    await plane.ask('DELETE', `apps/${app}`, { token: await plane.token('admin') })
    expect((await upload(`app=${app}&version=1.2.3`, 'of-the-second')).answer.status).toBe(202)
    const source = await buffer(await plane.store.get(`sources/${app}/1.2.3.tar.zst`))
    expect(zstdDecompressSync(source).toString()).toContain('of-the-second')
  })

  test.each(['v17', '3f2a91c', 'latest', '../../evil', '1.2', '%00'])('%s cannot name a version', async (version) => {
    const { answer } = await upload(`app=${app}&version=${version}`)
    expect(answer.status).toBe(400)
  })

  test('to a branch it is a preview', async () => {
    const { answer } = await upload(`app=${app}&branch=pr/42`)
    expect(answer.json).toMatchObject({ environment: 'preview', url: `http://${app}-pr-42.apps.localhost:8080` })
  })

  test('what is no archive leaves neither a source nor a deployment', async () => {
    for (const body of [Buffer.from('nonsense'), Buffer.alloc(0), (await archive()).subarray(0, 60)]) {
      const answer = await plane.ask('POST', `deploy?app=${app}&version=2.0.0`, { token, body })
      expect(answer).toMatchObject({ status: 400, json: { error: { code: 'SOURCE_INVALID' } } })
    }
    expect(await newest()).toBeUndefined()
    expect(await plane.store.list(`sources/${app}/`)).toEqual([])
  })
})

describe('following', () => {
  test('streams the log as it is written, then the end', async () => {
    const response = await plane.stream('POST', `deploy?app=${app}`, { token, body: await archive() })
    const all = text(response)
    await expect.poll(newest).toMatchObject({ state: 'queued' })
    const { id } = (await newest()) ?? { id: '' }
    await appendBuildLog(plane.sql, id, ['-----> first', 'second'])
    await finishDeployment(plane.sql, plane.config, id)
    const events = eventsOf(await all)
    expect(response.headers['content-type']).toBe('application/x-ndjson')
    expect(events.map(({ type }) => type)).toEqual(['start', 'log', 'log', 'log', 'end'])
    expect(events[1]).toMatchObject({ seq: 1, text: '-----> first' })
    expect(events.at(-1)).toMatchObject({ ok: true, deployment: { id, state: 'live' } })
  })

  test('a failed build ends with its reason', async () => {
    const { deployment } = await upload(`app=${app}`)
    await claimBuild(plane.sql, deployment.id, 'w')
    const by = { by: 'w', reason: 'vite exited 1', errorCode: 'BUILD_FAILED' } as const
    await moveDeployment(plane.sql, deployment.id, { from: 'building', to: 'failed', ...by })
    const { text } = await plane.ask('GET', `deployments/${deployment.id}/logs?follow=true`, { token })
    expect(eventsOf(text).at(-1)).toMatchObject({
      type: 'end',
      ok: false,
      error: { code: 'BUILD_FAILED', message: 'vite exited 1' },
    })
  })

  test('goes on from any line, as lines of JSON or as server-sent events', async () => {
    const { id } = await plane.deployed(app, '1.0.0')
    await appendBuildLog(plane.sql, id, ['a', 'b', 'c'])
    const path = `deployments/${id}/logs`
    const whole = eventsOf((await plane.ask('GET', path, { token })).text)
    const after = Number(whole.at(-2)?.seq)
    expect(eventsOf((await plane.ask('GET', `${path}?after=${after}`, { token })).text)).toEqual(whole.slice(-1))

    const headers = { accept: 'text/event-stream', 'last-event-id': String(after) }
    const sse = await plane.ask('GET', `${path}?follow=true`, { token, headers })
    expect(sse.headers['content-type']).toBe('text/event-stream')
    expect(sse.text).toMatch(
      new RegExp(`^event: start\ndata: .*\n\nid: ${after + 1}\nevent: log\ndata: .*\n\nevent: end`),
    )
  })

  test('a reader who leaves ends nothing, and can come back', async () => {
    const leaving = new AbortController()
    const body = await archive()
    const response = await plane.stream('POST', `deploy?app=${app}`, { token, body, signal: leaving.signal })
    for await (const chunk of response) if (String(chunk).includes('start')) break
    leaving.abort()
    const { id } = (await newest()) ?? { id: '' }
    await finishDeployment(plane.sql, plane.config, id)
    const { text } = await plane.ask('GET', `deployments/${id}/logs?follow=true`, { token })
    expect(eventsOf(text).at(-1)).toMatchObject({ type: 'end', ok: true })
  })

  test('a token deleted meanwhile ends its streams within seconds', async () => {
    const secret = await plane.token('read', app)
    const { deployment } = await upload(`app=${app}`)
    const following = await plane.stream('GET', `deployments/${deployment.id}/logs?follow=true`, { token: secret })
    expect(following.statusCode).toBe(200)
    const mine = (await listTokens(plane.sql)).find(({ name }) => name === `read-${app}`)
    await deleteToken(plane.sql, mine?.id ?? '')
    expect(eventsOf(await text(following)).at(-1)).toMatchObject({ ok: false, error: { code: 'UNAUTHENTICATED' } })
  })
})

describe('going back', () => {
  const rollback = (version?: unknown) => plane.ask('POST', 'rollback', { token, json: { app_id: app, version } })

  test('answers with what is live now and what was', async () => {
    const [one, two] = [await plane.deployed(app, 'a'.repeat(40)), await plane.deployed(app, 'b'.repeat(40))]
    expect(await rollback()).toMatchObject({
      status: 200,
      json: {
        live: { id: one.id, state: 'live', url: `http://${app}.apps.localhost:8080` },
        previous: { id: two.id, state: 'rolled_back' },
      },
    })
    expect(await rollback('bbbbbbb')).toMatchObject({ json: { live: { id: two.id } } })
  })

  test('and forward again: the next rollback goes back once more', async () => {
    const one = await plane.deployed(app, '1.0.0')
    const two = await plane.deployed(app, '1.0.1')
    for (const expected of [one.id, two.id, one.id, two.id])
      expect(await rollback(expected === two.id ? '1.0.1' : undefined)).toMatchObject({
        json: { live: { id: expected } },
      })
  })

  test('leaves untouched how long the version took to go live at first', async () => {
    const one = await plane.deployed(app, '1.0.0')
    await plane.deployed(app, '1.0.1')
    await rollback()
    expect((await findDeployment(plane.sql, one.id))?.liveAt).toEqual(one.liveAt)
  })

  test.each([
    ['nothing live yet', async () => rollback(), 404, 'VERSION_NOT_FOUND', 'deploy it first'],
    ['an unknown commit', async () => rollback('ffffff0'), 404, 'VERSION_NOT_FOUND', 'atelier deploys'],
    ['no version at all', async () => rollback('latest'), 400, 'VERSION_ILLEGAL', 'is no version'],
    ['a number', async () => rollback(17), 400, 'REQUEST_INVALID', 'body.version'],
  ])('%s', async (what, ask, status, code, words) => {
    if (what !== 'nothing live yet') await plane.deployed(app, '1.0.0')
    const message = expect.stringContaining(words)
    expect(await ask()).toMatchObject({ status, json: { error: { code, message } } })
  })

  test('a version whose bundle is gone', async () => {
    const one = await plane.deployed(app, '1.0.0')
    await plane.deployed(app, '1.0.1')
    await plane.sql`update builds set pruned_at = now() where id in (select build_id from deployments where id = ${one.id})`
    expect(await rollback('1.0.0')).toMatchObject({ status: 410, json: { error: { code: 'VERSION_PRUNED' } } })
  })
})

describe('redeploying', () => {
  test('a version whose bundle is no longer kept is refused before anything is queued', async () => {
    await plane.deployed(app, '1.0.0')
    await plane.sql`update builds set pruned_at = now() where app_id = ${app}`
    const answer = await plane.ask('POST', 'redeploy', { token, json: { app_id: app, follow: false } })
    expect(answer).toMatchObject({ status: 410, json: { error: { code: 'VERSION_PRUNED' } } })
  })

  test('a version whose source is no longer kept is not built again, and its name is not given to another', async () => {
    const { deployment } = await upload(`app=${app}&version=1.0.0`)
    await finishDeployment(plane.sql, plane.config, deployment.id)
    await plane.store.remove(`sources/${app}/1.0.0.tar.zst`)
    const json = { app_id: app, follow: false, build: true }
    const message = `${app} no longer keeps the source of 1.0.0 (v1); deploy its folder again, as another version`
    expect(await plane.ask('POST', 'redeploy', { token, json })).toMatchObject({
      status: 410,
      json: { error: { code: 'VERSION_PRUNED', message } },
    })
    expect((await upload(`app=${app}&version=1.0.0`)).answer).toMatchObject({ json: { error: { code: 'NAME_TAKEN' } } })
    expect((await plane.ask('POST', 'redeploy', { token, json: { ...json, build: false } })).status).toBe(202)
  })

  test('takes the live build with the variables as they are now', async () => {
    const { id } = await plane.deployed(app, '1.0.0')
    const built = await findDeployment(plane.sql, id)
    await plane.ask('PUT', `apps/${app}/env`, { token, json: { values: { COLOUR: 'blue', VITE_API: '/v2' } } })
    const answer = await plane.ask('POST', 'redeploy', { token, json: { app_id: app, follow: false } })
    expect(answer).toMatchObject({ status: 202, json: { number: 2, version: '1.0.0', source: 'redeploy' } })
    const again = await findDeployment(plane.sql, (answer.json as { id: string }).id)
    expect(again).toMatchObject({ buildId: built?.buildId, envSnapshot: { COLOUR: expect.anything() } })
    const log = await plane.ask('GET', `deployments/${again?.id}/logs`, { token })
    expect(log.text).toContain('VITE_API changed and is built into')
    expect(log.text).not.toContain('COLOUR')
  })

  test('of what is live waits for the newer version that is on its way, and does not take it back', async () => {
    await plane.deployed(app, '1.0.0')
    const { deployment } = await upload(`app=${app}&version=2.0.0`)
    const redeploy = (more: object = {}) =>
      plane.ask('POST', 'redeploy', { token, json: { app_id: app, follow: false, ...more } })
    expect(await redeploy()).toMatchObject({
      status: 409,
      json: { error: { message: expect.stringContaining(`2.0.0 (v2) is on its way`) } },
    })
    expect(await findDeployment(plane.sql, deployment.id)).toMatchObject({ state: 'queued' })

    await finishDeployment(plane.sql, plane.config, deployment.id)
    expect(await redeploy()).toMatchObject({ status: 202, json: { version: '2.0.0' } })
    expect(await redeploy()).toMatchObject({ status: 202, json: { version: '2.0.0' } })
    expect(await redeploy({ version: '1.0.0' })).toMatchObject({ status: 202, json: { version: '1.0.0' } })
  })

  test('builds when asked to', async () => {
    const { deployment } = await upload(`app=${app}`)
    await finishDeployment(plane.sql, plane.config, deployment.id)
    const json = { app_id: app, build: true, follow: false }
    const answer = await plane.ask('POST', 'redeploy', { token, json })
    const again = await findDeployment(plane.sql, (answer.json as { id: string }).id)
    expect(again).toMatchObject({ buildId: null, sourceKey: `sources/${app}/${deployment.version}.tar.zst` })
  })

  test('needs something that was built', async () => {
    const answer = await plane.ask('POST', 'redeploy', { token, json: { app_id: app } })
    expect(answer).toMatchObject({ status: 404, json: { error: { code: 'VERSION_NOT_FOUND' } } })
    const preview = await plane.ask('POST', 'redeploy', { token, json: { app_id: app, branch: 'pr/1' } })
    expect(preview).toMatchObject({ status: 404, json: { error: { code: 'VERSION_NOT_FOUND' } } })
  })
})

describe('a forced build', () => {
  const forced = { forceBuild: true, clearCaches: true }

  test('of an upload, and of what is live, is without what earlier builds have kept; --build keeps the caches', async () => {
    const { deployment } = await upload(`app=${app}&version=1.0.0&force=true`)
    expect(await findDeployment(plane.sql, deployment.id)).toMatchObject({ options: forced })
    await finishDeployment(plane.sql, plane.config, deployment.id)
    const again = async (json: object) => {
      await plane.ask('POST', 'redeploy', { token, json: { app_id: app, follow: false, ...json } })
      const { id } = (await newest()) ?? { id: '' }
      return findDeployment(plane.sql, id)
    }
    expect(await again({ force: true })).toMatchObject({ buildId: null, options: forced })
    const built = await again({ build: true })
    expect(built).toMatchObject({ buildId: null, options: { forceBuild: true } })
    expect(built?.options.clearCaches).toBeUndefined()
  })
})

describe('promoting', () => {
  const promote = (to: unknown) => plane.ask('POST', 'promote', { token, json: { app_id: app, to } })
  const production = async () => {
    const { json } = await plane.ask('GET', `status?app=${app}`, { token })
    return (json as { apps: { environment: string; live: unknown }[] }).apps.find(
      (one) => one.environment === 'production',
    )
  }

  test('a version that was live before is live again', async () => {
    const one = await plane.deployed(app, '1.0.0')
    await plane.ask('PUT', `apps/${app}/env`, { token, json: { values: { LATER: 'x' } } })
    const two = await plane.deployed(app, '1.0.1')
    await recordMigrations(plane.sql, two.id, ['002_more.sql'])
    const events = eventsOf((await promote('1.0.0')).text)
    expect(events.at(-1)).toMatchObject({
      ...{ type: 'end', ok: true, deployment: { id: one.id, state: 'live' } },
      moved_since: { env: ['LATER'], migrations: ['002_more.sql'] },
    })
    expect(await production()).toMatchObject({ live: { id: one.id } })
  })

  test("a preview becomes production with its own build and production's variables", async () => {
    await plane.deployed(app, '1.0.0')
    const preview = await plane.deployed(app, '2.0.0', 'pr/7')
    await plane.ask('PUT', `apps/${app}/env`, { token, json: { values: { SECRET: 'x' } } })
    const promoting = promote('2.0.0')
    await expect.poll(newest).toMatchObject({ state: 'queued', environment: 'production' })
    const { id } = (await newest()) ?? { id: '' }
    const promoted = await finishDeployment(plane.sql, plane.config, id)
    expect(promoted).toMatchObject({ version: '2.0.0', environment: 'production', label: app })
    expect(promoted.buildId).toBe((await findDeployment(plane.sql, preview.id))?.buildId)
    expect(Object.keys(promoted.envSnapshot)).toEqual(['SECRET'])
    expect(eventsOf((await promoting).text).at(-1)).toMatchObject({ ok: true })
  })

  test('a preview with other public variables in its files is built again, and says so', async () => {
    const set = (environment: string, value: string) =>
      plane.ask('PUT', `apps/${app}/env`, { token, json: { environment, values: { VITE_API: value } } })
    await set('preview', 'https://staging.example')
    const { deployment } = await upload(`app=${app}&version=2.0.0&branch=pr/7`)
    await finishDeployment(plane.sql, plane.config, deployment.id)
    const again = promote('2.0.0')
    await expect.poll(newest).toMatchObject({ state: 'queued', environment: 'production' })
    const rebuilt = (await newest())?.id ?? ''
    expect(await findDeployment(plane.sql, rebuilt)).toMatchObject({ buildId: null, options: { forceBuild: true } })
    await finishDeployment(plane.sql, plane.config, rebuilt)
    expect((await again).text).toContain('VITE_API has another value in production and would be part of its files')

    await set('production', 'https://staging.example')
    const preview = await plane.deployed(app, '3.0.0', 'pr/8')
    const promoting = promote('3.0.0')
    await expect.poll(newest).toMatchObject({ state: 'queued', environment: 'production' })
    const taken = (await newest())?.id ?? ''
    expect(await findDeployment(plane.sql, taken)).toMatchObject({ buildId: preview.buildId })
    await finishDeployment(plane.sql, plane.config, taken)
    expect((await promoting).text).not.toContain('VITE_API')
  })

  test('a preview with prerendered pages is built again, for they show what the preview could read', async () => {
    const uploaded = await upload(`app=${app}&version=2.0.0&branch=pr/7`)
    const { version, buildId } = await finishDeployment(plane.sql, plane.config, uploaded.deployment.id)
    await plane.store.put(staticPathsKey({ app, version, build: buildId ?? '' }), Buffer.from('{}'))
    const promoting = promote('2.0.0')
    await expect.poll(newest).toMatchObject({ state: 'queued', environment: 'production' })
    const { id } = (await newest()) ?? { id: '' }
    expect(await findDeployment(plane.sql, id)).toMatchObject({ buildId: null, options: { forceBuild: true } })
    await finishDeployment(plane.sql, plane.config, id)
    expect((await promoting).text).toContain('its prerendered pages were rendered with what the preview can read')
  })

  test('a preview of which neither build nor source is kept', async () => {
    await plane.deployed(app, '2.0.0', 'pr/7')
    await plane.ask('PUT', `apps/${app}/env`, { token, json: { values: { VITE_API: 'https://example' } } })
    const gone = { status: 410, json: { error: { code: 'VERSION_PRUNED' } } }
    expect(await promote('2.0.0')).toMatchObject(gone)
    await plane.ask('PUT', `apps/${app}/env`, {
      token,
      json: { environment: 'preview', values: { VITE_API: 'https://example' } },
    })
    await plane.deployed(app, '3.0.0', 'pr/8')
    await plane.sql`update builds set pruned_at = now() where app_id = ${app}`
    expect(await promote('3.0.0')).toMatchObject(gone)
  })

  test('an unknown version', async () => {
    expect(await promote('fffffff')).toMatchObject({ status: 404, json: { error: { code: 'VERSION_NOT_FOUND' } } })
  })
})

describe('cancelling', () => {
  test('a queued deployment ends cancelled, and followers hear of it', async () => {
    const { deployment } = await upload(`app=${app}`)
    const following = plane.ask('GET', `deployments/${deployment.id}/logs?follow=true`, { token })
    const answer = await plane.ask('POST', `deployments/${deployment.id}/cancel`, { token })
    expect(answer).toMatchObject({ status: 200, json: { state: 'cancelled' } })
    expect(eventsOf((await following).text).at(-1)).toMatchObject({ ok: false, error: { code: 'BUILD_CANCELLED' } })
  })

  test('what is live is not cancelled', async () => {
    const { id } = await plane.deployed(app, '1.0.0')
    const message = expect.stringContaining('atelier rollback')
    const answer = await plane.ask('POST', `deployments/${id}/cancel`, { token })
    expect(answer).toMatchObject({ status: 409, json: { error: { code: 'DEPLOYMENT_STATE', message } } })
  })
})

test('events say who moved a deployment, when and why', async () => {
  const { id } = await plane.deployed(app, '1.0.0')
  const { json } = await plane.ask('GET', `deployments/${id}/events`, { token })
  const { events } = json as { events: { to: string; by: string }[] }
  expect(events.map(({ to }) => to)).toEqual(['queued', 'building', 'built', 'uploading', 'live'])
  expect(events[0]?.by).toBe('ada')
})

test('deployments can be looked up by the names people use', async () => {
  const { id } = await plane.deployed(app, 'c'.repeat(40))
  const preview = await plane.deployed(app, 'd'.repeat(40), 'pr/9')
  const idsOf = async (version: string) => {
    const { json } = await plane.ask('GET', `deploys?app=${app}&version=${version}`, { token })
    return (json as { deployments: { id: string }[] }).deployments.map((one) => one.id)
  }
  expect(await idsOf('ccccccc')).toEqual([id])
  expect(await idsOf('v1')).toEqual([id])
  expect(await idsOf('v2')).toEqual([preview.id])
  expect(await idsOf('eeeeeee')).toEqual([])
})

describe('pages of deployments', () => {
  test('lead from the newest to the oldest, each once, while others come', async () => {
    for (let made = 0; made < 7; made += 1) await plane.deployed(app, `1.0.${made}`)
    // Made within one moment: the id decides.
    await plane.sql`update deployments set created_at = '2026-11-20T10:00:00.123456Z' where app_id = ${app}`
    const seen: string[] = []
    let cursor = ''
    for (;;) {
      const { json } = await plane.ask('GET', `deploys?app=${app}&limit=3${cursor && `&cursor=${cursor}`}`, { token })
      const page = json as { deployments: { id: string; version: string }[]; next: string | null }
      seen.push(...page.deployments.map(({ id }) => id))
      if (!page.next) break
      expect(page.deployments).toHaveLength(3)
      cursor = page.next
      await plane.deployed(app, `2.0.${seen.length}`)
    }
    expect(seen).toHaveLength(7)
    expect(new Set(seen).size).toBe(7)
  })

  test.each([
    'x',
    Buffer.from('{}').toString('base64url'),
    Buffer.from('["99999999999999999999","a"]').toString('base64url'),
    Buffer.from('["1\' or 1=1","k3v9q0x7m2ab"]').toString('base64url'),
    '%00',
  ])('no page begins at %j', async (cursor) => {
    const answer = await plane.ask('GET', `deploys?cursor=${cursor}`, { token })
    expect(answer).toMatchObject({ status: 400, json: { error: { code: 'REQUEST_INVALID' } } })
  })
})

describe('deploying a commit of a git host', () => {
  const url = 'https://git.example/site.git'
  const deploy = (json: object) => plane.ask('POST', 'deploy', { token, json: { app_id: app, follow: false, ...json } })

  test('makes a deployment that a worker is to fetch, its token sealed', async () => {
    const { status, json } = await deploy({ source: { git: url, ref: 'main', token: 'ghp_secret' } })
    expect({ status, json }).toMatchObject({ status: 202, json: { source: 'git', state: 'queued', branch: 'main' } })
    const row = await findDeployment(plane.sql, (json as { id: string }).id)
    expect(row).toMatchObject({ sourceKey: null, ref: null, gitOrigin: { url, ref: 'main', sha: null } })
    expect(row?.gitOrigin?.token).toBeDefined()
    expect(JSON.stringify(row)).not.toContain('ghp_secret')
    expect(plane.woken).toContain(row?.id)
    await plane.ask('POST', `deployments/${row?.id}/cancel`, { token })
    expect((await findDeployment(plane.sql, row?.id ?? ''))?.gitOrigin).toEqual({ url, ref: 'main', sha: null })
  })

  test('takes a SHA as the commit that is meant, and another name as the name it keeps', async () => {
    const sha = 'a'.repeat(40)
    const named = await deploy({ source: { git: url, ref: 'main' }, version: sha })
    expect(await findDeployment(plane.sql, (named.json as { id: string }).id)).toMatchObject({
      version: sha,
      gitOrigin: { sha },
    })
    expect((await deploy({ source: { git: url }, version: '1.0.0' })).json).toMatchObject({ version: '1.0.0' })
    expect((await deploy({ source: { git: url }, version: '1.0.0' })).json).toMatchObject({
      error: { code: 'NAME_TAKEN' },
    })
  })

  test.each([
    [{ git: 'ext::sh -c x' }, 'REQUEST_INVALID'],
    [{ git: 'file:///etc' }, 'REQUEST_INVALID'],
    [{ git: 'https://u:p@git.example/x' }, 'REQUEST_INVALID'],
    [{ git: url, ref: '--upload-pack=x' }, 'BRANCH_ILLEGAL'],
    [{ git: url, path: '/etc' }, 'REQUEST_INVALID'],
    [{ path: '/etc' }, 'FORBIDDEN'],
    [{}, 'REQUEST_INVALID'],
    ['https://git.example', 'REQUEST_INVALID'],
  ])('C4, G14: %j is no source', async (source, code) => {
    expect((await deploy({ source })).json).toMatchObject({ error: { code } })
  })
})

describe('deploying a folder of the server', () => {
  test('takes what lies below a root that the settings name, from admins', async () => {
    const root = await mkdtemp(join(plane.home, 'root-'))
    const outside = await mkdtemp(join(plane.home, 'outside-'))
    await mkdir(join(root, 'site/node_modules'), { recursive: true })
    await writeFile(join(root, 'site/index.html'), 'from the server')
    await writeFile(join(root, 'site/node_modules/x.js'), '')
    await symlink(outside, join(root, 'out'))
    const admin = await plane.token('admin')
    const deploy = (path: string, by = admin) =>
      plane.ask('POST', 'deploy', { token: by, json: { app_id: app, source: { path }, follow: false } })
    expect((await deploy(join(root, 'site'))).json).toMatchObject({ error: { code: 'SOURCE_INVALID' } })
    plane.config.sourceRoots.push(root)
    const { status, json } = await deploy(join(root, 'site'))
    expect({ status, json }).toMatchObject({ status: 202, json: { source: 'upload' } })
    const row = await findDeployment(plane.sql, (json as { id: string }).id)
    const source = zstdDecompressSync(await buffer(await plane.store.get(row?.sourceKey ?? ''))).toString()
    expect(source).toContain('from the server')
    expect(source).not.toContain('node_modules')
    for (const path of [
      outside,
      join(root, 'out'),
      join(root, '..'),
      `${root}/../..`,
      `${root}x`,
      '/etc',
      join(root, 'no'),
    ])
      expect((await deploy(path)).json).toMatchObject({ error: { code: 'SOURCE_INVALID' } })
    expect((await deploy(join(root, 'site'), token)).json).toMatchObject({ error: { code: 'FORBIDDEN' } })
  })
})
