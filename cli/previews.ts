import { type Command, InvalidArgumentError } from 'commander'
import { readStdin } from './ask.ts'
import { type AppOptions, connectToApp, listsByDefault, withApp } from './context.ts'
import { usage } from './failure.ts'
import { ago, print, printJson, printTable } from './output.ts'
import { everyPage } from './pages.ts'
import { field, readFields, readList, shortVersion } from './reply.ts'

type SetOptions = AppOptions & { ttl?: number; most?: number; password?: string | false }

export function register(program: Command): void {
  const previews = listsByDefault(
    withApp(program.command('previews')).description('list, approve and remove previews, and say how long they stay'),
    list,
  )
  withApp(previews.command('list'))
    .description('list previews with state, age and address, and pull requests that wait')
    .action((_, command: Command) => list(command.optsWithGlobals()))
  withApp(previews.command('rm'))
    .description('remove a preview; its pull request has one again with its next commit')
    .argument('<branch>', 'a branch, or the number of a pull request')
    .action((branch: string, _, command: Command) => remove(branch, command.optsWithGlobals()))
  withApp(previews.command('approve'))
    .description("build one commit of a fork's pull request, without anything the app keeps secret")
    .argument('<number>', 'of the pull request', parseCount)
    .argument('<sha>', 'the commit you have looked at, whole')
    .action((number: number, sha: string, _, command: Command) => approve({ number, sha }, command.optsWithGlobals()))
  withApp(previews.command('set'))
    .description('set how long and how many previews are kept, and a password for their visitors')
    .option('--ttl <time>', 'remove those to which nothing is deployed for so long: 36h, 14d', parseHours)
    .option('--most <number>', 'of the app; when there is one more, the one deployed longest ago goes', parseCount)
    .option('--password <password>', 'what visitors give, with any user name; - reads it from standard input')
    .option('--no-password', 'let everybody look')
    .action((_, command: Command) => set(command.optsWithGlobals()))
}

async function list(options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const pages = await everyPage((query) => client.call('GET apps/{app}/previews', { params: { app }, query }))
  const reply = {
    previews: pages
      .flatMap(({ previews }) => previews)
      .toSorted((one, other) => Date.parse(other.deployed_at) - Date.parse(one.deployed_at)),
    pull_requests: pages.flatMap(({ pull_requests }) => pull_requests),
    settings: pages[0].settings,
  }
  if (options.json) return printJson(reply)
  const previews = readList(reply, 'previews', (one) =>
    readFields(one, {
      ...{ branch: 'string', url: 'string', version: 'string?', state: 'string?' },
      ...{ deployed_at: 'string', ends_at: 'string' },
    }),
  )
  const waiting = readList(reply, 'pull_requests', (one) =>
    readFields(one, { number: 'number', head: 'string', note: 'string?', problem: 'string?' }),
  )
  if (previews.length === 0) print(`${app} has no previews; make one with: git push atelier HEAD:pr/42`)
  else
    printTable(
      ['BRANCH', 'VERSION', 'STATE', 'DEPLOYED', 'UNTIL', 'ADDRESS'],
      previews.map(({ branch, version, state, deployed_at, ends_at, url }) => [
        branch,
        version ? shortVersion(version) : '',
        state ?? '',
        ago(deployed_at),
        ends_at.slice(0, 10),
        url,
      ]),
    )
  for (const { number, head, note, problem } of waiting) {
    if (note) print(`pull request ${number} (${shortVersion(head)}): ${note}`)
    if (problem) print(`pull request ${number}: its host was not told: ${problem}`)
  }
}

async function remove(named: string, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const branch = /^[1-9]\d*$/.test(named) ? `pr/${named}` : named
  await client.call('DELETE apps/{app}/previews', { params: { app }, query: { branch } })
  if (options.json) return printJson({ app_id: app, branch, removed: true })
  print(`Removed the preview of ${branch}`)
}

async function approve({ number, sha }: { number: number; sha: string }, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call('POST apps/{app}/previews/approve', { params: { app }, json: { number, sha } })
  if (options.json) return printJson(reply)
  print(`${shortVersion(sha)} of pull request ${number} is built now; with its next commit this starts anew`)
}

async function set({ ttl, most, password, ...options }: SetOptions): Promise<void> {
  if (ttl === undefined && most === undefined && password === undefined)
    throw usage('there is nothing to set; use --ttl, --most, --password or --no-password')
  const { client, app } = await connectToApp(options)
  const given = password === '-' ? (await readStdin()).replace(/\r?\n$/, '') : password
  const json = { ttl_hours: ttl, most, password: given === false ? null : given }
  const reply = await client.call('PUT apps/{app}/previews/settings', { params: { app }, json })
  if (options.json) return printJson(reply)
  const settings = readFields(reply, { ttl_hours: 'number', most: 'number' })
  const gate = field(reply, 'has_password') === true ? 'visitors give a password' : 'everybody may look'
  print(`Previews of ${app}: at most ${settings.most}, for ${hours(settings.ttl_hours)} after a deploy; ${gate}`)
}

function hours(count: number): string {
  if (count % 24 === 0) return count === 24 ? 'a day' : `${count / 24} days`
  return `${count} hours`
}

function parseHours(text: string): number {
  const [, count, unit] = /^([1-9]\d{0,3})(h|d)$/.exec(text) ?? []
  if (count) return Number(count) * (unit === 'd' ? 24 : 1)
  throw new InvalidArgumentError('It must be hours or days, such as 36h or 14d.')
}

function parseCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It must be a whole number.')
}
