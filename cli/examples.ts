/** How a command is used: lines to type, with what each is for. Every command has some (test/command-smoke.test.ts). */
export const examples: Record<string, [line: string, what: string][]> = {
  up: [
    ['atelier up', 'everything, until Ctrl-C'],
    ['ATELIER_HTTP_PORT=80 ATELIER_DOMAIN=example.com atelier up', 'on a server of your own'],
  ],
  serve: [['atelier serve worker', 'one more machine that builds; see docs/apart.md']],
  login: [
    ['atelier login https://example.com', 'asks for a token; the console makes them: Access, Your tokens'],
    ['echo $TOKEN | atelier login https://example.com --token -', 'in a script'],
  ],
  logout: [
    ['atelier logout', 'of the platform of the last login'],
    ['atelier logout https://example.com --revoke', 'and end the token there, for everybody who has it'],
  ],
  whoami: [['atelier whoami', 'address, person, roles, token and its end']],
  link: [
    ['atelier link hello', 'then: git push atelier main'],
    ['atelier link', 'named after the folder'],
  ],
  dev: [
    ['atelier dev', 'this folder, at http://localhost:3000'],
    ['atelier dev site --port 4000', ''],
    ['atelier dev --build', 'a Vite or Next.js app as it will be deployed'],
  ],
  apps: [
    ['atelier apps', 'all of them'],
    ['atelier apps create hello', ''],
    ['atelier apps rm hello', 'asks for the name again'],
  ],
  deploy: [
    ['atelier deploy', 'this folder, as the app it is linked to'],
    ['atelier deploy dist --app hello --version 1.4.0', 'a built folder, with a name of its own'],
    ['atelier deploy --branch pr/42', 'a preview'],
    ['atelier deploy --follow', 'stays until its rollout is over; for CI'],
  ],
  redeploy: [
    ['atelier redeploy', 'what is live, with the variables as they are now; nothing is built'],
    ['atelier redeploy v12 --build', 'built again'],
  ],
  deploys: [
    ['atelier deploys', 'the newest, with who and when'],
    ['atelier deploys --limit 100 --json', ''],
  ],
  diff: [['atelier diff v11 v12', 'files, routes, names of variables, dependencies, commits']],
  routes: [
    ['atelier routes', 'of what is live'],
    ['atelier routes v12', ''],
  ],
  rollback: [
    ['atelier rollback', 'to the version that was live before; nothing is built'],
    ['atelier rollback 3f2a91c', 'to this one'],
  ],
  promote: [
    ['atelier promote 25', 'a quarter of the traffic to the new version'],
    ['atelier promote 100', 'all of it'],
    ['atelier promote v12', 'an earlier version, or a preview, becomes production'],
  ],
  pause: [['atelier pause -m "sale at noon"', 'it keeps its share; go on with: atelier resume']],
  resume: [['atelier resume', '']],
  abort: [['atelier abort -m "prices are wrong"', 'the old version has all traffic at once']],
  lock: [['atelier lock -m "migrating the database"', 'lifted by: atelier unlock']],
  unlock: [['atelier unlock', '']],
  cancel: [
    ['atelier cancel', 'the newest that is on its way'],
    ['atelier cancel v13', ''],
  ],
  status: [
    ['atelier status', 'stays and watches a rollout of the linked app'],
    ['atelier status --once --json', 'for scripts'],
  ],
  logs: [
    ['atelier logs -f', 'what the app writes, as it comes'],
    ['atelier logs v12', 'its build log'],
    ['atelier logs shop -n 1000', 'of another app'],
  ],
  run: [
    ['atelier run -- node migrate.js', ''],
    ['atelier run -- npm run seed', ''],
    ["atelier run -- sh -c 'ls /data | wc -l'", 'what needs a shell'],
    ['atelier run --list', 'who ran what'],
  ],
  previews: [
    ['atelier previews', 'state, age, address'],
    ['atelier previews rm 42', ''],
    ['atelier previews set --ttl 7d --password -', 'for how long, and for whom'],
  ],
  repo: [
    ['atelier repo link https://github.com/octo/hello --token -', 'says what to enter there as a webhook'],
    ['atelier repo', 'what is linked, and when it was asked last'],
  ],
  purge: [
    ['atelier purge --tag prices', ''],
    ["atelier purge --path '/blog/*' --path /", ''],
    ['atelier purge --all', ''],
  ],
  webhooks: [
    ['atelier webhooks create https://example.com/hook --events deployment.live', ''],
    ['atelier webhooks create https://hooks.slack.com/services/… --slack', ''],
    ['atelier webhooks log <webhook>', 'what was sent, and how it went'],
  ],
  env: [
    ['atelier env', 'names, and the values that may be seen'],
    ['atelier env set GREETING=hello API_KEY=-', '- reads the value from standard input'],
    ['atelier env import .env --preview', 'for all previews'],
    ['atelier env unset GREETING --redeploy', 'and deploy what is live again with that'],
  ],
  domains: [
    ['atelier domains add www.example.com', ''],
    ['atelier domains', ''],
  ],
  members: [
    ['atelier members', 'who may do what to the app'],
    ['atelier members add ada --role viewer', ''],
    ['atelier members rm ada', 'their tokens lose it at once'],
  ],
  people: [
    ['atelier people invite ada --on hello:deployer', 'prints a one-time link for her'],
    ['atelier people role ada admin', ''],
    ['atelier people sign-out ada --tokens', 'out of every browser, and without any token'],
    ['atelier people', 'who there is, with which roles'],
  ],
  audit: [
    ['atelier audit --app hello', 'who did what, from where'],
    ['atelier audit --who ada --json', ''],
  ],
  db: [['atelier db', 'name, size, connections; never the address']],
  open: [
    ['atelier open', ''],
    ['atelier open --console', 'signed in'],
  ],
  tokens: [
    ['atelier tokens create ci --app hello --expires 90', 'prints the secret, once'],
    ['atelier tokens', 'who has one, and when it was used last'],
    ['atelier tokens rm <id>', ''],
    ['atelier tokens rm --all', 'all of yours at once: a new password leaves them as they are'],
  ],
  keys: [
    ['atelier keys', 'which there are, and how much each has sealed'],
    ['atelier keys rotate', 'a new one, and everything sealed anew'],
  ],
  doctor: [['atelier doctor', 'each line with what to do about it']],
  version: [['atelier version', '']],
  completion: [
    ['source <(atelier completion bash)', 'in ~/.bashrc'],
    ['source <(atelier completion zsh)', 'in ~/.zshrc'],
    ['atelier completion fish > ~/.config/fish/completions/atelier.fish', ''],
  ],
}
