export type EntryStyle = 'fetch' | 'server'

/**
 * What a program's entry file gives, by its text: a default export with `fetch`, or a server that listens. Null: neither is to be seen.
 * A guess that verification proves: code that listens elsewhere is found when the app is started.
 */
export function entryStyle(text: string): EntryStyle | null {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
  if (listens(code)) return 'server'
  if (/\bexport\s+default\b|\bas\s+default\b/.test(code)) return 'fetch'
  return null
}

function listens(code: string): boolean {
  return /\.listen\s*\(|\bcreateServer\s*\(|['"]@hono\/node-server['"]/.test(code)
}
