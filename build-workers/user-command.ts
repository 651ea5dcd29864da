import type { Runtime } from '../sandbox/runtime.ts'
import type { SourceTree } from './source-tree.ts'

export type Command = { file: string; args: string[] }

/**
 * A command from the config as a program: a file of the app runs as its first line or its extension says, anything else through `sh -c`.
 * The one place where text becomes a shell's: it is the app's own, and it runs behind the walls as the build's user.
 */
export function userCommand(command: string, tree: SourceTree, { node }: Pick<Runtime, 'node'>): Command {
  const path = command.trim().replace(/^\.\//, '')
  if (!tree.hasFile(path)) return { file: '/bin/sh', args: ['-c', command] }

  const interpreter = /^#!\s*(\S+)(?:[ \t]+(.+?))?[ \t]*\r?\n/.exec(tree.read(path) ?? '')
  if (interpreter?.[1]) return { file: interpreter[1], args: [...(interpreter[2] ? [interpreter[2]] : []), path] }
  return /\.[cm]?[jt]s$/.test(path) ? { file: node, args: [path] } : { file: '/bin/sh', args: [path] }
}
