import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { AppError, messageOf } from '../../registry/errors.ts'

const run = promisify(execFile)

export type PostgresUser = { uid: number; gid: number }

/** Of the platform's own server, and of that of apps: whoever breaks out of the one does not read the files of the other. */
export type PostgresUserName = 'atelier-postgres' | 'atelier-apps'

/**
 * Postgres refuses to run as root, and initdb asks the passwd file who it is: started by root it gets a system user of its own, made on
 * first use. Null for an ordinary user, who runs it as himself. Throws DATABASE_UNAVAILABLE when the user cannot be made.
 */
export async function postgresUser(userName: PostgresUserName = 'atelier-postgres'): Promise<PostgresUser | null> {
  if (process.getuid?.() !== 0) return null
  const there = await findUser(userName)
  if (there) return there

  try {
    await run('useradd', [
      '--system',
      '--user-group',
      '--no-create-home',
      '--home-dir=/nonexistent',
      '--shell=/usr/sbin/nologin',
      userName,
    ])
  } catch (cause) {
    // Another instance may have been quicker.
    const made = await findUser(userName)
    if (made) return made
    const message = `Postgres does not run as root and its system user could not be made (${messageOf(cause).trim()}); make a user named ${userName}, or start Atelier as an ordinary user`
    throw new AppError('DATABASE_UNAVAILABLE', message, { cause })
  }
  const made = await findUser(userName)
  if (!made) throw new AppError('DATABASE_UNAVAILABLE', `useradd made no user ${userName}`)
  return made
}

async function findUser(userName: PostgresUserName): Promise<PostgresUser | null> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n')
  const fields = lines.find((line) => line.startsWith(`${userName}:`))?.split(':')
  return fields ? { uid: Number(fields[2]), gid: Number(fields[3]) } : null
}
