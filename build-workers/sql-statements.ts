/** A statement of a script: the line it begins on, 1 the first, and its first words in capitals. */
export type SqlStatement = { line: number; words: string[] }

// In order: comments, strings (E'' knows backslashes), quoted names, dollar quotes, words, and what counts by itself.
const token =
  /--[^\n]*|\/\*|[eE]'(?:[^'\\]|\\[\s\S]|'')*'?|'(?:[^']|'')*'?|"(?:[^"]|"")*"?|\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|\s+|[\s\S]/g

/**
 * The statements of an SQL script, to say which of them failed: Postgres takes the script whole, and is the one to parse it. Semicolons in strings,
 * comments, dollar quotes, parentheses and bodies of `begin atomic … end` end none.
 */
export function sqlStatements(text: string): SqlStatement[] {
  const statements: SqlStatement[] = []
  let current: SqlStatement | null = null
  let depth = 0
  let line = 1
  let last = ''
  token.lastIndex = 0
  for (let found = token.exec(text); found; found = token.exec(text)) {
    const [piece] = found
    const startLine = line
    const end = closing(text, piece, token.lastIndex)
    line += countLines(text.slice(found.index, end))
    token.lastIndex = end
    if (/^(\s|--|\/\*)/.test(piece)) continue
    if (piece === ';' && depth === 0) {
      current = null
      continue
    }
    current ??= begin(statements, startLine)
    const word = /^[A-Za-z_]/.test(piece) && !piece.includes("'") ? piece.toUpperCase() : piece
    if (current.words.length < 3) current.words.push(word)
    depth = Math.max(0, depth + change(word, { last, depth }))
    last = word
  }
  return statements
}

/** Whether a statement begins or ends a transaction. */
export function isTransactionControl({ words: [first = '', second = ''] }: SqlStatement): boolean {
  if (first === 'START' || first === 'PREPARE') return second === 'TRANSACTION'
  if (first === 'ROLLBACK') return second !== 'TO'
  return ['BEGIN', 'COMMIT', 'END', 'ABORT'].includes(first)
}

function begin(statements: SqlStatement[], line: number): SqlStatement {
  const statement = { line, words: [] }
  statements.push(statement)
  return statement
}

function change(word: string, { last, depth }: { last: string; depth: number }): number {
  if (word === '(' || (word === 'ATOMIC' && last === 'BEGIN')) return 1
  if (word === ')') return -1
  if (depth > 0 && word === 'CASE') return 1
  return depth > 0 && word === 'END' ? -1 : 0
}

// Where what a token opens is closed: comments nest, and a dollar quote ends with its own tag.
function closing(text: string, piece: string, from: number): number {
  if (piece === '/*') return endOfComment(text, from)
  if (!/^\$.*\$$/.test(piece)) return from
  const end = text.indexOf(piece, from)
  return end < 0 ? text.length : end + piece.length
}

function endOfComment(text: string, from: number): number {
  const bounds = /\/\*|\*\//g
  bounds.lastIndex = from
  for (let open = 1; open > 0; ) {
    const bound = bounds.exec(text)
    if (!bound) return text.length
    open += bound[0] === '/*' ? 1 : -1
  }
  return bounds.lastIndex
}

function countLines(text: string): number {
  return text.split('\n').length - 1
}
