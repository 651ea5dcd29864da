import { setTimeout as pause } from 'node:timers/promises'
import type { Client } from './client.ts'
import { Failure } from './failure.ts'
import { note, print } from './output.ts'
import { type Deployment, field, readDeployment, readFields, shortVersion } from './reply.ts'

/** Between a lost connection and the next try, and how long to go on trying: a platform that restarts is back by then. */
const retryPeriodMs = 1_000
const retryForMs = 60_000

type Seen = { deployment: Deployment | null; seq: number; lastAt: number }
type End = { deployment: Deployment | null; ok: boolean; error: { code: string; message: string } | null }

/**
 * Prints a deployment's log as it comes, from a request that answers with its progress, and returns the deployment when it has gone all
 * the way. Comes back after a lost connection and goes on at the next line. With `json` the log goes to stderr: stdout is for the answer.
 * Throws a Failure with the reason of a failed deployment.
 */
export async function follow(
  client: Client,
  start: () => AsyncIterable<unknown>,
  { json = false, until = 'traffic' }: { json?: boolean; until?: Until } = {},
): Promise<Deployment> {
  const seen: Seen = { deployment: null, seq: 0, lastAt: Date.now() }
  const say = json ? note : print
  const stopListening = onInterrupt(() => tellInterrupted(seen))
  try {
    const end = (await readToEnd(start(), seen, say)) ?? (await comeBack(client, seen, { say, until }))
    return finish(end, seen)
  } finally {
    stopListening()
  }
}

/** To where a deployment is followed: until it has visitors, or until its rollout is over. */
export type Until = 'traffic' | 'verdict'

/** The log of a deployment from the line after `after` on. */
export function followFrom(
  client: Client,
  deploymentId: string,
  { after = 0, until }: { after?: number; until: Until },
): AsyncIterable<unknown> {
  return client.stream('GET deployments/{id}/logs', {
    params: { id: deploymentId },
    query: { follow: true, after, until },
  })
}

// Null: the events ended, or could not be had, before the deployment did.
async function readToEnd(events: AsyncIterable<unknown>, seen: Seen, say: (line: string) => void): Promise<End | null> {
  try {
    for await (const event of events) {
      seen.lastAt = Date.now()
      const type = field(event, 'type')
      if (type === 'start') seen.deployment = readDeployment(field(event, 'deployment'))
      if (type === 'log') showLine(event, seen, say)
      if (type === 'end') return readEnd(event)
    }
    return null
  } catch (thrown) {
    if (seen.deployment && thrown instanceof Failure && thrown.exitCode === 3) return null
    throw thrown
  }
}

async function comeBack(
  client: Client,
  seen: Seen,
  { say, until }: { say: (line: string) => void; until: Until },
): Promise<End> {
  const { deployment } = seen
  if (!deployment) throw new Failure('the platform ended the connection without an answer; try again', { exitCode: 3 })
  note('the connection to the platform was lost; trying again')
  while (Date.now() - seen.lastAt < retryForMs) {
    await pause(retryPeriodMs)
    const end = await readToEnd(followFrom(client, deployment.id, { after: seen.seq, until }), seen, say)
    if (end) return end
  }
  throw new Failure(
    `the platform does not answer; the deployment goes on there, follow it with: atelier logs ${deployment.id} -f`,
    {
      exitCode: 3,
      code: 'UNREACHABLE',
    },
  )
}

function showLine(event: unknown, seen: Seen, say: (line: string) => void): void {
  const { seq, text } = readFields(event, { seq: 'number', text: 'string' })
  if (seq <= seen.seq) return
  seen.seq = seq
  say(text)
}

function readEnd(event: unknown): End {
  const [deployment, error] = [field(event, 'deployment'), field(event, 'error')]
  return {
    deployment: deployment ? readDeployment(deployment) : null,
    ok: field(event, 'ok') === true,
    error: error ? readFields(error, { code: 'string', message: 'string' }) : null,
  }
}

function finish(end: End, seen: Seen): Deployment {
  if (end.ok && end.deployment) return end.deployment
  const about = end.deployment ?? seen.deployment
  const name = about ? `${about.app_id} ${shortVersion(about.version)} (v${about.number})` : 'the deployment'
  const message = end.error?.message ?? 'no reason is known'
  // What people give as the reason says so itself.
  const happened = message.startsWith('taken back') ? 'was' : `${happenedTo(about, end.error?.code)}:`
  throw new Failure(`${name} ${happened} ${message}`, { code: end.error?.code })
}

function happenedTo(about: Deployment | null, code: string | undefined): string {
  if (about?.state === 'cancelled') return 'was cancelled'
  return about?.state === 'rolled_back' || code === 'ROLLED_BACK' ? 'was taken back' : 'did not go live'
}

function tellInterrupted({ deployment }: Seen): void {
  if (!deployment) note('atelier: interrupted; nothing was deployed')
  else
    note(
      `atelier: ${shortVersion(deployment.version)} goes on without this command; follow it: atelier logs ${deployment.id} -f; end it: atelier cancel ${deployment.id}`,
    )
}

/** Runs `tell` and ends the process (exit code 1) on Ctrl-C. Returns what stops listening. */
function onInterrupt(tell: () => void): () => void {
  const interrupt = () => {
    tell()
    process.exit(1)
  }
  process.once('SIGINT', interrupt)
  return () => process.off('SIGINT', interrupt)
}
