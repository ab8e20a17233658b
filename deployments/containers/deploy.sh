#!/bin/sh
# sh deployments/containers/deploy.sh [TYPE]
#
# Pools, deployments and automations at the server of PREFECT_API_URL, from the root of the project. TYPE is that of the
# pools: process (default), docker or kubernetes, whose templates are in deployments/pools/. Run again, it changes them.
set -eu
type=${1:-process}
for pool in cpu a100; do
  prefect work-pool create --type "$type" --base-job-template "deployments/pools/$type-$pool.json" "$pool" --overwrite
done
if [ "$type" = process ]; then file=deployments/prefect.yaml; else file=deployments/containers/prefect.yaml; fi
PWD=$(pwd) prefect --no-prompt deploy --all --prefect-file "$file"
for automation in deployments/automations/*.yaml; do
  name=$(sed -n 's/^name: //p' "$automation")
  prefect automation inspect "$name" >/dev/null 2>&1 || prefect automation create --from-file "$automation"
done
