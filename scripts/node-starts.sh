#!/bin/sh
# The Node that npm brought is linked to libatomic, which a minimal Debian does not have; nothing of ours could say so, for nothing of ours would
# run. Root on Debian gets it installed, everybody else is told what to do.
said=$(node --version 2>&1) && exit 0
case "$said" in
*libatomic*)
  if [ "$(id -u)" = 0 ] && [ -x /usr/bin/apt-get ]; then
    echo 'Installing libatomic1, which Node is linked to'
    export DEBIAN_FRONTEND=noninteractive
    install='apt-get install --quiet --quiet --yes --no-install-recommends libatomic1'
    { $install || { apt-get update --quiet --quiet && $install; }; } >/dev/null && node --version >/dev/null 2>&1 && exit 0
  fi
  echo 'Node cannot start: libatomic is missing. Install it (Debian, Ubuntu: apt-get install libatomic1; Fedora: dnf install libatomic) and try again.' >&2
  ;;
*) echo "Node cannot start: $said" >&2 ;;
esac
exit 1
