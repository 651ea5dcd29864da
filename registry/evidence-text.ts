/** 0.4, 12, 3058, 10^9: E, cut off and not rounded up, so that nothing reads as if it had reached its bar. */
export function formatEvidence(lnEvidence: number): string {
  const tiny = 1e-9
  const evidence = Math.exp(lnEvidence) * (1 + tiny)
  if (evidence >= 1e6) return `10^${Math.floor(lnEvidence / Math.LN10)}`
  return evidence < 10 ? String(Math.floor(evidence * 10) / 10) : String(Math.floor(evidence))
}
