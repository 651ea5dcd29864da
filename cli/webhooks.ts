import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type AppOptions, connect, connectToApp, listsByDefault, withApp } from './context.ts'
import { Failure } from './failure.ts'
import { ago, note, print, printJson, printTable } from './output.ts'
import { field, readFields, readList } from './reply.ts'
import { WebhooksClient } from './webhooks-client.ts'

type Options = AppOptions & { platform?: true }
type CreateOptions = Options & {
  name?: string
  slack?: true
  events?: string[]
  environment?: 'production' | 'preview'
}
type LogOptions = Options & { limit: number; cursor?: string }

export function register(program: Command): void {
  const webhooks = listsByDefault(
    withPlace(program.command('webhooks')).description('tell other programs what happens to an app'),
    list,
  )
  withPlace(webhooks.command('list'))
    .description('list webhooks')
    .action((_, command: Command) => list(command.optsWithGlobals()))
  withPlace(webhooks.command('create'))
    .description('create one; the secret that signs its messages is printed this once')
    .argument('<url>', 'where messages are sent')
    .option(
      '--events <types>',
      'such as deployment.live,rollout.*; default: all, with --slack what became of a version',
      readEvents,
    )
    .addOption(new Option('--environment <environment>', 'of one only').choices(['production', 'preview']))
    .option('--slack', 'messages for people, as Slack and what understands its format shows them')
    .option('--name <name>', 'what it is for; default: the host of the address')
    .action((url: string, _, command: Command) => create(url, command.optsWithGlobals()))
  withPlace(webhooks.command('test'))
    .description('send a message that means nothing, and say how it went')
    .argument('<webhook>')
    .action((id: string, _, command: Command) => test(id, command.optsWithGlobals()))
  withPlace(webhooks.command('log'))
    .description('list what was sent, the newest first; of one delivery every attempt and what was sent')
    .argument('<webhook>')
    .argument('[delivery]', 'its number', readNumber)
    .option('--limit <count>', 'at most so many', readNumber, 20)
    .option('--cursor <next>', 'what follows the page that named it')
    .action((id: string, delivery: number | undefined, _, command: Command) =>
      log(id, delivery, command.optsWithGlobals()),
    )
  withPlace(webhooks.command('redeliver'))
    .description('send a message again, under the same id')
    .argument('<webhook>')
    .argument('<delivery>', 'its number', readNumber)
    .action((id: string, delivery: number, _, command: Command) => redeliver(id, delivery, command.optsWithGlobals()))
  withPlace(webhooks.command('rotate'))
    .description('make a new secret, printed this once; the one before signs too for a day')
    .argument('<webhook>')
    .action((id: string, _, command: Command) => rotate(id, command.optsWithGlobals()))
  withPlace(webhooks.command('enable'))
    .description('go on with one that was disabled')
    .argument('<webhook>')
    .action((id: string, _, command: Command) => enable(id, command.optsWithGlobals()))
  withPlace(webhooks.command('rm'))
    .description('remove one, with what waits for it')
    .argument('<webhook>')
    .action((id: string, _, command: Command) => remove(id, command.optsWithGlobals()))
}

function withPlace(command: Command): Command {
  return withApp(command).option('--platform', 'those that are told of every app')
}

async function open(options: Options): Promise<WebhooksClient> {
  if (options.platform) return new WebhooksClient(await connect(), null)
  const { client, app } = await connectToApp(options)
  return new WebhooksClient(client, app)
}

async function list(options: Options): Promise<void> {
  const reply = await (await open(options)).list()
  if (options.json) return printJson(reply)
  const webhooks = readList(reply, 'webhooks', (one) => ({
    ...readFields(one, {
      id: 'string',
      name: 'string',
      address: 'string',
      format: 'string',
      disabled_reason: 'string?',
    }),
    events: readList(one, 'events', String),
  }))
  if (webhooks.length === 0) return print('no webhooks; make one with: atelier webhooks create https://…')
  printTable(
    ['ID', 'NAME', 'EVENTS', 'STATE', 'ADDRESS'],
    webhooks.map((one) => [
      one.id,
      one.name,
      one.events.join(','),
      one.disabled_reason === null ? 'enabled' : 'disabled',
      `${one.address}${one.format === 'slack' ? ' (slack)' : ''}`,
    ]),
  )
  for (const { id, disabled_reason: reason } of webhooks)
    if (reason !== null) print(`${id} is disabled: ${reason}; go on with: atelier webhooks enable ${id}`)
}

async function create(url: string, { slack, name, events, environment, ...options }: CreateOptions): Promise<void> {
  const format = slack ? 'slack' : undefined
  const reply = await (await open(options)).create({ url, name, format, events, environment })
  if (options.json) return printJson(reply)
  const { id, secret } = readFields(reply, { id: 'string', secret: 'string' })
  note(
    `Made the webhook ${id}; try it: atelier webhooks test ${id}${flagOf(options)}. Its secret, which is not shown again:`,
  )
  // Alone on stdout: it can be piped to where it is needed.
  print(secret)
}

