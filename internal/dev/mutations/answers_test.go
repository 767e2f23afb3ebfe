package mutations

import "testing"

// TestAnswersOutliveTheRules builds the service with different wording for every refusal and
// with a different rule. Answers of an earlier build must stay the same: recorded histories
// replay with the same answers, and stored facts are read as they were written.
func TestAnswersOutliveTheRules(t *testing.T) {
	later := Mutation{Name: "a later version", Edits: []Edit{
		{File: "kind.go", Old: `"cannot subtract %s %s: %s available (total %s, hold %s)"`, New: `"%s %s are too much: %s can be spent (%s, %s)"`},
		{File: "kind.go", Old: `c.Amount.Cmp(available) > 0`, New: `c.Amount.Cmp(available) >= 0`},
		{File: "kind.go", Old: `"the %s wallet of user %s exists already"`, New: `"there is a %s wallet of %s"`},
		{File: "kind.go", Old: `a.Total = a.Total.Add(c.Amount)`, New: `a.Total = a.Total.Add(c.Amount).Add(c.Amount)`},
		{File: "fold.go", Old: `"amount %s has more decimals than %s allows (%d): send a rounded amount under a new id"`, New: `"%s is too fine for %s (%d)"`},
		{File: "fold.go", Old: `"id %s was used before, on %s at position %d, with other content: send this command under a new id"`, New: `"%s: taken (%s, %d)"`},
	}}
	overlay, err := later.WriteOverlay(repository(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	goCommand(t, "test", "-count=1", "-overlay", overlay, "./workflows", "-run", "TestAReplayGivesTheRecordedAnswers|TestRecordedHistoriesReplay")
	goCommand(t, "test", "-count=1", "-overlay", overlay, ".", "-run", "TestFactsAreForever|TestFactsGiveTheResultsAgain")
}
