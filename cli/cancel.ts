import type { Command } from 'commander'
import type { Client } from './client.ts'
import { type AppOptions, connect, connectToApp, withApp } from './context.ts'
import { findById, findByVersion, findOpen, isDeploymentId } from './deployment-name.ts'
import { Failure } from './failure.ts'
import { print, printJson } from './output.ts'
import { type Deployment, readDeployment, shortVersion } from './reply.ts'

export function register(program: Command): void {
  withApp(program.command('cancel'))
    .description('cancel a queued or running deployment; what is live stays live')
    .argument('[deployment]', 'its id, number or version; default: the newest one on its way')
    .action(cancel)
}

async function cancel(name: string | undefined, options: AppOptions): Promise<void> {
  const { client, deployment } = await choose(name, options)
  const reply = await client.call('POST deployments/{id}/cancel', { params: { id: deployment.id } })
  if (options.json) return printJson(reply)
  const { app_id, version, number } = readDeployment(reply)
  print(`${app_id} ${shortVersion(version)} (v${number}) is cancelled; what was live stays live`)
}

async function choose(
  name: string | undefined,
  options: AppOptions,
): Promise<{ client: Client; deployment: Deployment }> {
  if (name !== undefined && isDeploymentId(name)) {
    const client = await connect()
    const deployment = await findById(client, name)
    if (deployment) return { client, deployment }
  }
  const { client, app } = await connectToApp(options)
  const deployment = name === undefined ? await findOpen(client, app) : await findByVersion(client, app, name)
  if (deployment) return { client, deployment }
  if (name === undefined) throw new Failure(`${app} has no deployment on its way; see: atelier deploys --app ${app}`)
  throw new Failure(`${app} has no deployment ${name}; see: atelier deploys --app ${app}`, {
    code: 'DEPLOYMENT_NOT_FOUND',
  })
}
