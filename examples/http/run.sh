#!/bin/sh
# A wallet over plain HTTP, with curl and jq.
#
# TEMPORAL_HTTP_URL is Temporal's own HTTP API, port 7243 of a frontend. It takes plain JSON,
# but cannot reach a workflow whose id contains a slash, however it is encoded (Temporal 1.29.1
# decodes a path before it splits it). A wallet's id has two. So commands go through
# ApplyCommand, whose id the caller can choose.
#
# TEMPORAL_UI_URL is the Web UI, whose server has the same API and does accept %2F: it can send
# the wallet itself signals, updates and queries. It requires a CSRF token, and payloads in
# base64.
set -eu

api=$TEMPORAL_HTTP_URL/api/v1/namespaces/default
completed=UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED

# apply COMMAND_ID COMMAND: starts ApplyCommand, waits for it to end and shows the result. If
# anything goes wrong, run it again: the command counts once.
apply() {
  curl -sS --fail-with-body "$api/workflows/http-$1" --json '{
    "workflowType": {"name": "ApplyCommand"}, "taskQueue": {"name": "wallet"},
    "workflowIdConflictPolicy": "WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING",
    "input": [{"user_id": "http", "currency": "USD", "command": '"$2"'}]}' >/dev/null
  curl -sS --fail-with-body "$api/workflows/http-$1/history?waitNewEvent=true&historyEventFilterType=HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT" |
    jq -S '.history.events[-1] | .workflowExecutionCompletedEventAttributes.result[0]
      // (.workflowExecutionFailedEventAttributes.failure | {type: .applicationFailureInfo.type, details: .applicationFailureInfo.details[0]})'
}

echo '# a command, and its Result'
apply order-1 '{"id": "order-1", "type": "add", "amount": "12.50"}'

echo '# again: it counts once'
apply order-1 '{"id": "order-1", "type": "add", "amount": "12.50"}' | jq .replayed

echo '# a refusal: the failure UnappliedCommand with the Result as its details'
apply order-2 '{"id": "order-2", "type": "subtract", "amount": "100.00"}'

ui=$TEMPORAL_UI_URL/api/v1/namespaces/default
wallet=wallet-asset%2FUSD%2Fhttp
cookies=$(mktemp)
trap 'rm -f "$cookies"' EXIT
curl -sS -c "$cookies" -o /dev/null "$TEMPORAL_UI_URL/api/v1/settings"
token=$(awk '$6 == "_csrf" { print $7 }' "$cookies")

# post PATH BODY
post() {
  curl -sS --fail-with-body -b "$cookies" -H "X-CSRF-Token: $token" "$ui/workflows/$1" --json "$2"
}

# payload JSON: as Temporal's SDKs send it
payload() {
  jq -nc --arg json "$1" '{payloads: [{metadata: {encoding: ("json/plain" | @base64)}, data: ($json | @base64)}]}'
}

echo '# a signal, which starts the wallet if it is not there'
post "$wallet/signal-with-start/command" '{
  "workflowType": {"name": "WalletAsset"}, "taskQueue": {"name": "wallet"},
  "input": '"$(payload '{"user_id":"http","currency":"USD"}')"',
  "signalInput": '"$(payload '{"id":"order-3","type":"add","amount":"5"}')"'}' | jq 'has("runId")'

# update COMMAND
update() {
  post "$wallet/update/apply" '{
    "request": {"meta": {}, "input": {"args": '"$(payload "$1")"'}},
    "waitPolicy": {"lifecycleStage": "'$completed'"}}' |
    jq -S '.outcome | .success.payloads[0] // .failure.applicationFailureInfo.details.payloads[0] | .data | @base64d | fromjson'
}

echo '# an update of the running wallet'
update '{"id":"order-4","type":"subtract","amount":"1.50"}'

echo '# refused'
update '{"id":"order-5","type":"subtract","amount":"100"}' | jq '.status, .reason'

echo '# the balance'
post "$wallet/query/state" '{}' | jq -S '.queryResult.payloads[0].data | @base64d | fromjson'

echo '# reserve an amount for a quarter of an hour'
update '{"id":"order-6","type":"hold","amount":"10","expires_in":"15m"}' | jq '{status, hold_id, hold_state, hold_left, total_after, hold_after}'

echo '# charge a part of it; the rest is given back'
update '{"id":"order-7","type":"capture","hold_id":"order-6","amount":"4"}' | jq '{status, hold_id, hold_state, hold_left, total_after, hold_after}'
