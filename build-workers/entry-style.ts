export type EntryStyle = 'fetch' | 'server'

/**
 * What a program's entry file gives, by its text: a default export with `fetch`, or a server that listens. Null: neither is to be seen.
 * A guess that verification proves: code that listens elsewhere is found when the app is started.
 */
export function entryStyle(text: string): EntryStyle | null {
  const code = withoutComments(text)
  if (listens(code)) return 'server'
  if (/\bexport\s+default\b|\bas\s+default\b/.test(code)) return 'fetch'
  return null
}

/** Whether the text defines something of the name `fetch` in an object or class, and does not just call the global one as pages do. */
export function definesFetch(text: string): boolean {
  return /[{},;]\s*(?:async\s+)?fetch\s*(?:\([^)]*\)\s*(?::[^{=]+)?\{|[:,}=])/.test(withoutComments(text))
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
}

function listens(code: string): boolean {
  return /\.listen\s*\(|\bcreateServer\s*\(|['"]@hono\/node-server['"]/.test(code)
}
