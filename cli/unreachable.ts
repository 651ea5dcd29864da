/** Why there is no answer, in a sentence with what to do next, from what Node says of the connection. */
export function whyUnreachable(api: string, error: Error): string {
  const { hostname, protocol, port } = new URL(api)
  const code = 'code' in error && error.code ? String(error.code) : ''
  const isHere = /(^|\.)localhost$/i.test(hostname)
  const next = isHere ? 'start it with: atelier up' : 'is it running, and is that its address?'
  const begin = `the platform at ${api} cannot be reached`
  if (/^(ENOTFOUND|EAI_\w+)$/.test(code))
    return `${begin}: the name ${hostname} is not known (${code}); is it written so, and is this machine online?`
  if (/^(ECONNREFUSED)$/.test(code)) return `${begin} (${code}); ${next}`
  if (/^(ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN|ENETDOWN)$/.test(code))
    return `${begin}: nothing answers there (${code}); a firewall, a VPN that is off, or a machine that is`
  const certificate = certificates[code]
  if (certificate)
    return `${begin} safely: ${certificate} (${code}); nothing was sent. For one of your own: NODE_EXTRA_CA_CERTS=<file>`
  if (protocol === 'https:' && /^(EPROTO|ERR_SSL_\w+)$/.test(code))
    return `${begin}: port ${port || 443} does not speak https (${code}); is it http://${hostname}${port && `:${port}`}?`
  if (/^HPE_/.test(code)) return `${begin}: what answers there does not speak http (${code}); is that its address?`
  return `${begin} (${code || error.message}); ${next}`
}

const certificates: Record<string, string> = {
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet; is the clock of this machine right?',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by nobody else',
  SELF_SIGNED_CERT_IN_CHAIN:
    'its certificate is signed by somebody this machine does not know, or a proxy looks into the traffic',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is signed by somebody this machine does not know',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate comes without those that it is signed by',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
}

/** Of an answer that is none of a platform's: a proxy's, a captive portal's, another server's. */
export function whoAnswered(api: string, status: number, location: string | undefined): string {
  if (status >= 300 && status < 400 && location)
    return `${api} leads on to ${location}; sign in with the address it leads to: atelier login <address>`
  if ([502, 503, 504].includes(status))
    return `something before ${api} answered ${status}: the platform behind it does not run, or cannot be reached from there`
  if (status === 407) return `a proxy before ${api} wants you to sign in to it first (407)`
  return `${api} answered ${status}, and not as an Atelier platform does; is that its address, or is a proxy in between?`
}
