import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { expect } from 'vitest'
import type { Atelier } from './atelier.ts'
import type { Files, Repo } from './repo.ts'

/** Runs a generator from npm (`create-vue@latest`, …), which makes the folder `name`, and links that to an app of the same name. */
export async function generate(atelier: Atelier, name: string, [program = '', ...args]: string[]): Promise<Repo> {
  const desk = await atelier.directory()
  await atelier.run('npx', ['--yes', program, ...args], { cwd: desk })
  return link(atelier, name, join(desk, name))
}

/** A folder with these files, linked to an app. */
export async function write(atelier: Atelier, name: string, files: Files): Promise<Repo> {
  return link(atelier, name, await atelier.directory(files))
}

/** Makes a repository of a folder, with all of it in the first commit, and links it to an app. */
export async function link(atelier: Atelier, name: string, directory: string): Promise<Repo> {
  const repo = atelier.repoIn(directory)
  await repo.git('init', '--quiet')
  await repo.commit({}, 'first')
  expect(await atelier.cli(['link', name], { cwd: directory })).toMatchObject({ code: 0 })
  return repo
}

export const immutable = { 'cache-control': expect.stringMatching(/max-age=31536000, immutable/) }

export const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`

export const address = (atelier: Atelier, app: string, path: string) =>
  `http://${app}.apps.localhost:${atelier.port}${path}`

/** Its scripts and styles come from the edge, for a year. */
export async function expectAssets(atelier: Atelier, app: string, page: Page, hashed: RegExp): Promise<void> {
  const urls = await page.evaluate<string[]>(
    "[...document.querySelectorAll('script[src], link[rel=stylesheet], link[rel=modulepreload]')].map((element) => element.src || element.href)",
  )
  const paths = urls.map((url) => new URL(url).pathname).filter((path) => hashed.test(path))
  expect(paths).not.toEqual([])
  for (const path of paths)
    expect(await atelier.get(app, path), path).toMatchObject({ status: 200, headers: immutable })
}
