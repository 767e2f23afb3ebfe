package trail_test

import (
	"testing"

	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestVerifyIsRightAsOnCitus(t *testing.T) {
	testenv.AsOnCitus(t, map[string]func(*testing.T){
		"what is there":      TestVerifyHoldsForWhatTheStepsWrote,
		"what is missing":    TestVerifyFindsWhatIsMissingMovedOrTwiceThere,
		"transactions":       TestVerifyFindsATransactionTornApart,
		"while it is served": TestVerifyAccusesNobodyWhileTheServiceRuns,
	})
}
