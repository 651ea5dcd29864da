import type { Client } from './client.ts'
import { Failure } from './failure.ts'
import { type Deployment, readDeployment, readList } from './reply.ts'

const openStates = ['queued', 'building', 'built', 'uploading', 'canary']

/** Is this a deployment's id, and nothing else people type? Ids are 12 characters and hold a digit more often than not. */
export function isDeploymentId(text: string): boolean {
  return /^[a-z][a-z0-9]{11}$/.test(text)
}

/** The deployment with this id; null when there is none or it may not be seen. */
export async function findById(client: Client, id: string): Promise<Deployment | null> {
  try {
    return readDeployment(await client.call('GET deployments/{id}', { params: { id } }))
  } catch (thrown) {
    if (thrown instanceof Failure && thrown.code === 'DEPLOYMENT_NOT_FOUND') return null
    throw thrown
  }
}

/** The newest deployment of an app's version. */
export async function findByVersion(client: Client, app: string, version: string): Promise<Deployment | null> {
  const reply = await client.call('GET deploys', { query: { app, version, limit: 1 } })
  return readList(reply, 'deployments', readDeployment)[0] ?? null
}

/** The deployment of an app that is on its way, the newest first. */
export async function findOpen(client: Client, app: string): Promise<Deployment | null> {
  const reply = await client.call('GET deploys', { query: { app, limit: 50 } })
  return readList(reply, 'deployments', readDeployment).find(({ state }) => openStates.includes(state)) ?? null
}
