import { readList } from './reply.ts'

/** What an earlier version that is live again does not know of, in sentences. */
export function movedSince(reply: unknown): string[] {
  const [env, migrations] = [readList(reply, 'env', String), readList(reply, 'migrations', String)]
  return [
    ...(env.length > 0
      ? [`changed since it was made: ${listed(env)}; it runs with its own; with today’s: atelier redeploy`]
      : []),
    ...(migrations.length > 0
      ? [`migrated since it was made: ${listed(migrations)}; the database stays as it is`]
      : []),
  ]
}

function listed(names: string[]): string {
  const [shown, more] = [names.slice(0, 5), names.length - 5]
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ')
}
