import { join } from 'node:path'
import { AppError } from '../registry/errors.ts'
import { stageScript } from '../sandbox/runtime.ts'
import { type AppConfig, defaultAppConfig, readAppConfig } from './app-config.ts'
import type { Programs } from './programs.ts'
import type { SourceTree } from './source-tree.ts'

const names = ['ts', 'mts', 'js', 'mjs', 'json'].map((extension) => `atelier.config.${extension}`)
const timeoutMs = 10_000
const longestReport = 262_144

export type ConfigDeps = { programs: Programs; home: string; node: string; app: string; env: Record<string, string> }

/**
 * The settings of the app's config file, with defaults; JSON is read here, code is run in the sandbox. Throws CONFIG_INVALID whose first line
 * says what is wrong and whose further lines are the other problems.
 */
export async function readConfigFile(tree: SourceTree, deps: ConfigDeps): Promise<AppConfig> {
  const present = names.filter((name) => tree.hasFile(name))
  const [file] = present
  if (!file) return defaultAppConfig
  if (present.length > 1) throw new AppError('CONFIG_INVALID', `there are ${present.join(' and ')}; keep one of them`)

  const { config: exported, problems: unreadable } = file.endsWith('.json')
    ? { config: parseJson(file, tree.read(file) ?? ''), problems: [] }
    : await evaluate(file, deps)
  const { config, problems } = readAppConfig(exported)
  const all = [...unreadable, ...problems]
  if (config && all.length === 0) return config
  const [first = '', ...others] = all
  const count = others.length > 0 ? ` (and ${others.length} more in the log)` : ''
  throw new AppError(
    'CONFIG_INVALID',
    [`${file}: ${first}${count}`, ...others.map((problem) => `  ${problem}`)].join('\n'),
  )
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new AppError('CONFIG_INVALID', `${file}: ${cause instanceof Error ? cause.message : 'it is no JSON'}`, {
      cause,
    })
  }
}

type Evaluated = { config: unknown; problems: string[] }

async function evaluate(file: string, { programs, home, node, app, env }: ConfigDeps): Promise<Evaluated> {
  const script = await stageScript(home, join(import.meta.dirname, 'evaluate-config.ts'))
  const said = await programs.run({
    name: file,
    file: node,
    args: ['--disable-warning=ExperimentalWarning', script, join(app, file)],
    env,
    code: 'CONFIG_INVALID',
    timeout: { ms: timeoutMs, setting: 'it may only export settings' },
    controlBytes: longestReport,
  })
  const report = parseReport(said.toString('utf8'))
  if (!report) throw new AppError('CONFIG_INVALID', `${file}: it ended before it had exported its settings`)
  if ('error' in report) throw new AppError('CONFIG_INVALID', `${file}: ${report.error}`)
  return report
}

// { "toString": 1 } is no text, and cannot be made one.
const textOf = (said: unknown) => (typeof said === 'string' ? said : JSON.stringify(said))

// The code being run could write here too, so nothing is believed.
function parseReport(text: string): Evaluated | { error: string } | null {
  const line = text.split('\n', 1)[0] ?? ''
  try {
    const report: unknown = JSON.parse(line)
    if (typeof report !== 'object' || report === null) return null
    if ('error' in report) return { error: textOf(report.error).slice(0, 1000) }
    const problems =
      'problems' in report && Array.isArray(report.problems) ? report.problems.slice(0, 100).map(textOf) : []
    return { config: 'config' in report ? report.config : undefined, problems }
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return null
    throw thrown
  }
}
