package starter

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet"
)

func TestEveryTypeOfCommandIsAMethod(t *testing.T) {
	for _, kind := range wallet.CallersKinds() {
		name := strings.ToUpper(string(kind.Type[:1])) + string(kind.Type[1:])
		_, found := reflect.TypeFor[*Client]().MethodByName(name)
		require.True(t, found, name)
	}
}
