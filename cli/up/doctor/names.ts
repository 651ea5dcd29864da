import { lookup } from 'node:dns/promises'
import { networkInterfaces } from 'node:os'
import type { Config } from '../../../registry/config.ts'
import { codeOf } from '../../../registry/errors.ts'
import { type Check, fail, ok, warn } from './check.ts'

/** Whether the platform's names, and any name below the apps' domain, lead to this machine. */
export async function checkNames({ domain, appsDomain }: Config): Promise<Check[]> {
  return Promise.all([
    checkDomain('domain', domain, [`console.${domain}`, `api.${domain}`, `git.${domain}`]),
    // Any name: apps and previews are not known to DNS one by one.
    checkDomain('apps domain', appsDomain, [`doctor-${Date.now().toString(36)}.${appsDomain}`]),
  ])
}

async function checkDomain(name: string, domain: string, hosts: string[]): Promise<Check> {
  if (/(^|\.)localhost$/.test(domain))
    return ok(name, `*.${domain}: browsers, curl and git find this machine by themselves; other machines do not`)
  const own = ownAddresses()
  const found = await Promise.all(hosts.map(async (host) => ({ host, addresses: await addressesOf(host) })))
  const missing = found.filter(({ addresses }) => addresses.length === 0).map(({ host }) => host)
  const publicOne =
    own.find((address) => !/^(127\.|::1|fe80|10\.|192\.168\.|172\.)/.test(address)) ?? "this machine's address"
  if (missing.length > 0)
    return fail(
      name,
      `${missing.join(', ')} cannot be found`,
      `make DNS records: *.${domain} and ${domain} → ${publicOne}`,
    )
  const elsewhere = found.flatMap(({ addresses }) => addresses.filter((address) => !own.includes(address)))
  if (elsewhere.length > 0)
    return warn(
      name,
      `*.${domain} leads to ${[...new Set(elsewhere)].join(', ')}, which this machine does not have`,
      'all is well when that is a load balancer, or a router that leads here; else correct the DNS record',
    )
  return ok(name, `*.${domain} leads to this machine`)
}

async function addressesOf(host: string): Promise<string[]> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address)
  } catch (thrown) {
    if (['ENOTFOUND', 'EAI_AGAIN', 'ENODATA', 'ESERVFAIL'].includes(codeOf(thrown) ?? '')) return []
    throw thrown
  }
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address))
}
