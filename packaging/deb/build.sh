#!/bin/sh
# Builds the Debian package: the code and its Python packages in /opt/clusterctl (a virtual
# environment of its own, so nothing else on the server can break it), commands, units, one page.
#
#   packaging/deb/build.sh [OUTPUT_DIRECTORY]        (default: dist)
#
# Prints the path of the package. Needs no root. pip downloads what it has not cached. The package
# fits the Debian release it was built on: its compiled parts belong to that python3.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
output=${1:-$root/dist}
python=/usr/bin/python3
home=/opt/clusterctl

say() { printf '%s\n' "deb: $*" >&2; }

die() {
  say "$1"
  exit 1
}

command -v dpkg-deb >/dev/null || die "dpkg-deb is missing: build the package on Debian"
[ -x $python ] || die "$python is missing: apt-get install python3 python3-venv"
$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed"
pip=$root/.venv/bin/python
[ -x "$pip" ] || die "run make setup first"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
stage=$work/stage
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml" | head -n 1)
[ -n "$version" ] || die "pyproject.toml names no version"
minor=$($python -c 'import sys; print(sys.version_info.minor)')
arch=$(dpkg --print-architecture)
package=$output/clusterctl_${version}_$arch.deb

say "making $home"
mkdir -p "$stage$home" "$output"
$python -m venv --without-pip --symlinks "$stage$home"
"$pip" -m pip wheel -q --disable-pip-version-check --no-deps -w "$work/wheel" "$root"
"$pip" -m pip --python "$stage$home/bin/python" install -q --disable-pip-version-check \
  --root-user-action=ignore --no-compile "$work"/wheel/*.whl
# from here on it lives in its final place
rm -f "$stage$home"/bin/[Aa]ctivate*
grep -rlI "$stage" "$stage$home/bin" "$stage$home/pyvenv.cfg" |
  while read -r file; do sed -i "s|$stage||g" "$file"; done
$python -m compileall -q -j 0 -s "$stage" -p / --invalidation-mode unchecked-hash \
  "$stage$home/lib" >/dev/null || die "a Python file does not compile"
! grep -rlIF "$stage" "$stage$home/bin" "$stage$home/pyvenv.cfg" || die "the build's folder is named above"

say "adding commands, units, examples"
mkdir -p "$stage/usr/bin" "$stage/lib/systemd/system" "$stage/usr/share/doc/clusterctl" \
  "$stage/DEBIAN"
ln -s $home/bin/clusterctl "$stage/usr/bin/clusterctl"
ln -s $home/bin/reconciler "$stage/usr/bin/reconciler"
cp "$root"/packaging/systemd/*.service "$stage/lib/systemd/system/"
cp "$root"/docs/*.md "$stage/usr/share/doc/clusterctl/"
cp -r "$root/docs/reference" "$stage/usr/share/doc/clusterctl/reference"
cp -r "$root/examples" "$stage/usr/share/doc/clusterctl/examples"
cp "$root/LICENSE" "$stage/usr/share/doc/clusterctl/copyright"
size=$(du -sk "$stage" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" \
  -e "s/@PYTHON@/3.$minor/" -e "s/@NEXT_PYTHON@/3.$((minor + 1))/" \
  "$root/packaging/deb/control" >"$stage/DEBIAN/control"
for script in postinst prerm postrm; do
  install -m 755 "$root/packaging/deb/$script" "$stage/DEBIAN/$script"
done
# whatever umask it is built under
chmod -R u=rwX,go=rX "$stage"
chmod 755 "$stage"/DEBIAN/p*
(cd "$stage" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | xargs -0 md5sum) \
  >"$work/md5sums"
install -m 644 "$work/md5sums" "$stage/DEBIAN/md5sums"

say "packing"
dpkg-deb --root-owner-group -Zxz -z1 --build "$stage" "$package" >/dev/null
printf '%s\n' "$package"
