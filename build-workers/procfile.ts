import { AppError } from '../registry/errors.ts'
import { longestCommand } from '../registry/manifest.ts'
import type { SourceTree } from './source-tree.ts'

const longestProcfile = 65_536
const line = /^([A-Za-z0-9_-]+)\s*:[ \t]*(.*)$/

/** The command of the `web:` line; null when there is none. Throws ENTRY_NOT_FOUND when it says nothing, or nothing that can be run. */
export function readWebLine(tree: SourceTree): string | null {
  const command = linesOf(tree).get('web')
  if (command === undefined) return null
  if (command === '')
    throw new AppError(
      'ENTRY_NOT_FOUND',
      'the web: line of the Procfile names no command; write one, such as web: node server.js',
    )
  return checkCommand(command, 'the web: line of the Procfile')
}

/** What of the Procfile is not run, as a sentence for the log; null when nothing is left out. */
export function describeProcfile(tree: SourceTree): string | null {
  const names = [...linesOf(tree).keys()]
  const others = names.filter((name) => name !== 'web').slice(0, 10)
  if (others.length === 0) return null
  const left = `${others.map((name) => `${name}:`).join(', ')} of the Procfile ${others.length === 1 ? 'is' : 'are'} not run`
  return names.includes('web') ? `${left}; only web: is` : `${left}, and there is no web: line`
}

/** The command itself. Throws ENTRY_NOT_FOUND when no program could be given it. */
export function checkCommand(command: string, where: string): string {
  if (command.length > longestCommand)
    throw new AppError(
      'ENTRY_NOT_FOUND',
      `${where} is longer than ${longestCommand} characters; put the command into a script, and its name there`,
    )
  if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(command))
    throw new AppError('ENTRY_NOT_FOUND', `${where} holds control characters; write it as plain text`)
  return command
}

// As foreman reads it: of two lines with one name, the later counts; everything else is a comment.
function linesOf(tree: SourceTree): Map<string, string> {
  const text = tree.read('Procfile')?.replace(/^\uFEFF/, '') ?? ''
  if (text.length > longestProcfile)
    throw new AppError(
      'ENTRY_NOT_FOUND',
      `the Procfile is ${Math.ceil(text.length / 1024)} kB long; it should be a few lines, such as web: node server.js`,
    )
  return new Map(
    text.split(/\r?\n|\r/).flatMap((row) => {
      const [, name, command] = line.exec(row.trimEnd()) ?? []
      return name === undefined || command === undefined ? [] : [[name, command.trim()] as const]
    }),
  )
}
