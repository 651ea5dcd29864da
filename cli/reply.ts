import { Failure } from './failure.ts'

// What the API answers is read here, field by field. A schema library would cost more time than all the rest of a short command.

type FieldType = 'string' | 'number' | 'boolean' | 'string?' | 'number?'
type Fields = Record<string, FieldType>
type ValueOf<T extends FieldType> = T extends 'number'
  ? number
  : T extends 'boolean'
    ? boolean
    : T extends 'string?'
      ? string | null
      : T extends 'number?'
        ? number | null
        : string
type Read<F extends Fields> = { [Name in keyof F]: ValueOf<F[Name]> }

const deploymentFields = {
  id: 'string',
  app_id: 'string',
  number: 'number',
  version: 'string',
  environment: 'string',
  branch: 'string',
  url: 'string',
  source: 'string',
  subject: 'string?',
  state: 'string',
  state_reason: 'string?',
  state_since: 'string',
  created_at: 'string',
  created_by: 'string',
  live_at: 'string?',
} as const satisfies Fields

export type Deployment = Read<typeof deploymentFields>

/** Reads an object's fields; fails (exit code 3) when the platform answers something else. Unknown fields are left out. */
export function readFields<const F extends Fields>(reply: unknown, fields: F): Read<F> {
  const entries = Object.entries(fields).map(([name, type]) => [name, readField(field(reply, name), type, name)])
  return Object.fromEntries(entries) as Read<F>
}

/** The entries of a list in a field. */
export function readList<T>(reply: unknown, name: string, read: (entry: unknown) => T): T[] {
  const list = field(reply, name)
  if (!Array.isArray(list)) throw unexpected(name)
  return list.map(read)
}

export function field(reply: unknown, name: string): unknown {
  if (typeof reply !== 'object' || reply === null) throw unexpected(name)
  return Reflect.get(reply, name)
}

export function readDeployment(reply: unknown): Deployment {
  return readFields(reply, deploymentFields)
}

/** A git SHA as people see it; every other version whole. */
export function shortVersion(version: string): string {
  return /^[0-9a-f]{40,64}$/.test(version) ? version.slice(0, 7) : version
}

function readField(value: unknown, type: FieldType, name: string): unknown {
  if (type.endsWith('?') && (value === null || value === undefined)) return null
  if (typeof value !== type.replace('?', '')) throw unexpected(name)
  return value
}

function unexpected(name: string): Failure {
  return new Failure(`the platform's answer lacks ${name}; are this command and the platform of the same version?`, {
    exitCode: 3,
    code: 'ANSWER_UNEXPECTED',
  })
}
