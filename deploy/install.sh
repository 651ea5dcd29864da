#!/bin/sh
# Installs Atelier on a Debian server, or upgrades it: run it again from a newer checkout.
#
#   git clone <this repository> atelier && sudo atelier/deploy/install.sh --domain example.com
#
# What it leaves behind: the code in /opt/atelier, the settings in /etc/atelier/atelier.env, the service atelier.service, the command
# /usr/local/bin/atelier, and everything that must be kept in /var/lib/atelier. How to remove it: deploy/README.md.
set -eu

usage() {
  cat <<'END'
usage: deploy/install.sh [--domain <name>] [--apps-domain <name>] [--port <n>] [--role gateway|worker|registry|proxy]... [--no-start]

  --domain       console., api. and git. are below it (default: the full name of this host)
  --apps-domain  apps are below it (default: apps.<domain>)
  --port         of the one HTTP port (default: 80)
  --role         run this role by itself instead of the whole platform; more than once for several. Set ATELIER_DATABASE_URL first
                 in /etc/atelier/atelier.env: docs/apart.md
  --no-start     install only

Settings that are there already are kept; an option changes its own.
END
}

say() { printf '%s\n' "$*"; }
fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

domain='' apps_domain='' port='' roles='' start=yes
while [ $# -gt 0 ]; do
  case $1 in
    --domain | --apps-domain | --port | --role)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help"
      case $1 in
        --domain) domain=$2 ;;
        --apps-domain) apps_domain=$2 ;;
        --port) port=$2 ;;
        --role) roles="$roles $2" ;;
      esac
      shift 2
      ;;
    --no-start) start=no && shift ;;
    -h | --help) usage && exit 0 ;;
    *) fail "there is no option $1; see --help" ;;
  esac
done
for name in "$domain" "$apps_domain"; do
  case $name in *[!a-z0-9.-]*) fail "$name is no host name; give one like example.com" ;; esac
done
case $port in *[!0-9]*) fail "$port is no port; give one like 80" ;; esac
for role in $roles; do
  case $role in gateway | worker | registry | proxy) ;; *) fail "there is no role $role; there are gateway, worker, registry and proxy" ;; esac
done

# Another root (a chroot to be, a package's staging directory): files are put there, and nothing of this machine is touched.
root=${ATELIER_INSTALL_ROOT:-}
source=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
code=$root/opt/atelier
settings=$root/etc/atelier/atelier.env
home=$root/var/lib/atelier
[ -f "$source/package-lock.json" ] || fail "$source is no checkout of Atelier; run deploy/install.sh from inside one"
if [ -z "$root" ]; then
  [ "$(id -u)" = 0 ] || fail 'this needs root: apps are started under users of their own; run it again with sudo'
  [ -f /etc/debian_version ] || fail 'this is not Debian; see deploy/README.md for the steps by hand'
fi

install_packages() {
  # What the platform is made of: git receives pushes, the others are the walls around builds and apps.
  missing=''
  for pair in git:git bwrap:bubblewrap nft:nftables ip:iproute2 setpriv:util-linux; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
  done
  node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
  if [ "${node_major:-0}" -lt 20 ] || ! command -v npm >/dev/null 2>&1; then
    # Any Node starts npm, and npm brings the Node that Atelier runs on.
    command -v node >/dev/null 2>&1 || missing="$missing nodejs"
    command -v npm >/dev/null 2>&1 || missing="$missing npm"
  fi
  [ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
  # The Node that npm brings is linked to it, and the smallest Debian has none.
  ldconfig -p | grep -q 'libatomic\.so\.1' || missing="$missing libatomic1"
  [ -n "$missing" ] || return 0
  say "Installing$missing"
  # shellcheck disable=SC2086 # a list of package names
  set -- apt-get install --quiet --yes --no-install-recommends $missing
  DEBIAN_FRONTEND=noninteractive "$@" >/dev/null 2>&1 || {
    apt-get update --quiet >/dev/null
    DEBIAN_FRONTEND=noninteractive "$@" >/dev/null
  } || fail "apt-get could not install$missing; run it by hand and then this again"
}

# Beside the version that runs, which is replaced by one rename when the new one is whole.
install_code() {
  release=$code/releases/$(date -u +%Y%m%d-%H%M%S)
  while [ -e "$release" ]; do release=$release-1; done
  mkdir -p "$release"
  chmod 755 "$code" "$code/releases" "$release"
  (cd "$source" && tar cf - --exclude=./node_modules --exclude=./.git --exclude=./test --exclude=./bench .) | (cd "$release" && tar xf - --no-same-owner)
  say "Installing the dependencies of Atelier"
  (cd "$release" && npm ci --omit=dev --no-audit --no-fund --loglevel=error) >"$release/npm.log" 2>&1 || {
    tail -n 20 "$release/npm.log" >&2
    rm -rf "$release"
    fail 'npm could not install the dependencies; what was installed before runs on'
  }
  rm -f "$release/npm.log"
  node=$(find "$release/node_modules" -maxdepth 3 -path '*/node-*/bin/node' | head -n 1)
  [ -x "$node" ] || fail 'npm brought no Node for this machine; Atelier runs on x64 and arm64'
  "$node" "$release/cli/atelier.mjs" --version >/dev/null || fail "the Node in $node does not run here"
  ln -sfn "${node#"$release"/}" "$release/node"
  ln -sfn "releases/${release##*/}" "$code/current.new"
  mv -T "$code/current.new" "$code/current"
  # The one before is kept: `ln -sfn releases/<its name> /opt/atelier/current` goes back to it.
  find "$code/releases" -mindepth 1 -maxdepth 1 -type d | sort | head -n -2 | xargs -r rm -rf
}

set_setting() {
  if grep -q "^$1=" "$settings"; then
    sed -i "s|^$1=.*|$1=$2|" "$settings"
  else
    printf '%s=%s\n' "$1" "$2" >>"$settings"
  fi
}
setting() { sed -n "s/^$1=//p" "$settings" | tail -n 1; }

install_settings() {
  mkdir -p "${settings%/*}"
  if [ ! -e "$settings" ]; then
    (umask 077 && printf '# The settings of Atelier: docs/settings.md. After a change: systemctl restart atelier\n' >"$settings")
    case $(hostname -f 2>/dev/null || true) in
      *.*) set_setting ATELIER_DOMAIN "$(hostname -f)" ;;
      *) set_setting ATELIER_DOMAIN localhost ;;
    esac
    set_setting ATELIER_HTTP_PORT 80
    set_setting ATELIER_HOME /var/lib/atelier
    # A server does not run what it cannot wall off; `warn` says so and runs it.
    set_setting ATELIER_ISOLATION require
  fi
  chmod 600 "$settings"
  [ -z "$domain" ] || set_setting ATELIER_DOMAIN "$domain"
  [ -z "$apps_domain" ] || set_setting ATELIER_APPS_DOMAIN "$apps_domain"
  [ -z "$port" ] || set_setting ATELIER_HTTP_PORT "$port"
}

