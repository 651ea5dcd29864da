import { type Launched, launch, type Program } from '../launch.ts'
import { prepareRuntime } from '../runtime.ts'
import { defaultEnv, heapMb, type IsolateSpec, inside } from './isolate.ts'

/** Somebody's own command behind the walls of an app, beside it and with all it has but its socket. */
export type AppCommand = Pick<
  IsolateSpec,
  | 'name'
  | 'home'
  | 'runs'
  | 'directory'
  | 'env'
  | 'user'
  | 'memoryMb'
  | 'processes'
  | 'dataDir'
  | 'network'
  | 'resolvers'
> & {
  /** The program, found as a shell would find it, and its arguments; no shell reads them. */
  command: string[]
  input: boolean
  timeoutMs: number
} & Pick<Program, 'onOutput' | 'signal'>

/**
 * Starts it in the app's folder, which it cannot write to. A program that is not there exits with 127. Throws SANDBOX_FAILED, and the signal's
 * reason.
 */
export async function launchInApp(spec: AppCommand): Promise<Launched> {
  const { name, directory, memoryMb, dataDir, network, resolvers, runs, user, input, onOutput, signal } = spec
  const runtime = await prepareRuntime(spec.home)
  const cwd = runs.kind === 'process' ? inside(directory, runs.folder) : directory
  const bins = [...new Set([cwd, directory])].map((folder) => `${folder}/node_modules/.bin`)
  const { NODE_OPTIONS, ...env } = spec.env
  return launch({
    ...{ name, cwd, user, dataDir, network, resolvers, input, onOutput, signal },
    // What looks for a program on the PATH inside the room is inside as well.
    file: '/usr/bin/env',
    args: ['--', ...spec.command],
    env: {
      ...defaultEnv(directory, [...bins, runtime.bin]),
      npm_config_cache: '/tmp/.npm',
      npm_config_update_notifier: 'false',
      ...env,
      // V8 would plan with the memory of the whole machine.
      NODE_OPTIONS: [`--max-old-space-size=${heapMb(memoryMb)}`, ...(NODE_OPTIONS ? [NODE_OPTIONS] : [])].join(' '),
    },
    readable: [directory, ...runtime.paths],
    limits: { timeoutMs: spec.timeoutMs, memoryMb, processes: spec.processes ?? 256 },
  })
}
