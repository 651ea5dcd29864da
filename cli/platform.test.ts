import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { saveLogin } from './logins.ts'
import { apiOfRemote, apiOrigin, findPlatform } from './platform.ts'

let env: Record<string, string>

let folder: string
afterEach(() => rmSync(folder, { recursive: true }))
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atelier-cli-'))
  env = { HOME: folder, XDG_CONFIG_HOME: join(folder, 'config'), ATELIER_HOME: join(folder, 'home') }
})

function startLocalPlatform(api = 'http://api.localhost:8080') {
  mkdirSync(env.ATELIER_HOME ?? '', { recursive: true })
  writeFileSync(join(env.ATELIER_HOME ?? '', 'atelier.json'), JSON.stringify({ api }))
  writeFileSync(join(env.ATELIER_HOME ?? '', 'admin-token'), 'atl_local\n')
}

test.each([
  ['http://api.localhost:8080', 'http://api.localhost:8080'],
  ['http://api.localhost:8080/api/platform/', 'http://api.localhost:8080'],
  ['http://console.localhost:8080/#token=x', 'http://api.localhost:8080'],
  ['localhost:8080', 'http://api.localhost:8080'],
  ['console.localhost:8080', 'http://api.localhost:8080'],
  ['example.com', 'https://api.example.com'],
  ['https://git.example.com/hello.git', 'https://api.example.com'],
  ['http://127.0.0.1:8080', 'http://127.0.0.1:8080'],
])('%s leads to the API at %s', (address, api) => {
  expect(apiOrigin(address)).toBe(api)
})

test.each(['', 'http://', 'https://user:secret@example.com', 'http://exa mple.com'])('%j is no address', (address) => {
  expect(() => apiOrigin(address)).toThrow('is not the address of a platform')
})

test('a git remote names its platform, and a foreign one names none', () => {
  expect(apiOfRemote('http://git.localhost:8080/hello.git')).toBe('http://api.localhost:8080')
  expect(apiOfRemote('git@github.com:a/b.git')).toBeNull()
  expect(apiOfRemote('https://github.com/a/b.git')).toBeNull()
})

describe('which platform a command talks to', () => {
  test('none: says how to get one', () => {
    expect(() => findPlatform(null, env)).toThrow('atelier up')
  })

  test('the one running here, without any login', () => {
    startLocalPlatform()
    expect(findPlatform(null, env)).toEqual({ api: 'http://api.localhost:8080', token: 'atl_local' })
  })

  test('a login comes before the one running here; the repository it belongs to comes before both', () => {
    startLocalPlatform()
    saveLogin('https://api.one.example', 'atl_one', env)
    saveLogin('https://api.two.example', 'atl_two', env)
    expect(findPlatform(null, env).token).toBe('atl_two')
    expect(findPlatform('https://git.one.example/hello.git', env).token).toBe('atl_one')
    expect(findPlatform('http://git.localhost:8080/hello.git', env).token).toBe('atl_local')
    expect(findPlatform('https://github.com/a/b.git', env).token).toBe('atl_two')
  })

  test('the environment comes first, and its address finds its token among the logins', () => {
    saveLogin('https://api.one.example', 'atl_one', env)
    saveLogin('https://api.two.example', 'atl_two', env)
    const given = { ...env, ATELIER_URL: 'https://one.example' }
    expect(findPlatform(null, given)).toEqual({ api: 'https://api.one.example', token: 'atl_one' })
    expect(findPlatform(null, { ...given, ATELIER_TOKEN: 'atl_ci' }).token).toBe('atl_ci')
    expect(() => findPlatform(null, { ...env, ATELIER_URL: 'https://three.example' })).toThrow('set ATELIER_TOKEN')
  })

  test('a damaged config is named', () => {
    mkdirSync(join(env.XDG_CONFIG_HOME ?? '', 'atelier'), { recursive: true })
    writeFileSync(join(env.XDG_CONFIG_HOME ?? '', 'atelier', 'config.json'), '{"current":')
    expect(() => findPlatform(null, env)).toThrow('config.json cannot be used')
  })
})

test('a login is saved for its owner only, also over a file that was wider', () => {
  const path = saveLogin('https://api.one.example', 'atl_one', env)
  chmodSync(path, 0o644)
  saveLogin('https://api.two.example', 'atl_two', env)
  expect(statSync(path).mode & 0o777).toBe(0o600)
})
