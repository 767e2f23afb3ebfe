package postgres

// PlanByIndex are settings for the rest of a transaction, to be selected: the planner looks rows up
// by their keys even if the statistics are older than the rows.
const PlanByIndex = `set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
		set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
		set_config('jit', 'off', true)`

// LockTimeout is how long a step waits for a row: package activities says why.
const LockTimeout = "500ms"
