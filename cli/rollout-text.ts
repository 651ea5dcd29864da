import { ago, lasts, paint } from './output.ts'
import { type Deployment, shortVersion } from './reply.ts'
import type { Arm, Evidence, Rollout, Why } from './rollout-json.ts'

const gaugeWidth = 24

/** A rollout for people: where it is, both versions side by side, the evidence against its bar, and what to type. */
export function rolloutLines(rollout: Rollout): string[] {
  const { to, why } = rollout
  if (why) return [paint('bold', `${rollout.app_id} ${takenBack(rollout)}`), ...whyLines(why)]
  return [
    paint('bold', `${rollout.app_id} ${nameOf(to)} has ${shares(rollout)}`),
    `  ${stagesOf(rollout)}   ${paint(rollout.state === 'observing' ? 'cyan' : 'yellow', rollout.state)}${timeLeft(rollout)}`,
    ...armLines(rollout),
    ...evidenceLines('errors', rollout.errors),
    ...evidenceLines('latency', rollout.latency),
    `  ${rollout.sentence ?? 'begins'}`,
    ...rollout.remarks.map((remark) => `  ${remark}`),
    `  ${commandsFor(rollout)}`,
  ]
}

function shares({ percent, from, confidence }: Rollout): string {
  const label = confidence ? (confidenceLabels[confidence] ?? '') : ''
  if (percent === 100) return `all traffic${label}; ${nameOf(from)} is kept ready to go back to`
  return `${percent} % of the traffic${label}, ${nameOf(from)} the rest`
}

// On how much the stage was reached; on enough evidence is no news.
const confidenceLabels: Record<string, string> = {
  low: ' (low confidence: few requests)',
  unverified: ' (unverified: no traffic)',
  'by hand': ' (by hand)',
}

/** What came of a rollout, in a line. */
export function outcomeOf({ to, state, sentence }: Rollout): string {
  if (state === 'done') return `${nameOf(to)} has all traffic: ${sentence ?? 'done'}`
  return `${nameOf(to)} was taken back: ${sentence ?? state}`
}

function takenBack({ to, from, sentence, state }: Rollout): string {
  const said = sentence?.startsWith('taken back') ? sentence : `taken back: ${sentence ?? 'no reason is known'}`
  return `${nameOf(to)} was ${said} (${ago(to.state_since)}); ${state === 'reverting' ? 'not all proxies have followed yet' : `${nameOf(from)} has all traffic`}`
}

function whyLines({ paths, traces, commits, next }: Why): string[] {
  return [
    ...under(
      'failing',
      paths.map(({ path, status, count }) => `${count} × ${status || 'no answer'} ${path}`),
    ),
    ...traces.flatMap((trace, index) => under(index === 0 ? 'it wrote' : '', trace.split('\n'))),
    ...under(
      'commits',
      commits.map(({ sha, subject }) => `${shortVersion(sha)} ${subject}`),
    ),
    ...under('next', [next]),
  ]
}

function under(name: string, lines: string[]): string[] {
  return lines.map((line, index) => `  ${(index === 0 ? name : '').padEnd(9)} ${line}`)
}

function stagesOf({ stages, percent }: Rollout): string {
  const all =
    stages.includes(percent) || percent === 0 ? stages : [...stages, percent].sort((one, other) => one - other)
  return all
    .map((stage) => (stage === percent ? paint('bold', `[${stage} %]`) : paint('dim', `${stage} %`)))
    .join(' → ')
}

function timeLeft({ stage_left_sec, left_sec }: Rollout): string {
  if (stage_left_sec === null || left_sec === null) return ''
  const all = left_sec > stage_left_sec ? `, ${lasts(left_sec)} until all is over` : ''
  return `, ${lasts(stage_left_sec)} left of this stage${all}`
}

function armLines({ candidate, baseline, to, from }: Rollout): string[] {
  const row = (name: string, cell: (arm: Arm) => string) =>
    `  ${name.padEnd(10)}${cell(candidate).padStart(18)}${cell(baseline).padStart(18)}`
  return [
    `  ${''.padEnd(10)}${`new ${shortVersion(to.version)}`.padStart(18)}${`old ${shortVersion(from.version)}`.padStart(18)}`,
    row('requests', ({ requests }) => String(requests)),
    row('errors', ({ errors, error_rate }) => (error_rate === null ? '-' : `${errors} (${percentOf(error_rate)})`)),
    row('P50', ({ p50_ms }) => milliseconds(p50_ms)),
    row('P95', ({ p95_ms }) => milliseconds(p95_ms)),
  ]
}

// On the scale of the logarithm: that is how evidence grows.
function evidenceLines(name: string, evidence: Evidence | null): string[] {
  if (!evidence) return []
  const { ln_evidence, ln_bar } = evidence
  const filled = Math.max(0, Math.min(gaugeWidth, Math.round((ln_evidence / ln_bar) * gaugeWidth)))
  const style = ln_evidence >= ln_bar ? 'red' : ln_evidence >= ln_bar / 2 ? 'yellow' : 'green'
  const gauge = paint(style, '█'.repeat(filled)) + paint('dim', '░'.repeat(gaugeWidth - filled))
  return [`  ${name.padEnd(10)}${gauge}  evidence ${evidence.evidence} of ${evidence.bar}`]
}

// They name the version: another one may have come by the time they are typed.
function commandsFor({ state, percent, stages, to }: Rollout): string {
  const of = `--of v${to.number}`
  if (percent === 100) return `back: atelier abort ${of}`
  const next = stages.find((stage) => stage > percent) ?? 100
  if (state === 'paused') return `on: atelier resume, or: atelier promote ${next} ${of}; back: atelier abort ${of}`
  return `on at once: atelier promote ${next} ${of}; stop the clock: atelier pause; back: atelier abort ${of}`
}

function milliseconds(value: number | null): string {
  if (value === null) return '-'
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`
}

function percentOf(share: number): string {
  return `${Number((share * 100).toPrecision(2))} %`
}

function nameOf({ version, number }: Deployment): string {
  return `${shortVersion(version)} (v${number})`
}
