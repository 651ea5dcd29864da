import type { Command } from 'commander'
import { type AppOptions, connectToApp, withApp } from './context.ts'
import { print, printJson } from './output.ts'
import { field, readFields, readList, shortVersion } from './reply.ts'

const mostShown = 20
const signs = { added: '+', removed: '-', changed: '~' }

export function register(program: Command): void {
  withApp(program.command('diff'))
    .description('what differs between two built versions: files, routes, names of variables, dependencies, commits')
    .argument('<from>', 'a version: a git SHA or its beginning, v17, a time or a release')
    .argument('<to>', 'another')
    .action(diff)
}

async function diff(from: string, to: string, options: AppOptions): Promise<void> {
  const { client, app } = await connectToApp(options)
  const reply = await client.call('GET apps/{app}/diff', { params: { app }, query: { from, to } })
  if (options.json) return printJson(reply)
  const parts: [string, string[]][] = [
    ['commits', readList(reply, 'commits', commitLine)],
    ['routes', linesOf(field(reply, 'routes'), String)],
    ['files', linesOf(field(reply, 'files'), fileLine)],
    ['server code', serverLines(field(reply, 'server_code'))],
    ['dependencies', dependencyLines(field(reply, 'dependencies'))],
    ['variables', linesOf(field(reply, 'env'), String)],
  ]
  print(`${sideOf(field(reply, 'from'))} → ${sideOf(field(reply, 'to'))}`)
  if (parts.every(([, lines]) => lines.length === 0)) print('  nothing differs')
  for (const [title, lines] of parts) printPart(title, lines)
}

function printPart(title: string, lines: string[]): void {
  const left = lines.length - mostShown
  const shown = [...lines.slice(0, mostShown), ...(left > 0 ? [`and ${left} more; all of them: --json`] : [])]
  for (const [index, line] of shown.entries()) print(`  ${(index === 0 ? title : '').padEnd(12)}  ${line}`)
}

function linesOf(changes: unknown, read: (entry: unknown) => string): string[] {
  return (['added', 'removed', 'changed'] as const).flatMap((kind) => {
    if (field(changes, kind) === undefined) return []
    return readList(changes, kind, (entry) => `${signs[kind]} ${read(entry)}`)
  })
}

function sideOf(side: unknown): string {
  const { version, number, environment } = readFields(side, {
    version: 'string',
    number: 'number',
    environment: 'string',
  })
  return `${shortVersion(version)} (v${number}${environment === 'preview' ? ', preview' : ''})`
}

function commitLine(commit: unknown): string {
  const { sha, subject } = readFields(commit, { sha: 'string', subject: 'string' })
  return `${shortVersion(sha)} ${subject}`
}

function fileLine(file: unknown): string {
  const { path, from, to } = readFields(file, { path: 'string', from: 'number?', to: 'number?' })
  return `${path}  ${change(bytes(from), bytes(to))}`
}

function serverLines(code: unknown): string[] {
  if (code === null) return []
  const { from, to, changed } = readFields(code, { from: 'number?', to: 'number?', changed: 'boolean' })
  return changed ? [`${change(bytes(from), bytes(to))}, packed`] : []
}

function dependencyLines(dependencies: unknown): string[] {
  const lines = linesOf(dependencies, (entry) => {
    const { name, from, to } = readFields(entry, { name: 'string', from: 'string?', to: 'string?' })
    return `${name}  ${change(from, to)}`
  })
  const { lockfile_changed } = readFields(dependencies, { lockfile_changed: 'boolean' })
  return lockfile_changed ? [...lines, '~ the lockfile'] : lines
}

function change(from: string | null, to: string | null): string {
  return from === null || to === null || from === to ? (to ?? from ?? '') : `${from} → ${to}`
}

function bytes(size: number | null): string | null {
  if (size === null) return null
  if (size < 1000) return `${size} B`
  return size < 1e6 ? `${(size / 1e3).toFixed(1)} kB` : `${(size / 1e6).toFixed(1)} MB`
}
