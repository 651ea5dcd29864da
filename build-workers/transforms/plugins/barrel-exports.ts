export type Source = {
  /** As it is written: `./icons/camera.mjs`. */
  from: string
  /** Its name there; `*`: all of it, as a namespace. */
  imported: string
}

/** A module that has nothing of its own: it hands on what others export. */
export type Barrel = { named: Map<string, Source>; stars: string[] }

const comments = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|("[^"\n]*"|'[^'\n]*')/g

const from = String.raw`from\s*(?:"([^"\n]*)"|'([^'\n]*)')`
const statements = {
  nothing: /\s+|;|(?:"use [^"]*"|'use [^']*')\s*;?/y,
  types: new RegExp(
    String.raw`(?:import|export)\s+type\s+(?:[\w$]+|\{[^}]*\}|\*(?:\s*as\s+[\w$]+)?)\s*${from}\s*;?`,
    'y',
  ),
  imports: new RegExp(
    String.raw`import\s*(?:([\w$]+)\s*)?,?\s*(?:\*\s*as\s+([\w$]+)|\{([^}]*)\})?\s*${from}\s*;?`,
    'y',
  ),
  star: new RegExp(String.raw`export\s*\*\s*(?:as\s+([\w$]+)\s*)?${from}\s*;?`, 'y'),
  list: new RegExp(String.raw`export\s*\{([^}]*)\}\s*(?:${from})?\s*;?`, 'y'),
  default: /export\s+default\s+([\w$]+)\s*(?:;|\n|$)/y,
}

/** What a module hands on; null when there is anything else in it than imports and exports, or nothing at all. */
export function readBarrel(source: string): Barrel | null {
  const text = source.replace(/^\uFEFF/, '').replace(comments, (_, quoted: string | undefined) => quoted ?? ' ')
  const locals = new Map<string, Source>()
  const barrel: Barrel = { named: new Map(), stars: [] }
  const handedOn: [name: string, local: string][] = []
  let at = 0
  const take = (statement: RegExp): RegExpExecArray | null => {
    statement.lastIndex = at
    const found = statement.exec(text)
    if (found) at = statement.lastIndex
    return found
  }
  while (at < text.length) {
    if (take(statements.nothing) || take(statements.types)) continue
    const imports = take(statements.imports)
    if (imports) {
      const [, whole, namespace, list, double, single] = imports
      const place = double ?? single ?? ''
      if (whole) locals.set(whole, { from: place, imported: 'default' })
      if (namespace) locals.set(namespace, { from: place, imported: '*' })
      const names = list === undefined ? [] : readNames(list)
      if (!names) return null
      for (const { imported, local } of names) locals.set(local, { from: place, imported })
      continue
    }
    const star = take(statements.star)
    if (star) {
      const [, name, double, single] = star
      const place = double ?? single ?? ''
      if (name) barrel.named.set(name, { from: place, imported: '*' })
      else barrel.stars.push(place)
      continue
    }
    const list = take(statements.list)
    const names = list && readNames(list[1] ?? '')
    const whole = list ? null : take(statements.default)
    if (names) {
      const place = list[2] ?? list[3]
      for (const { imported, local } of names)
        if (place === undefined) handedOn.push([local, imported])
        else barrel.named.set(local, { from: place, imported })
    } else if (whole) handedOn.push(['default', whole[1] ?? ''])
    else return null
  }
  for (const [name, local] of handedOn) {
    const source = locals.get(local)
    if (!source) return null
    barrel.named.set(name, source)
  }
  return barrel.named.size + barrel.stars.length > 0 ? barrel : null
}

export type ImportedName = { imported: string; local: string }

/** `default as Camera, House` without what is for types alone; null: something else. */
export function readNames(list: string): ImportedName[] | null {
  const names: ImportedName[] = []
  for (const part of list.split(',')) {
    const text = part.trim()
    if (text === '' || /^type\s+(?!as\s)[\w$]/.test(text) || /^type\s+as\s+as\s/.test(text)) continue
    const [, imported, local = imported] = /^([\w$]+)(?:\s+as\s+([\w$]+))?$/.exec(text) ?? []
    if (imported === undefined || local === undefined) return null
    names.push({ imported, local })
  }
  return names
}

/** Names that a module with code of its own exports, as far as its text tells. */
export function ownExports(source: string): Set<string> {
  const text = source.replace(comments, (_, quoted: string | undefined) => quoted ?? ' ')
  const names = new Set<string>()
  for (const [, name] of text.matchAll(
    /\bexport\s+(?:async\s+)?(?:function\s*\*?|class|const|let|var|enum)\s+([\w$]+)/g,
  ))
    if (name) names.add(name)
  for (const [, list] of text.matchAll(/\bexport\s*\{([^}]*)\}/g))
    for (const { local } of readNames(list ?? '') ?? []) names.add(local)
  return names
}
