import { AppError } from '../registry/errors.ts'
import { contentType } from './content-types.ts'
import type { Page } from './pack-pages.ts'
import { unfit } from './walk.ts'

type Link = { path: string; target: string }
type Journey = { path: string; links: number }
type Place = { at: string; path: string; inside: string[] }

const mostHops = 40

/**
 * A bundle's static files have no links: a link becomes what it leads to, under the link's name. What it leads to is only ever looked up among
 * what the walk has seen, so nothing outside is published, whatever a link says. A folder that would hold itself ends it with OUTPUT_INVALID.
 */
export class LinkedPages {
  readonly #pages: Map<string, Page>
  readonly #links: Map<string, Link>
  readonly #children = new Map<string, string[]>([['', []]])
  readonly #rules: { skip: (path: string) => boolean; most: number }
  #steps = 0

  constructor(
    { pages, links, directories }: { pages: Map<string, Page>; links: Link[]; directories: string[] },
    rules: { skip: (path: string) => boolean; most: number },
  ) {
    this.#pages = pages
    this.#links = new Map(links.map((link) => [link.path, link]))
    this.#rules = rules
    for (const path of directories) this.#children.set(path, [])
    for (const path of [...pages.keys(), ...this.#links.keys(), ...directories])
      this.#children.get(parentOf(path))?.push(path)
  }

  /** What the links add. */
  *added(): Generator<Page> {
    for (const link of this.#links.values()) yield* this.#under(link, link.path, ancestorsOf(link.path))
  }

  *#under(link: Link, path: string, inside: string[]): Generator<Page> {
    const at = this.#resolve(link)
    if (inside.includes(at)) throw unfit(path, `is a symlink to ${JSON.stringify(link.target)}, a folder that holds it`)
    yield* this.#publish({ at, path, inside })
  }

  // `at` is where it lies, `path` its name in the bundle, `inside` the folders that are being published around it.
  *#publish({ at, path, inside }: Place): Generator<Page> {
    if (++this.#steps > this.#rules.most)
      throw new AppError('OUTPUT_INVALID', `symlinks lead to more than ${this.#rules.most} files`)
    if (path.length > 1024)
      throw unfit(path.slice(0, 100), 'leads through symlinks to a path longer than 1024 characters')
    if (this.#rules.skip(path)) return
    const page = this.#pages.get(at)
    if (page) yield { ...page, path, contentType: contentType(path) }
    for (const child of this.#children.get(at) ?? []) {
      const name = `${path}/${child.slice(child.lastIndexOf('/') + 1)}`
      const link = this.#links.get(child)
      if (link) yield* this.#under(link, name, [...inside, at])
      else yield* this.#publish({ at: child, path: name, inside: [...inside, at] })
    }
  }

  // Where a link ends, after all the links it leads through. As the kernel does, all are counted, not how deep they lie: each may lead through
  // the next one twice.
  #resolve({ path, target }: Link, from: Journey = { path, links: 0 }): string {
    if (++from.links > mostHops)
      throw unfit(from.path, `is a symlink that leads through more than ${mostHops} links, or in a circle`)
    let place = parentOf(path)
    for (const step of target.split('/')) {
      if (step === '.') continue
      if (step === '..') place = parentOf(place)
      else {
        place = place === '' ? step : `${place}/${step}`
        const through = this.#links.get(place)
        if (through) place = this.#resolve(through, from)
      }
    }
    if (this.#pages.has(place) || this.#children.has(place)) return place
    throw unfit(path, `is a symlink to ${JSON.stringify(target)}, which is not published`)
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

function ancestorsOf(path: string): string[] {
  const above: string[] = []
  for (let at = path; at !== ''; above.push(at)) at = parentOf(at)
  return above
}
