#!/bin/sh
# The program that a BMC simulator calls: NODE_DIRECTORY get WORD… | set WORD VALUE
# A shell, because it is part of every fencing in the lab and Python takes longer to start than the
# whole rest. It only reads the power bit, or presses the button and waits for the lamp; root.py
# does the work. Ids keep an answer that nobody waited for from being taken for ours.
directory=$1 operation=$2
shift 2
if [ "$operation" = get ]; then
  for word in "$@"; do
    case $word in
      power)
        read -r bit <"$directory/power.bit" || exit 1
        echo "power:$bit"
        ;;
      boot) echo "boot:none" ;;
      *) echo "$word:0" ;;
    esac
  done
  exit 0
fi
echo "$$ $*" >"$directory/button"
while read -r id result; do
  [ "$id" = "$$" ] && break
done <"$directory/lamp"
[ "$result" = ok ]
