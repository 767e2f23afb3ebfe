package activities

// Statements of the steps, with parameters for the wallet of TestNoStepReadsAWholeJournal.
var Statements = map[string]string{
	sqlLockAsset:    `'big', 'USD'`,
	sqlPrior:        `'big', 'USD', '{c100, c19000, none}'`,
	sqlLastEntry:    `'big', 'USD'`,
	sqlLastVersion:  `'big', 'USD'`,
	sqlRecordEvents: `'big', 'USD'`,
	sqlLastEvent:    `'big', 'USD'`,
}
