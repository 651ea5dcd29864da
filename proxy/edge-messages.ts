import type { Config } from '../registry/config.ts'
import type { Purge } from '../registry/purges.ts'
import type { RolloutReport, RouteBin } from '../registry/rollout-reports.ts'
import type { Route, RoutedDeployment } from '../registry/routes.ts'
import type { Speech } from '../sandbox/isolate/isolate.ts'
import type { FuseWord } from './edge/counting/fuse.ts'
import type { DeploymentRef } from './edge/deployment.ts'
import type { BundleOnDisk } from './edge/static/retained-assets.ts'
import type { ProxyLimits } from './limits.ts'

/** A route as an edge process has it: nothing of an app's environment comes there, sealed or not. */
export type EdgeRoute = Omit<Route, 'live' | 'candidate' | 'warm'> & {
  live: EdgeRouted | null
  candidate: EdgeRouted | null
}
export type EdgeRouted = Omit<RoutedDeployment, 'envSnapshot'>

/** `gone` are route ids. */
export type RouteChange<Of = EdgeRoute> = { changed: Of[]; gone: string[] }

/** What is known of a deployment's host process. `asleep`: it starts when it is woken; `crashed`: the next start comes in `forMs`. */
export type HostState =
  | { is: 'starting' | 'asleep' | 'stopped' }
  | { is: 'up'; sockets: string[]; speaks: Speech }
  | { is: 'crashed'; forMs: number }

/** An error on its way between processes. */
export type SentError = { code: string; message: string }

/** Histograms on their way between processes are text that LatencyHistogram.parse reads. */
export type SentReport = Omit<RolloutReport, 'segments'> & {
  segments: (Omit<RolloutReport['segments'][number], 'latency'> & { latency: string })[]
}
/** As soon as it is over. */
export type SentBin = Omit<RouteBin, 'latency' | 'beganAt'> & { latency: string }

export type EdgeSettings = {
  /** For the log: which of them it is. */
  number: number
  domain: string
  appsDomain: string
  runDir: string
  gatewayUrl: string | null
  registryUrl: string | null
  trustedProxies: Config['trustedProxies']
  responseCache: Config['responseCache']
  /** Of a bundle store on this machine; null: it is elsewhere, and this machine has copies. */
  storeDirectory: string | null
  blobsDirectory: string
  /** Signs visitors' cookies; base64. The same on all proxies of a platform, and good for nothing else. */
  visitorKey: string
  /** Of the platform's own probes, which name a deployment by its id. */
  probeToken: string
  logLevel: string
  limits: ProxyLimits
}

/** `shares`: with the other edge processes of this proxy. */
export type ListenOn = { host: string; port: number; shares: boolean }

/**
 * From the proxy's main process to an edge process. They arrive in the order in which they were sent: what a route names is told before
 * the route.
 */
export type ToEdge =
  | { type: 'begin'; settings: EdgeSettings }
  | ({ type: 'listen' } & ListenOn)
  /** To be acknowledged with `seen`. */
  | ({ type: 'routes'; order: number } & RouteChange)
  /** Of apps' answers; null: everything. To be acknowledged with `seen`. */
  | { type: 'purge'; order: number; purges: Purge[] | null }
  /** A deployment is on this machine: its manifest is in a file there. `host` null: it is static. */
  | { type: 'loaded'; ref: DeploymentRef; manifestPath: string; host: HostState | null }
  /** Bundles on this machine in which a route finds files that the chosen deployment lacks. */
  | { type: 'retained'; routeId: string; bundles: BundleOnDisk[] }
  /** Beside its manifest there are better forms of its files now. */
  | { type: 'encoded'; id: string }
  | { type: 'failed'; id: string; error: SentError }
  | { type: 'host'; id: string; state: HostState }
  /** No route names it any more: to be acknowledged with `drained` when nothing is in flight, or was cut after the deadline. */
  | { type: 'retire'; id: string; turn: number; deadlineMs: number }
  /** The retirement is called off. */
  | { type: 'keep'; id: string }
  /** To be answered with `dozed`: an edge that has nothing of it in flight takes its host as asleep from now on. */
  | { type: 'doze'; id: string; turn: number }
  | { type: 'gone'; id: string }
  | { type: 'brought'; digest: string; error: SentError | null }
  /** The registry has taken in what was counted of a rollout. */
  | { type: 'reported'; rolloutId: string; seq: number }
  /** So often in a row a rollout's candidate could not be reached, for all edge processes of this proxy. */
  | { type: 'failures'; rolloutId: string; failures: number }
  /** Whether a pinned request may have what it asks for. `error` null: it may, and `ref` is kept here. */
  | { type: 'pinned'; turn: number; ref: DeploymentRef | null; error: SentError | null }
  | { type: 'ping' }
  /** To accept nothing more, let what is in flight end for so long, and exit. */
  | { type: 'close'; deadlineMs: number }

/** From an edge process to the main process. */
export type FromEdge =
  | { type: 'serves'; port: number }
  | { type: 'refused'; error: SentError }
  | { type: 'seen'; order: number }
  | { type: 'drained'; id: string; turn: number; isCut: boolean }
  | { type: 'dozed'; id: string; turn: number; isIdle: boolean }
  /** A request waits for its host, which is asleep. */
  | { type: 'wake'; id: string }
  /** These have been used since the last time, or are in use. */
  | { type: 'used'; ids: string[] }
  /** A request waits for this deployment, and nothing is known of it. */
  | { type: 'want'; id: string }
  /** The copy of a blob is missing. */
  | { type: 'bring'; digest: string }
  /** What was counted of rollouts so far. To be acknowledged with `reported`. */
  | { type: 'rollouts'; reports: SentReport[] }
  /** A rollout's candidate could not be reached, or could after it had not been. */
  | { type: 'fuse'; rolloutId: string; word: FuseWord }
  /** Ten seconds that are over. */
  | { type: 'bins'; bins: SentBin[] }
  /** A tester asks for a version of a route. To be answered with `pinned`. */
  | { type: 'pin'; turn: number; routeId: string; version: string; token: string }
  | { type: 'pong' }
