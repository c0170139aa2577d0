#!/bin/sh
# Examine one CT series of Orthanc and store the results back: klip_study.sh STUDY_UID SERIES_UID
# KLIP_PACS: AE@HOST:PORT of Orthanc; KLIP_WORK: folder for studies and results, with a log; KLIP_OPTIONS: of klip detect;
# KLIP: the command, klip when it is not set. One study at a time: the lock waits for the one before.
# Research software. Not a medical device.
set -eu
name=$(printf '%s' "$2" | sha256sum | cut -c1-20)
mkdir -p "$KLIP_WORK"
exec 9>"$KLIP_WORK/lock" >>"$KLIP_WORK/klip.log" 2>&1
flock 9
[ ! -e "$KLIP_WORK/$name.stored" ] || exit 0
echo "$(date -u +%FT%TZ) $name begins"
${KLIP:-klip} pacs fetch --from "$KLIP_PACS" --study-uid "$1" --series-uid "$2" --to "$KLIP_WORK/$name.ct" --progress json
${KLIP:-klip} detect "$KLIP_WORK/$name.ct" -o "$KLIP_WORK/$name" --progress json ${KLIP_OPTIONS:-}
for file in regions kl_map report; do
  [ ! -e "$KLIP_WORK/$name/$file.dcm" ] || ${KLIP:-klip} pacs send "$KLIP_WORK/$name/$file.dcm" --to "$KLIP_PACS"
done
: >"$KLIP_WORK/$name.stored"
rm -rf "$KLIP_WORK/$name.ct"
echo "$(date -u +%FT%TZ) $name stored"
