import type { Command } from 'commander'
import { listsByDefault, withJson } from './context.ts'
import { note, print, printJson, printTable } from './output.ts'

type Options = { json?: boolean; oneMachine?: boolean }

export function register(program: Command): void {
  const keys = listsByDefault(
    withJson(program.command('keys')).description('on the server: the keys that seal secrets in the database'),
    list,
  )
  withJson(keys.command('list'))
    .description('list the keys of this machine, and how much each has sealed')
    .action((_, command: Command) => list(command.optsWithGlobals()))
  withJson(keys.command('rotate'))
    .description('make a new key and seal everything again by it, while the platform runs; done again it goes on')
    .option('--one-machine', 'with a database of your own: no part of the platform runs elsewhere')
    .action((_, command: Command) => rotate(command.optsWithGlobals()))
  withJson(keys.command('forget'))
    .description('remove the keys before, when nothing is sealed by them')
    .action((_, command: Command) => forget(command.optsWithGlobals()))
}

async function list({ json }: Options): Promise<void> {
  const { listKeys } = await import('./up/keys.ts')
  const keys = await listKeys(process.env)
  if (json) return printJson({ keys })
  printTable(
    ['KEY', 'DOES', 'VALUES'],
    keys.map(({ name, seals, values }) => [name, seals ? 'seals' : 'opens', String(values)]),
  )
}

async function rotate({ json, oneMachine = false }: Options): Promise<void> {
  const { rotateKey } = await import('./up/keys.ts')
  const onValues = (values: number) => (json ? undefined : note(`${values} values sealed again`))
  const rotated = await rotateKey(process.env, { isOneMachine: oneMachine, onValues })
  if (json) return printJson({ name: rotated.name, values: rotated.values, is_new: rotated.isNew })
  const which = rotated.isNew ? 'the new key' : 'the key that was on its way'
  print(`Sealed ${rotated.values} values again, by ${which} ${rotated.name}`)
  print(
    'The key before stays and opens what an edge or a backup still has; when you need it no more: atelier keys forget',
  )
}

async function forget({ json }: Options): Promise<void> {
  const { forgetKeys } = await import('./up/keys.ts')
  const forgotten = await forgetKeys(process.env)
  if (json) return printJson({ forgotten })
  print(
    forgotten === 0 ? 'There is one key, and it seals' : `Removed ${forgotten === 1 ? 'one key' : `${forgotten} keys`}`,
  )
}
