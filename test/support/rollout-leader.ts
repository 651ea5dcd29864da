// A registry's controller as a process of its own, for tests that end it in ways a process cannot end itself.
import { readConfig } from '../../registry/config.ts'
import { createLog } from '../../registry/log.ts'
import { RolloutController } from '../../registry/rollouts/controller.ts'
import { connect } from '../../registry/sql.ts'

const config = readConfig({ ...process.env, ATELIER_HOME: '/nowhere' })
const sql = connect(config.databaseUrl, { max: 3, name: 'leader' })
const lockSql = connect(config.databaseUrl, { max: 1, name: 'leader lock' })
new RolloutController({ sql, lockSql, config, log: createLog('leader') })
