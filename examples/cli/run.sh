#!/bin/sh
# A wallet from Temporal's own CLI, which takes the server's address from TEMPORAL_ADDRESS.
set -eu

wallet=wallet-asset/USD/cli   # the only id of user "cli"'s USD wallet
start='{"user_id":"cli","currency":"USD"}'

echo '# a signal: durable, without an answer; it starts the wallet if nobody used it yet'
temporal workflow signal-with-start --workflow-id "$wallet" --type WalletAsset --task-queue wallet \
  --input "$start" --signal-name command --signal-input '{"id":"order-1","type":"add","amount":"12.50"}'

echo '# an update that starts the wallet too; its answer is the Result'
temporal workflow execute-update-with-start --workflow-id "$wallet" --type WalletAsset --task-queue wallet \
  --id-conflict-policy UseExisting --input "$start" \
  --update-name apply --update-input '{"id":"order-2","type":"subtract","amount":"1.50"}' -o json

echo '# a plain update is enough while the wallet runs; the same id again counts once'
temporal workflow update execute --workflow-id "$wallet" \
  --name apply --input '{"id":"order-2","type":"subtract","amount":"1.50"}' -o json

echo '# a refusal: the failure UnappliedCommand, exit code 1'
temporal workflow update execute --workflow-id "$wallet" \
  --name apply --input '{"id":"order-3","type":"subtract","amount":"100.00"}' || echo "exit code $?"

echo '# a batch, in which a refusal is an item'
temporal workflow update execute --workflow-id "$wallet" \
  --name apply_batch --input '[{"id":"order-4","type":"add","amount":"5"},{"id":"order-5","type":"subtract","amount":"100"}]' -o json

echo '# the balance'
temporal workflow query --workflow-id "$wallet" --type state

echo '# the Result of a recent command'
temporal workflow query --workflow-id "$wallet" --type result --input '"order-4"'

echo '# a workflow that carries one command'
temporal workflow execute --workflow-id command/USD/cli/order-6 --type ApplyCommand --task-queue wallet \
  --input '{"user_id":"cli","currency":"USD","command":{"id":"order-6","type":"subtract","amount":"6.00"}}' -o json

echo '# the same, refused'
temporal workflow execute --workflow-id command/USD/cli/order-7 --type ApplyCommand --task-queue wallet \
  --input '{"user_id":"cli","currency":"USD","command":{"id":"order-7","type":"create"}}' -o json || echo "exit code $?"
