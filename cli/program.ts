import { Command, CommanderError } from 'commander'
import { commands } from './commands.ts'
import { toFailure } from './failure.ts'
import { addExamples, firstSteps, groupOf, inOrder } from './help.ts'
import { note, print, printJson } from './output.ts'
import { ownVersion } from './version.ts'

/** Runs one command line to its end and returns the exit code; every failure has been told on stderr by then. */
export async function run(args: string[]): Promise<number> {
  endQuietlyWhenNobodyReads()
  if (args[0] === 'completion' && args[1] === '--of') return complete(args.slice(2))
  if (asksForHelpOfNothing(args)) return run(args.slice(1))
  const program = new Command('atelier')
    .description('git push to live on your own server')
    .version(ownVersion(), '-V, --version', 'print the version of this command')
    .helpOption('-h, --help', 'show help')
    .commandsGroup('More:')
    .helpCommand('help [command]', 'show help for a command')
    .addHelpText('after', firstSteps)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: (text) => note(usageError(text)) })
  try {
    await registerCommands(program, args)
    await program.parseAsync(args, { from: 'user' })
    return 0
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) return tell(thrown, args)
    if (thrown.exitCode === 0) return 0
    if (thrown.code !== 'commander.help') note(usageLine(program, args))
    return 2
  }
}

// `atelier help deplyo` is answered as `atelier deplyo` is: that there is none, and what was meant.
function asksForHelpOfNothing([first, second]: string[]): boolean {
  return first === 'help' && second !== undefined && !second.startsWith('-') && !Object.hasOwn(commands, second)
}

// Asked by a shell on every Tab; the words are those of another command line.
async function complete(words: string[]): Promise<number> {
  const { candidatesFor } = await import('./completion.ts')
  for (const candidate of await candidatesFor(words)) print(candidate)
  return 0
}

// "error: unknown option '--apq'\n(Did you mean --app?)" in the house's one line.
function usageError(text: string): string {
  return `atelier: ${text
    .trim()
    .replace(/^error: /, '')
    .replace(/\.?\n\(Did you mean (one of )?(.*)\?\)$/s, '; did you mean $1$2?')}`
}

function usageLine(program: Command, args: string[]): string {
  let command = program
  for (const arg of args) command = command.commands.find((one) => one.name() === arg) ?? command
  const path: string[] = []
  for (let one: Command | null = command; one; one = one.parent) path.unshift(one.name())
  return `usage: ${path.join(' ')} ${command.usage()}; more with --help`
}

// Only the command that runs is loaded; the others are known by name, for the list and for suggestions.
async function registerCommands(program: Command, args: string[]): Promise<void> {
  const [first, second] = args
  const wanted = first === 'help' ? second : first
  for (const name of inOrder(Object.keys(commands))) {
    const { summary, load } = commands[name] ?? unknown(name)
    if (name === wanted) (await load()).register(program)
    else program.command(name).description(summary)
    const command = program.commands.at(-1)
    command?.helpGroup(groupOf(name))
    if (command && name === wanted) addExamples(command)
  }
}

function unknown(name: string): never {
  throw new Error(`${name} is no command`)
}

function tell(thrown: unknown, args: string[]): number {
  const failure = toFailure(thrown)
  if (failure.isTold) return failure.exitCode
  note(`atelier: ${failure.message}`)
  if (process.env.ATELIER_DEBUG && failure.stack) note(failure.stack)
  if (args.includes('--json')) printJson({ error: { code: failure.code, message: failure.message } })
  return failure.exitCode
}

// `atelier logs | head` is no failure.
function endQuietlyWhenNobodyReads(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error) => {
      if ('code' in error && error.code === 'EPIPE') process.exit(0)
      throw error
    })
}
