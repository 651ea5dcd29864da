import type { Command } from 'commander'

/** A command's file exports `register`, which adds it to the program; it is loaded only when it is the one that runs. */
type CommandFile = { register(program: Command): void }
type Entry = { summary: string; load(): Promise<CommandFile> }

/** Every command; `help.ts` says where `atelier help` shows it, `examples.ts` how it is used. */
export const commands: Record<string, Entry> = {
  up: { summary: 'start the whole platform in this terminal', load: () => import('./up.ts') },
  serve: { summary: 'run one role of the platform', load: () => import('./serve.ts') },
  login: { summary: 'sign in to a platform', load: () => import('./login.ts') },
  logout: { summary: 'forget the token of a platform here', load: () => import('./logout.ts') },
  whoami: { summary: 'show who you are to the platform, and by which token', load: () => import('./whoami.ts') },
  link: {
    summary: 'connect this git repository to an app, so that git push deploys it',
    load: () => import('./link.ts'),
  },
  dev: {
    summary: 'serve a folder here as Atelier would, and build it again on every save',
    load: () => import('./dev.ts'),
  },
  apps: { summary: 'list, create and remove apps', load: () => import('./apps.ts') },
  deploy: { summary: 'deploy a folder without git, or a commit of a git host', load: () => import('./deploy.ts') },
  redeploy: {
    summary: 'deploy a built version again, with the variables as they are now',
    load: () => import('./redeploy.ts'),
  },
  deploys: { summary: 'list deployments', load: () => import('./deploys.ts') },
  diff: { summary: 'show what differs between two versions', load: () => import('./diff.ts') },
  routes: { summary: 'show what a version answers', load: () => import('./routes.ts') },
  rollback: { summary: 'go back to the previous live version, or to a named one', load: () => import('./rollback.ts') },
  promote: {
    summary: 'give a new version more of the traffic, or make a preview or an earlier version production',
    load: () => import('./promote.ts'),
  },
  pause: { summary: 'stop the clock of a rollout', load: () => import('./pause.ts') },
  resume: { summary: 'let a paused rollout go on', load: () => import('./resume.ts') },
  abort: { summary: 'end a rollout and go back to the old version', load: () => import('./abort.ts') },
  lock: { summary: 'let no new version into production, and say why', load: () => import('./lock.ts') },
  unlock: { summary: 'let new versions in again', load: () => import('./unlock.ts') },
  cancel: { summary: 'cancel a queued or running deployment', load: () => import('./cancel.ts') },
  status: { summary: 'show what is live where', load: () => import('./status.ts') },
  logs: { summary: "read an app's log, or the build log of a deployment", load: () => import('./logs.ts') },
  run: { summary: 'run a command once, in the sandbox of an app', load: () => import('./run.ts') },
  purge: { summary: 'have every edge forget cached answers of an app', load: () => import('./purge.ts') },
  webhooks: { summary: 'tell other programs, or Slack, what happens to an app', load: () => import('./webhooks.ts') },
  env: { summary: 'list, set, import and unset variables', load: () => import('./env.ts') },
  domains: { summary: 'note the host names of an app', load: () => import('./domains.ts') },
  db: { summary: 'show the databases an app was given', load: () => import('./db.ts') },
  repo: { summary: 'deploy from a repository at GitHub, Gitea or Forgejo', load: () => import('./repo.ts') },
  previews: { summary: 'list, approve and remove previews', load: () => import('./previews.ts') },
  open: { summary: 'open the app, or the console, in a browser', load: () => import('./open.ts') },
  members: {
    summary: 'list people with a role on an app, give roles and take them',
    load: () => import('./members.ts'),
  },
  people: { summary: 'list, invite and remove people', load: () => import('./people.ts') },
  audit: { summary: 'show who did what, from where', load: () => import('./audit.ts') },
  tokens: { summary: 'list, create and remove tokens', load: () => import('./tokens.ts') },
  keys: { summary: 'on the server: replace the key that seals secrets', load: () => import('./keys.ts') },
  doctor: { summary: 'look whether this machine is fit to run Atelier', load: () => import('./doctor.ts') },
  completion: {
    summary: 'print a script that teaches a shell to complete commands',
    load: () => import('./completion.ts'),
  },
  version: { summary: 'print the version of this command', load: () => import('./version.ts') },
}
