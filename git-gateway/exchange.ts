import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { AppError } from '../registry/errors.ts'
import type { GatewayDeps } from './gateway-deps.ts'
import { endGroup } from './git.ts'
import type { Access, Address, Service } from './guard.ts'
import { flushPacket, packet } from './pkt-line.ts'
import { feed } from './upload.ts'

const maxNegotiationBytes = 64 * 1_048_576

/** Answers GET info/refs: what the repository has, and what the gateway's git can. */
export async function advertise(
  request: IncomingMessage,
  response: ServerResponse,
  { address: { service }, access }: { address: Pick<Address, 'service'>; access: Pick<Access, 'app'> },
  { git, repositories }: Pick<GatewayDeps, 'git' | 'repositories'>,
): Promise<void> {
  const repository = access.app ? await repositories.open(access.app) : await repositories.openEmpty()
  if (response.destroyed) return
  const env = protocolOf(request, service)
  const child = git.start([commandOf(service), '--stateless-rpc', '--http-backend-info-refs', repository], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  response.writeHead(200, headers(`application/x-${service}-advertisement`))
  // Version 2 of the protocol begins without this line (gitprotocol-http(5)).
  if (!env.GIT_PROTOCOL) response.write(Buffer.concat([packet(`# service=${service}\n`), flushPacket]))
  response.once('close', () => void endGroup(child))
  child.stdout?.pipe(response)
}

/** Answers POST git-upload-pack: a clone or a fetch, which breaks off when `ended` is aborted. Resolves when the answer is over. */
export async function sendPack(
  request: IncomingMessage,
  response: ServerResponse,
  { access, body, ended }: { access: Pick<Access, 'app'>; body: Readable; ended: AbortSignal },
  { git, repositories }: Pick<GatewayDeps, 'git' | 'repositories'>,
): Promise<void> {
  if (!access.app) throw new AppError('APP_NOT_FOUND', 'There is no such app.')
  const repository = await repositories.open(access.app)
  if (ended.aborted) response.destroy()
  // Nobody would hear any more that it closes, and git would wait for ever.
  if (response.destroyed) return
  const child = git.start(['upload-pack', '--stateless-rpc', '--strict', repository], {
    env: protocolOf(request, 'git-upload-pack'),
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  if (!child.stdin || !child.stdout) throw new AppError('INTERNAL', 'git upload-pack started without pipes')
  const over = new Promise<void>((resolve) => response.once('close', () => resolve()))
  response.once('close', () => void endGroup(child))
  ended.addEventListener('abort', () => response.destroy())
  response.writeHead(200, headers('application/x-git-upload-pack-result'))
  child.stdout.pipe(response)
  const end = await feed(Buffer.alloc(0), body, { into: child.stdin, maxBytes: maxNegotiationBytes })
  if (end === 'oversize') response.destroy()
  await over
}

function commandOf(service: Service): string {
  return service.slice('git-'.length)
}

function protocolOf(request: IncomingMessage, service: Service): Record<string, string> {
  const asked = request.headers['git-protocol']
  return service === 'git-upload-pack' && asked === 'version=2' ? { GIT_PROTOCOL: asked } : {}
}

function headers(contentType: string): Record<string, string> {
  return { 'content-type': contentType, 'cache-control': 'no-cache, max-age=0, must-revalidate' }
}
