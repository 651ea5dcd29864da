/** An open network namespace that programs are started in; held open by these descriptors of this process (close-on-exec). */
export type NetworkNamespace = {
  netFd: number
  /** The user namespace that owns it, when an ordinary user made it. */
  userFd: number | null
}
