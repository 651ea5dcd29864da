import type { Command } from 'commander'
import type { Client } from './client.ts'
import { type AppOptions, connect, connectToApp, withApp } from './context.ts'
import { findById, findByVersion, isDeploymentId } from './deployment-name.ts'
import { Failure } from './failure.ts'
import { follow, followFrom } from './follow.ts'
import { note, paint, print } from './output.ts'
import { field, readFields, shortVersion } from './reply.ts'

type Options = AppOptions & { follow?: true; tail?: string }

export function register(program: Command): void {
  withApp(program.command('logs'))
    .description('read what an app writes, or the build log of a deployment')
    .argument('[name]', 'an app, or a deployment by its id, number or version; default: the app of this repository')
    .option('-f, --follow', 'go on as more comes; of a deployment: until its rollout is over, or it has failed')
    .option('-n, --tail <lines>', "how many of an app's newest lines to begin with", '200')
    .action(logs)
}

async function logs(name: string | undefined, options: Options): Promise<void> {
  if (name === undefined) {
    const { client, app } = await connectToApp(options)
    return appLog(client, app, options)
  }
  if (isDeploymentId(name)) {
    const client = await connect()
    if (await findById(client, name)) return buildLog(client, name, options)
  }
  if (isVersion(name)) {
    const { client, app } = await connectToApp(options)
    const deployment = await findByVersion(client, app, name)
    if (deployment) return buildLog(client, deployment.id, options)
    throw new Failure(`${app} has no deployment ${name}; see: atelier deploys --app ${app}`, {
      code: 'DEPLOYMENT_NOT_FOUND',
    })
  }
  return appLog(await connect(), name, options)
}

// What cannot be an app's name, or is written like a commit.
function isVersion(name: string): boolean {
  return /^(v\d+|[0-9a-f]{7,64}|\d.*)$/.test(name)
}

async function buildLog(client: Client, id: string, { follow: isFollowed, json }: Options): Promise<void> {
  if (isFollowed && !json) {
    await follow(client, () => followFrom(client, id, { until: 'verdict' }), { until: 'verdict' })
    return
  }
  const query = { follow: isFollowed, until: 'verdict' } as const
  for await (const event of client.stream('GET deployments/{id}/logs', { params: { id }, query })) {
    if (json) process.stdout.write(`${JSON.stringify(event)}\n`)
    else print(readFields(event, { text: 'string' }).text)
  }
}

async function appLog(client: Client, app: string, { follow: isFollowed, tail, json }: Options): Promise<void> {
  const query = { follow: isFollowed, tail: Number(tail) }
  let isSilent = true
  for await (const event of client.stream('GET apps/{app}/logs', { params: { app }, query })) {
    isSilent = false
    if (json) process.stdout.write(`${JSON.stringify(event)}\n`)
    else if (field(event, 'type') === 'log') printAppLine(event)
    const error = field(event, 'error')
    if (error) throw failureOf(error)
  }
  // A log that is followed has no end of its own.
  if (isFollowed)
    throw new Failure(`the platform ended the connection; when it is there again: atelier logs ${app} -f`, {
      exitCode: 3,
      code: 'UNREACHABLE',
    })
  if (isSilent) note(`${app} has written nothing yet`)
}

function failureOf(error: unknown): Failure {
  const { code, message } = readFields(error, { code: 'string', message: 'string' })
  return new Failure(message, { code })
}

function printAppLine(event: unknown): void {
  const { at, version, stream, text } = readFields(event, {
    at: 'string',
    version: 'string',
    stream: 'string',
    text: 'string',
  })
  const head = paint('dim', `${at.slice(0, 19).replace('T', ' ')} ${shortVersion(version)}`)
  print(`${head} ${stream === 'stderr' ? paint('yellow', text) : text}`)
}
