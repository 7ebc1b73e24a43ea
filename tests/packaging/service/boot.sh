#!/bin/sh
# boot.sh BOX OUT: boot a copy of this machine's root, kept in memory, with OUT as /out; run /out's
# drill and end. To be run in a mount namespace of its own, which takes everything away again.
set -e
box=$1 out=$2
mount -t tmpfs tmpfs "$box"
mkdir "$box/upper" "$box/work" "$box/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$box/upper,workdir=$box/work" "$box/root"
exec systemd-nspawn --quiet --directory "$box/root" --machine strongroom-drill \
    --register=no --keep-unit --private-network --link-journal=no --console=pipe \
    --capability=CAP_IPC_LOCK --bind="$out:/out" \
    --bind-ro="$out/drill.service:/etc/systemd/system/drill.service" \
    --boot systemd.unit=drill.service
