export type PlainCommand = {
  /** Variables set in front of the program: `NODE_ENV=production node server.js`. */
  env: Record<string, string>
  file: string
  args: string[]
}

const assignment = /^([A-Za-z_]\w*)=(.*)$/s
// What a shell would do something with, outside quotes and inside double ones.
const special = /[$`\\|&;<>()*?[\]{}~#!\n]/
const specialInDoubleQuotes = /[$`\\!]/

/**
 * A command as a program and its arguments, when no shell is needed for it: words, quotes, and variables set in front. Null when it needs one,
 * or when it is none.
 */
export function splitCommand(command: string): PlainCommand | null {
  const words = wordsOf(command.trim())
  if (words === null) return null
  const env: Record<string, string> = {}
  for (let setting = assignment.exec(words[0] ?? ''); setting; setting = assignment.exec(words[0] ?? '')) {
    env[setting[1] ?? ''] = setting[2] ?? ''
    words.shift()
  }
  if (words[0] === 'exec') words.shift()
  const [file, ...args] = words
  return file && !builtins.has(file) ? { env, file, args } : null
}

/** A path as a word of a command. */
export function quoteWord(word: string): string {
  return /^[\w./:@%+=,-]+$/.test(word) && !assignment.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

// Words that only a shell knows.
const builtins = new Set([
  '.',
  ':',
  'cd',
  'eval',
  'exit',
  'export',
  'read',
  'set',
  'source',
  'trap',
  'ulimit',
  'umask',
  'wait',
])
for (const keyword of ['if', 'for', 'while', 'until', 'case', 'function']) builtins.add(keyword)

function wordsOf(text: string): string[] | null {
  const words: string[] = []
  let word: string | null = null
  for (const [, space, single, double, quote, plain = ''] of text.matchAll(
    /(\s+)|'([^']*)'|"([^"]*)"|(['"])|([^\s'"]+)/g,
  )) {
    if (space !== undefined) {
      if (space.includes('\n')) return null
      if (word !== null) words.push(word)
      word = null
      continue
    }
    if (quote !== undefined || special.test(plain) || specialInDoubleQuotes.test(double ?? '')) return null
    word = (word ?? '') + (single ?? double ?? plain)
  }
  return word === null ? words : [...words, word]
}
