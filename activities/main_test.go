package activities_test

import (
	"testing"

	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
