/** How long it is measured: for a first look `BENCH_SECONDS=1 BENCH_ROUNDS=1 BENCH_FLIPS=10 npm run bench`. */
export const settings = {
  /** Of load in each round. */
  seconds: readNumber('BENCH_SECONDS', 5),
  /** Each side has this many turns. */
  rounds: readNumber('BENCH_ROUNDS', 5),
  /** Flips that are timed, and flips under mixed load. */
  flips: readNumber('BENCH_FLIPS', 100),
  /** Simulated rollouts of each kind. */
  rollouts: readNumber('BENCH_ROLLOUTS', 400),
}

function readNumber(name: string, usual: number): number {
  const value = Number(process.env[name] ?? usual)
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} is a whole number above 0`)
  return value
}
