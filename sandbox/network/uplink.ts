import type { AppRules } from './app-network-rules.ts'
import type { NetworkNamespace } from './network.ts'

/** A namespace with a way out that its rules filter. */
export type ConnectedNamespace = {
  namespace: NetworkNamespace
  /** Puts other rules in the place of those it was made with; false: it cannot. */
  setRules(rules: AppRules): Promise<boolean>
  /** Lets go of it, when no process is left in it. */
  close(): Promise<void>
}

/** How the namespaces of apps are connected to the world. */
export type Uplink = {
  /** What apps ask for names. */
  resolvers: string[]
  make(rules: AppRules): Promise<ConnectedNamespace>
  /** The same for what stands outside the namespaces. */
  setRules(rules: AppRules): Promise<void>
  /** Puts back what somebody else took away; to be called every few seconds. */
  check(): Promise<void>
  /** Sentences for people about what on this host stands in the way. */
  warnings(): Promise<string[]>
  close(): Promise<void>
}
