/** What one look at the machine found: `what` is a sentence of facts, `next` what to do about it, `details` for who wants to know. */
export type Check = { name: string; state: 'ok' | 'warn' | 'fail'; what: string; next?: string; details?: string[] }

export function ok(name: string, what: string): Check {
  return { name, state: 'ok', what }
}

export function warn(name: string, what: string, next: string): Check {
  return { name, state: 'warn', what, next }
}

export function fail(name: string, what: string, next: string): Check {
  return { name, state: 'fail', what, next }
}
