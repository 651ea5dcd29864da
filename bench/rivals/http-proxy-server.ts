// node http-proxy-server.ts <port> <unix socket>
import { Agent } from 'node:http'
import httpProxy from 'http-proxy'

const [port, socketPath] = process.argv.slice(2)
const agent = new Agent({ keepAlive: true, maxSockets: 64 })
// Its types know a socket only together with a host, which a socket has not.
const target = { socketPath, host: 'localhost', port: 80 }
httpProxy.createProxyServer({ agent, target, xfwd: true }).listen(Number(port), '127.0.0.1')
