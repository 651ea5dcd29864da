import { expect, test } from 'vitest'
import { envInline } from './env-inline.ts'
import { bundleFiles } from './test-bundle.ts'

const env = { PUBLIC_URL: 'https://a.example/"quoted"\n', PUBLIC_EMPTY: '', SECRET: 'hunter2' }
const names = ['PUBLIC_EMPTY', 'PUBLIC_UNSET', 'PUBLIC_URL']

test('public variables are their values, under both names that they are read by', async () => {
  const source = 'export default [process.env.PUBLIC_URL, process.env["PUBLIC_URL"], import.meta.env.PUBLIC_EMPTY]'
  const { text } = await bundleFiles({ 'index.js': source }, envInline(names, env))
  expect(text).not.toContain('process.env')
  const module: { default: unknown } = await import(`data:text/javascript,${encodeURIComponent(text)}`)
  expect(module.default).toEqual([env.PUBLIC_URL, env.PUBLIC_URL, ''])
})

test('what is not public, not set or somebody else’s is left alone', async () => {
  const source = `
    export default [process.env.SECRET, process.env.PUBLIC_UNSET, process.env[name], { ...process.env }]
    export const of = (process) => process.env.PUBLIC_URL
    export const text = 'process.env.PUBLIC_URL'
    process.env.PUBLIC_URL = 'set'`
  const { text } = await bundleFiles({ 'index.js': source }, envInline(names, env))
  expect(text).not.toContain('hunter2')
  expect(text).not.toContain('https://a.example')
  for (const kept of [
    'process.env.SECRET',
    'process.env.PUBLIC_UNSET',
    '"process.env.PUBLIC_URL"',
    'env.PUBLIC_URL = ',
  ])
    expect(text.replaceAll("'", '"')).toContain(kept)
})
