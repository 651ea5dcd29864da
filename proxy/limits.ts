import type { AppRequestLimits } from './edge/app/app-request.ts'
import type { HostViewLimits } from './edge/app/host-view.ts'
import type { ListenerLimits } from './edge/listener.ts'
import type { StallLimits } from './edge/stall-watch.ts'
import type { EdgeProcessLimits } from './edge-process.ts'
import type { HostLimits } from './hosts/host.ts'
import type { UseLimits } from './hosts/local-deployment.ts'

export type ProxyLimits = AppRequestLimits &
  HostLimits &
  HostViewLimits &
  ListenerLimits &
  StallLimits &
  EdgeProcessLimits &
  UseLimits & { closeDeadlineMs: number; useLookMs: number; minFreeCores: number }

const seconds = 1000

/** What the edge grants requests and apps; security.md §5 where it names a number. */
export const defaultLimits: ProxyLimits = {
  /** A request waits this long for its app to be loaded and up. */
  waitForHostMs: 10 * seconds,
  /** This many requests may wait for one host in one edge process. */
  maxWaiting: 1_000,
  maxBodyBytes: 100 * 1_048_576,
  headTimeoutMs: 60 * seconds,
  idleTimeoutMs: 300 * seconds,
  startTimeoutMs: 30 * seconds,
  stopGraceMs: 5 * seconds,
  firstBackoffMs: 1 * seconds,
  maxBackoffMs: 60 * seconds,
  headersTimeoutMs: 10 * seconds,
  maxConnections: 20_000,
  maxConnectionsPerClient: 1_000,
  /** A client that is waited for moves 1 kB/s, looked at over 30 s. */
  stallWindowMs: 30 * seconds,
  stallMinBytes: 30 * 1024,
  /** An edge process that has not answered so many pings in a row hangs, and is replaced. */
  pingEveryMs: 1 * seconds,
  maxUnansweredPings: 6,
  /** An edge process serves this long after its start, or is started anew. */
  edgeStartMs: 30 * seconds,
  /** A deployment that nobody has used for so long is put to sleep, if its config does not say otherwise and it may be. */
  sleepAfterMs: 15 * 60 * seconds,
  /** A thread that turns its event loop no more for so long while it is used is replaced. */
  stuckAfterMs: 30 * seconds,
  /** A deployment gets a further isolate only while so much of the machine has nothing to do. */
  minFreeCores: 0.5,
  /** So often it is looked who is idle or stuck. */
  useLookMs: 5 * seconds,
  /** Edge processes tell so often which deployments are used. */
  useReportMs: 5 * seconds,
  /** When the edge itself stops, requests in flight may take this long. */
  closeDeadlineMs: 5 * seconds,
}
