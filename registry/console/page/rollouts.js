import { ago, element, row, shortVersion } from './dom.js'

const kinds = { observing: 'busy', held: 'bad', paused: 'busy', reverting: 'bad', aborted: 'bad', done: 'good' }

/** A rollout: where it is, both versions side by side, the evidence against its bar; or why it was taken back. */
export function rolloutCard(rollout) {
  const { app_id, to, why, state, sentence } = rollout
  const card = document.createElement('article')
  card.append(
    element(
      'h3',
      why ? `${app_id} ${nameOf(to)} was ${takenBack(sentence)}` : `${app_id} ${nameOf(to)} has ${shares(rollout)}`,
    ),
  )
  card.append(...(why ? reasons(rollout) : progress(rollout)))
  card.dataset.state = state
  return card
}

const confidenceLabels = {
  low: ' (low confidence: few requests)',
  unverified: ' (unverified: no traffic)',
  'by hand': ' (by hand)',
}

function shares({ percent, from, confidence }) {
  const label = confidenceLabels[confidence] ?? ''
  if (percent === 100) return `all traffic${label}; ${nameOf(from)} is kept ready to go back to`
  return `${percent} % of the traffic${label}, ${nameOf(from)} the rest`
}

function progress(rollout) {
  const { stages, percent, state, stage_left_sec, left_sec, sentence, remarks } = rollout
  const line = element('p', '')
  line.append(
    ...stages.map((stage) =>
      element(stage === percent ? 'strong' : 'span', `${stage} % `, stage === percent ? '' : 'quiet'),
    ),
    element('span', state, kinds[state]),
    left(stage_left_sec, left_sec),
  )
  return [
    line,
    arms(rollout),
    ...gauges(rollout),
    element('p', sentence ?? ''),
    ...remarks.map((one) => element('p', one, 'quiet')),
  ]
}

function arms({ candidate, baseline, to, from }) {
  const table = document.createElement('table')
  const head = document.createElement('thead')
  const titles = document.createElement('tr')
  for (const title of ['', `new ${shortVersion(to.version)}`, `old ${shortVersion(from.version)}`])
    titles.append(element('th', title))
  head.append(titles)
  const body = document.createElement('tbody')
  const line = (name, cell) => row([name, cell(candidate), cell(baseline)])
  body.append(
    line('requests', ({ requests }) => String(requests)),
    line('errors', ({ errors, error_rate }) =>
      error_rate === null ? '-' : `${errors} (${Number((error_rate * 100).toPrecision(2))} %)`,
    ),
    line('P50', ({ p50_ms }) => milliseconds(p50_ms)),
    line('P95', ({ p95_ms }) => milliseconds(p95_ms)),
  )
  table.append(head, body)
  return table
}

// On the scale of the logarithm: that is how evidence grows.
function gauges({ evidence }) {
  return ['errors', 'latency'].flatMap((name) => {
    const reading = evidence[name]
    if (!reading) return []
    const meter = document.createElement('meter')
    Object.assign(meter, { min: 0, max: 1, low: 0.5, high: 0.99, optimum: 0 })
    meter.value = Math.max(0, Math.min(1, reading.ln_evidence / reading.ln_bar))
    const line = element('p', `${name} `)
    line.append(meter, ` evidence ${reading.evidence} of ${reading.bar}`)
    return [line]
  })
}

function reasons({ to, from, state, why }) {
  const { failing_paths, stack_traces, commits, next } = why
  const traffic = state === 'reverting' ? 'not all proxies have followed yet' : `${nameOf(from)} has all traffic`
  const paths = failing_paths.map(({ path, status, count }) => `${count} × ${status || 'no answer'} ${path}`)
  return [
    element('p', `${ago(to.state_since)}; ${traffic}`, 'quiet'),
    ...list('Failing', paths),
    ...stack_traces.map((trace) => element('pre', trace)),
    ...list(
      'Commits',
      commits.map(({ sha, subject }) => `${shortVersion(sha)} ${subject}`),
    ),
    element('p', next),
  ]
}

function list(title, lines) {
  if (lines.length === 0) return []
  const ul = document.createElement('ul')
  ul.append(...lines.map((line) => element('li', line)))
  return [element('p', title, 'quiet'), ul]
}

function takenBack(sentence) {
  return sentence?.startsWith('taken back') ? sentence : `taken back: ${sentence ?? 'no reason is known'}`
}

function left(stageSec, allSec) {
  if (stageSec === null || allSec === null) return ''
  const all = allSec > stageSec ? `, ${lasts(allSec)} until all is over` : ''
  return `, ${lasts(stageSec)} left of this stage${all}`
}

function lasts(seconds) {
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
}

function milliseconds(value) {
  if (value === null) return '-'
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`
}

function nameOf({ version, number }) {
  return `${shortVersion(version)} (v${number})`
}
