import { type Check, fail, ok, warn } from './check.ts'

/** Another machine's clock, and ours at the same moment. */
export type Reading = { of: string; now: Date; here: Date }

export function checkClock(readings: Reading[]): Check {
  if (readings.length === 0)
    return ok('clock', `${new Date().toISOString()}; there was no other clock to compare it with`)
  const worst = readings
    .map((reading) => ({ ...reading, offMs: reading.here.getTime() - reading.now.getTime() }))
    .sort((one, other) => Math.abs(other.offMs) - Math.abs(one.offMs))[0]
  const { of, offMs } = worst ?? { of: '', offMs: 0 }
  const off = Math.abs(offMs) / 1000
  const next = 'set the clock: timedatectl set-ntp true'
  // An HTTP date has no fractions of a second, and the answer was on its way.
  if (off < 5)
    return ok(
      'clock',
      `within ${Math.max(1, Math.ceil(off))} s of ${readings.map((reading) => reading.of).join(' and ')}`,
    )
  const what = `${Math.round(off)} s ${offMs > 0 ? 'ahead of' : 'behind'} ${of}`
  return off > 60 ? fail('clock', what, next) : warn('clock', what, next)
}
