package mutations

import "testing"

// TestAnswersOutliveTheRules builds the service with different wording for every refusal and
// with a different rule. Answers of an earlier build must stay the same: recorded histories
// replay with the same answers, and stored facts are read as they were written.
func TestAnswersOutliveTheRules(t *testing.T) {
	overlay, err := Later.WriteOverlay(repository(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	goCommand(t, "test", "-count=1", "-overlay", overlay, "./workflows", "-run", "TestAReplayGivesTheRecordedAnswers|TestRecordedHistoriesReplay")
	goCommand(t, "test", "-count=1", "-overlay", overlay, ".", "-run", "TestFactsAreForever|TestFactsGiveTheResultsAgain")
}
