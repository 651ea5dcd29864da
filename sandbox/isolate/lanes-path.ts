/** Where a host listens for lanes, beside the socket at this path. No longer than that: paths of sockets are short (unix(7)). */
export function lanesPath(socketPath: string): string {
  return `${socketPath.replace(/\.sock$/, '')}.lane`
}
