import { Command } from 'commander'
import { commands } from './commands.ts'
import { print } from './output.ts'

const shells = ['bash', 'zsh', 'fish'] as const

export function register(program: Command): void {
  program
    .command('completion')
    .description('print a script that teaches a shell to complete commands')
    .argument('[shell]', 'bash, zsh or fish; default: the one of $SHELL')
    .action((shell: string | undefined) => {
      for (const line of scriptFor(shell ?? process.env.SHELL ?? '')) print(line)
    })
}

/** What may come next, after the words before the last; the last is begun, and may be empty. */
export async function candidatesFor(words: string[]): Promise<string[]> {
  const begun = words.at(-1) ?? ''
  const [name, ...before] = words.slice(0, -1).filter((word) => !word.startsWith('-'))
  if (name === undefined || name === 'help')
    return [...Object.keys(commands), 'help'].filter((one) => one.startsWith(begun))
  const entry = commands[name]
  if (!entry || words.slice(0, -1).includes('--')) return []
  const program = new Command().enablePositionalOptions()
  ;(await entry.load()).register(program)
  let command = program.commands[0]
  for (const word of before) command = command?.commands.find((one) => one.name() === word) ?? command
  const options = command?.options.filter(({ hidden }) => !hidden).flatMap(({ long }) => long ?? []) ?? []
  const names = begun.startsWith('-') ? [...options, '--help'] : (command?.commands.map((one) => one.name()) ?? [])
  return names.filter((one) => one.startsWith(begun))
}

// Where nothing is known, the shell completes files.
function scriptFor(shell: string): string[] {
  const name = shells.find((one) => shell.endsWith(one)) ?? 'bash'
  if (name === 'fish')
    return ["complete -c atelier -a '(atelier completion --of (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'"]
  const bash = [
    '_atelier() {',
    "  local IFS=$'\\n'",
    `  COMPREPLY=($(atelier completion --of "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))`,
    '}',
    'complete -o default -F _atelier atelier',
  ]
  return name === 'zsh' ? ['autoload -U +X bashcompinit && bashcompinit', ...bash] : bash
}
