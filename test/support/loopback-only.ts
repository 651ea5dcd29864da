import { connect, type Socket, type TcpNetConnectOpts } from 'node:net'

/** Opens connections to this machine's loopback and to nothing else: a test of what is refused stays on the machine also when it is not. */
export function openOnLoopback(addresses: string[], options: TcpNetConnectOpts): Socket {
  const outside = addresses.find((address) => !/^(127\.|::1$|::ffff:127\.)/.test(address))
  if (outside) throw new Error(`a connection to ${outside} was let through`)
  return connect(options)
}
