# Install the package on a running systemd and do what an operator does; the first failure ends it.
cd /out
export HOME=/out LC_ALL=C.UTF-8
state() { systemctl show --value -p "$1" strongroom; }

# 1. Install: enabled, and nothing to serve yet.
dpkg --install strongroom.deb
test "$(systemctl is-enabled strongroom)" = enabled
systemctl start strongroom
test "$(state ConditionResult)" = no

# 2. Init, under the service's account, with a passphrase that only systemd can read.
mkdir -p /etc/credstore.encrypted
echo "correct horse battery staple" |
    systemd-creds encrypt --name=strongroom.wrap - /etc/credstore.encrypted/strongroom.wrap
systemd-run --quiet --pipe --wait --collect -p User=strongroom \
    -p LoadCredentialEncrypted=strongroom.wrap strongroom init \
    --passphrase-file strongroom.wrap --name "City hospital" --host 127.0.0.1 --json >init.json
if strongroom init --name "Another" --json; then exit 1; fi

# 3. Start, with a watchdog that does not keep the test waiting.
mkdir -p /etc/systemd/system/strongroom.service.d
printf '[Service]\nWatchdogSec=2\n' >/etc/systemd/system/strongroom.service.d/drill.conf
systemctl daemon-reload
systemctl start strongroom
test "$(state ActiveState)" = active

# The sandbox as the kernel sees it: no capability, a filter, keys locked, no core.
pid=$(state MainPID)
grep -q '^CapBnd:.0000000000000000$' "/proc/$pid/status"
grep -q '^NoNewPrivs:.1$' "/proc/$pid/status"
grep -q '^Seccomp:.2$' "/proc/$pid/status"
if grep -q '^VmLck:.* 0 kB$' "/proc/$pid/status"; then exit 1; fi
grep -Eq '^Max core file size +0 +0 ' "/proc/$pid/limits"
test "$(state MemorySwapMax)" = 0

# A reload goes through the sandbox, all or nothing; the server and its process stay.
settings=/var/lib/strongroom/strongroom.toml
idle() { strongroom config show --running --json | grep -o '"idle_seconds": [0-9]*' | head -n 1; }
cp -p "$settings" settings
printf '[sessions]\nidle_seconds = 600\n' >>"$settings"
systemctl reload strongroom
test "$(idle)" = '"idle_seconds": 600'
printf 'idle_seconds = 700\nnothing = 1\n' >>"$settings"
if systemctl reload strongroom; then exit 1; fi
test "$(idle)" = '"idle_seconds": 600'
test "$(state ActiveState) $(state MainPID) $(state NRestarts)" = "active $pid 0"
cp -p settings "$settings"
systemctl reload strongroom
test "$(idle)" = '"idle_seconds": 1800'

# 4. Two people chat over both carriers; a backup goes where devices are mounted.
link() { grep -o 'strongroom://[^"]*' init.json | sed -n "$1p"; }
strongroom chat --join "$(link 1)" --json
strongroom chat --join "$(link 2)" --json
for carrier in quic websocket; do
    strongroom chat --as admin --to officer --carrier $carrier --send "Over $carrier" --json
    strongroom chat --as officer --with admin --carrier $carrier --history 1 --json |
        grep "Over $carrier"
done
strongroom doctor --deep --json || test $? = 1

# The watchdog is fed for longer than it waits, and bites a process that hangs.
sleep 5
test "$(state NRestarts)" = 0
kill -STOP "$pid"
until test "$(state NRestarts)" = 1; do sleep 0.2; done
strongroom wait ready --timeout 30
test "$(state MainPID)" != "$pid"
strongroom chat --as officer --with admin --history 2 --json | grep "Over quic"

# 5. An upgrade from a signed bundle; then a package is refused; then back. Nothing is lost.
running() { strongroom status --json | grep "\"version\": \"$1\""; }
said() { strongroom chat --as officer --with admin --history 9 --json | grep "Over quic"; }
systemctl stop strongroom
strongroom upgrade trust release.pub
systemctl start strongroom
strongroom upgrade plan new.bundle
strongroom upgrade apply new.bundle
running 0.1.0
systemctl restart strongroom
running 0.2.0
said
if dpkg --install strongroom.deb; then exit 1; fi
strongroom upgrade rollback
systemctl restart strongroom
running 0.1.0
said

# Stopping is in good order; removing and purging keep the records.
systemctl stop strongroom
test "$(state Result)" = success
dpkg --purge strongroom
test -s /var/lib/strongroom/strongroom.toml
test -s /var/lib/strongroom-keys/root.0
test "$(ls /opt | grep -c strongroom)" = 0
echo "the drill is passed"
