import { join } from 'node:path'
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
