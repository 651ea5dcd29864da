#!/bin/sh
set -e
mkdir -p dist
sed "s/{{built}}/by a script/" src/page.html > dist/index.html
