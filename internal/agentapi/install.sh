#!/bin/sh
# Installs the build agent of the server {{{.Server}}}: downloads the program for this machine, checks it, puts it into a folder,
# and says how to go on. Nothing is started.
#
# Variables:
#   SEKISHO_DIR       where the program goes (default: /usr/local/bin for root, else ~/.local/bin)
#   SEKISHO_CA_FILE   PEM file of the authority that the server's certificate is from
#   SEKISHO_SHA256    the program's checksum, if you know it from elsewhere
#   https_proxy, no_proxy, as always
set -eu

server='{{{.Server}}}'

fail() {
	printf 'install.sh: %s\n' "$*" >&2
	exit 1
}

# fetch URL FILE
fetch() {
	if command -v curl >/dev/null 2>&1; then
		if [ -n "${SEKISHO_CA_FILE:-}" ]; then
			curl -fsSL --retry 3 --cacert "$SEKISHO_CA_FILE" -o "$2" "$1"
		else
			curl -fsSL --retry 3 -o "$2" "$1"
		fi
	elif command -v wget >/dev/null 2>&1; then
		if [ -n "${SEKISHO_CA_FILE:-}" ]; then
			wget -q --ca-certificate="$SEKISHO_CA_FILE" -O "$2" "$1"
		else
			wget -q -O "$2" "$1"
		fi
	else
		fail 'there is neither curl nor wget here'
	fi
}

# checksum FILE
checksum() {
	if command -v sha256sum >/dev/null 2>&1; then
		sha256sum "$1" | cut -d ' ' -f 1
	elif command -v shasum >/dev/null 2>&1; then
		shasum -a 256 "$1" | cut -d ' ' -f 1
	elif command -v openssl >/dev/null 2>&1; then
		openssl dgst -sha256 -r "$1" | cut -d ' ' -f 1
	else
		fail 'there is none of sha256sum, shasum and openssl here, so what is downloaded cannot be checked'
	fi
}

main() {
	case $(uname -s) in
	Linux) os=linux ;;
	Darwin) os=darwin ;;
	*) fail "there is no agent for $(uname -s)" ;;
	esac
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 ;;
	aarch64 | arm64) arch=arm64 ;;
	*) fail "there is no agent for $(uname -m)" ;;
	esac
	name=sekisho_${os}_${arch}

	if [ -n "${SEKISHO_DIR:-}" ]; then
		dir=$SEKISHO_DIR
	elif [ "$(id -u)" = 0 ]; then
		dir=/usr/local/bin
	else
		dir=$HOME/.local/bin
	fi
	mkdir -p "$dir" || fail "the folder $dir cannot be made; name another one with SEKISHO_DIR"

	tmp=$(mktemp -d "$dir/.sekisho.XXXXXX") || fail "the folder $dir cannot be written to; name another one with SEKISHO_DIR"
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM

	fetch "$server/agents/checksums.txt" "$tmp/checksums.txt" || fail "$server does not answer; is a proxy or SEKISHO_CA_FILE needed?"
	want=$(sed -n "s/^\\([0-9a-f]\\{64\\}\\)  $name\$/\\1/p" "$tmp/checksums.txt")
	[ -n "$want" ] || fail "the server has no agent for $os on $arch; somebody has to put $name into the folder that agents.binaries names there"
	if [ -n "${SEKISHO_SHA256:-}" ] && [ "$SEKISHO_SHA256" != "$want" ]; then
		fail "the server's checksum of $name is $want, not $SEKISHO_SHA256"
	fi

	printf 'Downloading %s/agents/%s\n' "$server" "$name"
	if command -v gzip >/dev/null 2>&1; then
		fetch "$server/agents/$name.gz" "$tmp/sekisho.gz" || fail 'the download failed'
		gzip -d "$tmp/sekisho.gz" || fail 'what was downloaded is damaged'
	else
		fetch "$server/agents/$name" "$tmp/sekisho" || fail 'the download failed'
	fi
	have=$(checksum "$tmp/sekisho")
	[ "$have" = "$want" ] || fail "what was downloaded has the checksum $have, not $want: nothing was installed"

	chmod 755 "$tmp/sekisho"
	mv -f "$tmp/sekisho" "$dir/sekisho"
	printf 'Installed %s/sekisho\n' "$dir"

	program=sekisho
	if [ "$(command -v sekisho || true)" != "$dir/sekisho" ]; then
		program=$dir/sekisho
	fi
	ca=
	if [ -n "${SEKISHO_CA_FILE:-}" ]; then
		ca=" --ca-file $SEKISHO_CA_FILE"
	fi
	cat <<END

Next, in a folder for the agent:

  $program agent config --url $server$ca
  $program agent run

or, as a service: $program agent service install
END
}

main "$@"
