/**
 * A step of a log as one line. One that took over a second shows its head first, and what came of it below: on a busy machine that is any of
 * them.
 */
export function stepIn(log: string[], name: string): string {
  const at = log.findIndex((line) => line.startsWith(`-----> ${name} `))
  const head = log[at] ?? ''
  if (/ \d+\.\d s( in all)?$/.test(head)) return head
  const end = log.slice(at + 1).find((line) => / \d+\.\d s$/.test(line)) ?? ''
  return `${head.slice(0, head.indexOf(name) + name.length).padEnd(19)}${end.trimStart()}`
}
