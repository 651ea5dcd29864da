import { readConfig } from '../../registry/config.ts'
import { messageOf } from '../../registry/errors.ts'
import { connect, isUnreachable } from '../../registry/sql.ts'
import { Failure } from '../failure.ts'
import { renewAdminToken } from './access.ts'
import { prepareHome } from './home.ts'

/** Makes a new admin token for whoever can write to the platform's database; returns the file it is in. Throws a Failure. */
export async function renewAdmin(env: NodeJS.ProcessEnv): Promise<string> {
  const config = readConfig(env)
  if (config.databaseUrl === null) {
    const message = `this needs ATELIER_DATABASE_URL; a platform that atelier up started makes a new token when ${config.home}/admin-token is removed and it is started again`
    throw new Failure(message, { code: 'CONFIG_ENV' })
  }
  const home = await prepareHome(config)
  const sql = connect(config.databaseUrl, { max: 1, name: 'atelier-tokens' })
  try {
    await renewAdminToken(sql, home.adminTokenFile)
    return home.adminTokenFile
  } catch (thrown) {
    if (!isUnreachable(thrown)) throw thrown
    throw new Failure(`the database that ATELIER_DATABASE_URL names cannot be reached (${messageOf(thrown)})`, {
      code: 'DATABASE_UNAVAILABLE',
      exitCode: 3,
    })
  } finally {
    await sql.end({ timeout: 1 })
  }
}
