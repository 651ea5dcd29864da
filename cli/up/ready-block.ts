import { appUrl, type Config, consoleUrl, gitUrl } from '../../registry/config.ts'

export type ReadyFacts = { config: Config; signInCode: string; adminTokenFile: string; tookMs: number }

/** The first thing a new user reads: how long it took, and the next commands to type. */
export function readyBlock({ config, signInCode, adminTokenFile, tookMs }: ReadyFacts): string {
  const lines = [
    `Atelier is up in ${(tookMs / 1000).toFixed(1)} s`,
    `  console  ${consoleUrl(config)}/#token=${signInCode}       # one-time sign-in link`,
    `  git      git remote add atelier ${gitUrl(config, '<app>')}      (user: any, password: the token in ${adminTokenFile})`,
    `  apps     ${appUrl(config, '<app>')}`,
    '  command  npm link   puts `atelier` on your PATH',
  ]
  return `${lines.join('\n')}\n`
}