install_command() {
  mkdir -p "$root/usr/local/bin"
  cat >"$root/usr/local/bin/atelier.new" <<END
#!/bin/sh
# With the settings of the platform on this machine, for whoever may read them.
if [ -r "$settings" ]; then
  set -a
  . "$settings"
  set +a
fi
exec "$code/current/node" "$code/current/cli/atelier.mjs" "\$@"
END
  chmod 755 "$root/usr/local/bin/atelier.new"
  mv "$root/usr/local/bin/atelier.new" "$root/usr/local/bin/atelier"
}

install_units() {
  mkdir -p "$root/etc/systemd/system"
  for unit in atelier.service atelier@.service; do
    cp "$source/deploy/$unit" "$root/etc/systemd/system/$unit"
    chmod 644 "$root/etc/systemd/system/$unit"
  done
}

units() {
  if [ -z "$roles" ]; then say atelier.service; else for role in $roles; do say "atelier@$role.service"; done; fi
}

start_services() {
  systemctl daemon-reload
  if [ -n "$roles" ] && [ -z "$(setting ATELIER_DATABASE_URL)" ]; then
    fail "single roles need a Postgres that all of them reach: set ATELIER_DATABASE_URL in $settings and run this again"
  fi
  for unit in $(units); do
    systemctl enable --quiet "$unit"
    systemctl restart "$unit"
  done
  [ -z "$roles" ] || {
    say "Started: $(units | tr '\n' ' ')  (journalctl -fu 'atelier@*')"
    return 0
  }
  say 'Starting Atelier'
  tries=0
  until link=$("$root/usr/local/bin/atelier" open --console 2>/dev/null); do
    tries=$((tries + 1))
    if [ $tries -ge 90 ] || systemctl is-failed --quiet atelier.service; then
      journalctl --no-pager --lines=20 --output=cat --unit=atelier.service >&2
      fail 'Atelier did not come up; its last words are above. What is missing here: atelier doctor'
    fi
    sleep 1
  done
  tell "$link"
}

tell() {
  domain=$(setting ATELIER_DOMAIN) port=$(setting ATELIER_HTTP_PORT)
  apps=$(setting ATELIER_APPS_DOMAIN)
  [ "$port" = 80 ] && suffix='' || suffix=":$port"
  cat <<END

Atelier is up.
  console  $1       # one-time sign-in link
  git      git remote add atelier http://git.$domain$suffix/<app>.git      (user: any, password: the token in $home/admin-token)
  apps     http://<app>.${apps:-apps.$domain}$suffix
  next     point *.$domain and *.${apps:-apps.$domain} at this server; then, in a repository on your own machine:
           atelier login http://api.$domain$suffix && atelier link hello && git push atelier main
  settings $settings      state: systemctl status atelier      check: atelier doctor
END
}

if [ -z "$root" ]; then install_packages; fi
install_code
install_settings
install_command
install_units
if [ -z "$root" ]; then
  mkdir -p "$home"
  chmod 711 "$home"
fi
if [ -n "$root" ] || [ $start = no ]; then
  say "Installed in $code; start it with: systemctl enable --now $(units | tr '\n' ' ')"
elif [ -d /run/systemd/system ]; then
  start_services
else
  say "Installed in $code. systemd does not run here; start it with: atelier up"
fi
