#!/bin/sh
# Run an image as deploy_model.yaml does, wait until it is healthy, and stop it: try.sh IMAGE
set -eu
[ "$#" -eq 1 ] || { echo "usage: try.sh IMAGE" >&2; exit 2; }
container=$(docker run --detach --read-only --tmpfs /tmp:size=256m --cap-drop ALL \
  --security-opt no-new-privileges --network none --user 10001:10001 --cpus 2 --memory 2g \
  --env SENTIMENT_METRICS_PORT=9000 --env SENTIMENT_THREADS=2 "$1" \
  serve --host 0.0.0.0 --port 8000)
trap 'docker rm --force "$container" >/dev/null' EXIT

left_s=180
until docker exec "$container" python /app/health.py 2>/dev/null; do
  running=$(docker inspect --format '{{.State.Running}}' "$container")
  if [ "$running" != true ] || [ "$left_s" -eq 0 ]; then
    docker logs "$container" >&2
    echo "error: $1 did not get healthy" >&2
    exit 1
  fi
  left_s=$((left_s - 1))
  sleep 1
done
docker exec "$container" python -c '
import http.client, json
client = http.client.HTTPConnection("127.0.0.1", 8000, timeout=30)
client.request("POST", "/", json.dumps(["Profit rose."]), {"Content-Type": "application/json"})
answer = client.getresponse()
print(answer.status, answer.read().decode())
assert answer.status == 200'
docker stop --time 60 "$container" >/dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
if [ "$code" != 0 ]; then
  echo "error: $1 ended with $code at SIGTERM" >&2
  exit 1
fi
echo "$1 is healthy, answers, and ends with 0"
