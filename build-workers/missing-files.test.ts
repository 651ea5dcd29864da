import { afterAll, expect, test } from 'vitest'
import { TestWorker } from '../test/support/build-worker.ts'
import { describeMissing, findMissingFiles } from './missing-files.ts'
import { treeOf } from './source-tree.ts'

const worker = await TestWorker.start()
afterAll(() => worker[Symbol.asyncDispose]())

const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 12345\n`
const attributes = '*.png filter=lfs diff=lfs merge=lfs -text\n'
const modules = '[submodule "theme"]\n\tpath = themes/one\n\turl = https://example.com/one.git\n'

test('submodules are named unless their files are there, pointers where there may be some', () => {
  const find = (files: Record<string, string>) => findMissingFiles(treeOf(files))
  expect(find({ '.gitmodules': modules })).toMatchObject({ submodules: ['themes/one'] })
  expect(find({ '.gitmodules': modules, 'themes/one/a.css': '' })).toMatchObject({ submodules: [] })
  expect([...find({ 'img/.gitattributes': attributes, 'img/a.png': pointer, 'b.png': 'x' }).pointers.keys()]).toEqual([
    'img/a.png',
  ])
  expect(find({ 'docs/lfs.txt': pointer }).pointers.size).toBe(0)
  const many = Object.fromEntries(Array.from({ length: 7 }, (_, at) => [`${at}.png`, pointer]))
  expect(describeMissing(find({ '.gitattributes': attributes, ...many }))).toEqual([
    expect.stringMatching(/^warning: 0\.png, 1\.png, 2\.png, 3\.png, 4\.png and 2 more are pointers of Git LFS/),
  ])
})

test('a submodule that is not there is said, and again where the build fails', async () => {
  const app = await worker.createApp()
  const live = await worker.deploy(app, { 'index.html': 'hi', '.gitmodules': modules })
  expect(live.deployment.stateReason).toBeNull()
  expect(live.log.join('\n')).toContain('       warning: themes/one is a submodule, which are not fetched')

  const failed = await worker.deploy(app, {
    'atelier.config.json': { build: { script: 'cat themes/one/a.css' } },
    '.gitmodules': modules,
  })
  expect(failed.deployment.stateReason).toBe('build failed: cat themes/one/a.css exited with 1')
  const [before, after] = failed.log.join('\n').split('No such file')
  expect(before).toContain('themes/one is a submodule')
  expect(after).toContain('themes/one is a submodule')
})

test('a folder of the app that is a submodule is said to be one', async () => {
  const files = { 'atelier.config.json': { build: { root: 'themes/one' } }, '.gitmodules': modules }
  const { log, deployment } = await worker.deploy(await worker.createApp(), files)
  expect(deployment.errorCode).toBe('ENTRY_NOT_FOUND')
  expect(log.join('\n')).toContain('themes/one is a submodule')
})

test('pointers of LFS are said; one in the place of a page is not published, and what is live stays', async () => {
  const app = await worker.createApp()
  const files = { 'public/index.html': 'hi', 'design/a.png': pointer, '.gitattributes': attributes }
  const live = await worker.deploy(app, files)
  expect(live.deployment.state).toBe('live')
  expect(live.log.join('\n')).toContain('       warning: design/a.png is a pointer of Git LFS')

  const failed = await worker.deploy(app, { ...files, 'public/photo.png': pointer })
  expect(failed.deployment).toMatchObject({
    errorCode: 'OUTPUT_INVALID',
    stateReason: 'photo.png is a pointer of Git LFS, not the file itself; it cannot be published',
  })
  expect((await worker.read(live.deployment)).deployment.state).toBe('live')
})
