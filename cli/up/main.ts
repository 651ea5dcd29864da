import { readConfig } from '../../registry/config.ts'
import { toAppError } from '../../registry/errors.ts'
import { Failure, usage } from '../failure.ts'
import { onEndSignal } from './end-signal.ts'
import { readyBlock } from './ready-block.ts'
import { Supervisor } from './supervisor.ts'
import { Terminal } from './terminal.ts'

/**
 * `atelier up`: the whole platform in this terminal, until Ctrl-C or SIGTERM. Resolves when everything has ended in order; throws a
 * Failure (one sentence, exit code 1 when the user can mend it, else 3) when it cannot start, with nothing left running.
 */
export async function up(args: string[] = []): Promise<void> {
  if (args.length > 0)
    throw usage(`up takes no arguments (${args.join(' ')}); it is set up by ATELIER_ variables, see README.md`)
  const terminal = new Terminal()
  try {
    const config = readConfig(process.env)
    const supervisor = await Supervisor.claim(config, { terminal })
    const asked = onEndSignal({
      first: () => terminal.say('Stopping Atelier'),
      again: () => supervisor.hurry(),
    })
    const facts = await Promise.race([supervisor.start(), asked])
    if (facts) terminal.welcome(readyBlock({ config, ...facts, tookMs: sinceLaunch() }))
    await asked
    await supervisor.stop()
  } catch (thrown) {
    const { code, message, fault } = toAppError(thrown)
    // To a visitor a bad setting is the platform's fault; here it is that of the person who set it.
    const isTheirs = fault === 'user' || code === 'CONFIG_ENV' || code === 'ISOLATION_WEAK'
    throw new Failure(message, { code, exitCode: isTheirs ? 1 : 3 })
  }
}

// The launcher that hands over to the pinned Node says when it began: a person waits for both.
function sinceLaunch(): number {
  const launchedAt = Number(process.env.ATELIER_LAUNCHED_AT) || performance.timeOrigin
  return Date.now() - launchedAt
}