async function rotate(id: string, options: Options): Promise<void> {
  const reply = await (await open(options)).rotate(id)
  if (options.json) return printJson(reply)
  const { secret } = readFields(reply, { secret: 'string' })
  note(`For a day the secret before signs every message, too. The new one of ${id}, which is not shown again:`)
  print(secret)
}

async function enable(id: string, options: Options): Promise<void> {
  const reply = await (await open(options)).enable(id)
  if (options.json) return printJson(reply)
  print(`Enabled ${id}`)
}

async function remove(id: string, options: Options): Promise<void> {
  await (await open(options)).remove(id)
  if (options.json) return printJson({ removed: id })
  print(`Removed the webhook ${id}`)
}

async function test(id: string, options: Options): Promise<void> {
  const webhooks = await open(options)
  const sent = await webhooks.test(id)
  await tellEnd(webhooks, id, readFields(sent, { id: 'number' }).id, options)
}

async function redeliver(id: string, delivery: number, options: Options): Promise<void> {
  const webhooks = await open(options)
  const before = readDelivery(await webhooks.delivery(id, delivery)).attempts.length
  await webhooks.redeliver(id, delivery)
  await tellEnd(webhooks, id, delivery, options, before)
}

const waitForMs = 15_000

// The next attempt is told as it went; it has ten seconds.
async function tellEnd(
  webhooks: WebhooksClient,
  id: string,
  delivery: number,
  { json }: Options,
  before = 0,
): Promise<void> {
  for (const until = Date.now() + waitForMs; ; await sleep(200)) {
    const reply = await webhooks.delivery(id, delivery)
    const { attempts } = readDelivery(reply)
    const last = attempts.length > before ? attempts.at(-1) : undefined
    if (!last && Date.now() < until) continue
    if (json) printJson(reply)
    if (last && last.reason === null)
      return json ? undefined : print(`Delivered: ${last.status} in ${last.duration_ms} ms`)
    const why = last ? last.reason : 'nothing was sent yet; is the platform’s registry running?'
    throw new Failure(`not delivered: ${why}`, { code: 'NOT_DELIVERED' })
  }
}

async function log(id: string, delivery: number | undefined, options: LogOptions): Promise<void> {
  const webhooks = await open(options)
  if (delivery !== undefined) return showDelivery(webhooks, id, delivery, options)
  const { limit, cursor, json } = options
  const reply = await webhooks.deliveries(id, { limit, ...(cursor !== undefined && { cursor }) })
  if (json) return printJson(reply)
  const deliveries = readList(reply, 'deliveries', readDelivery)
  if (deliveries.length === 0) return print(`nothing was sent to ${id} yet; try it: atelier webhooks test ${id}`)
  printTable(
    ['DELIVERY', 'EVENT', 'AT', 'STATE', 'TRIES', 'LAST'],
    deliveries.map(({ id, type, at, state, attempts }) => {
      const last = attempts.at(-1)
      const how = last ? (last.reason ?? `${last.status} in ${last.duration_ms} ms`) : '-'
      return [String(id), type, ago(at), state, String(attempts.length), how]
    }),
  )
  if (reply.next) print(`more: atelier webhooks log ${id} --cursor ${reply.next}`)
}

async function showDelivery(webhooks: WebhooksClient, id: string, delivery: number, { json }: Options): Promise<void> {
  const reply = await webhooks.delivery(id, delivery)
  if (json) return printJson(reply)
  const { type, eventId, at, state, dueAt, attempts } = readDelivery(reply)
  print(`${type} of ${at}, ${eventId}: ${state}${dueAt ? `, next at ${dueAt}` : ''}`)
  for (const one of attempts)
    print(`  ${one.at}  ${one.status ?? '-'} in ${one.duration_ms} ms  ${one.reason ?? 'taken'}`)
  print(readFields(reply, { body: 'string' }).body)
}

function readDelivery(reply: unknown) {
  const { id, state, due_at: dueAt } = readFields(reply, { id: 'number', state: 'string', due_at: 'string?' })
  const { id: eventId, type, at } = readFields(field(reply, 'event'), { id: 'string', type: 'string', at: 'string' })
  const attempts = readList(reply, 'attempts', (one) =>
    readFields(one, { at: 'string', duration_ms: 'number', status: 'number?', reason: 'string?' }),
  )
  return { id, state, dueAt, eventId, type, at, attempts }
}

function flagOf({ platform, app }: Options): string {
  if (platform) return ' --platform'
  return app ? ` --app ${app}` : ''
}

function readEvents(text: string): string[] {
  return text
    .split(',')
    .map((type) => type.trim())
    .filter(Boolean)
}

function readNumber(text: string): number {
  if (/^[1-9]\d{0,15}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It must be a whole number from 1 on.')
}
