package activities_test

import (
	"testing"

	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestTheStepsAreTheModelAsOnCitus(t *testing.T) {
	testenv.AsOnCitus(t, map[string]func(*testing.T){
		"model":                 TestTheStepsAreTheModel,
		"captures at once":      TestAHundredCapturesAtOnce,
		"reversals at once":     TestAHundredReversalsAtOnce,
		"events at once":        TestRecordTwoAtOnceLeavesNoGap,
		"grants":                TestAThousandGrantsAreUsedUp,
		"lost holds":            TestRepairMakesLostHoldsAgain,
		"lost events":           TestRepairAtOnceAppendsOnce,
		"refused first command": TestAWalletWhoseFirstCommandIsRefusedHasItsEvent,
	})
}
