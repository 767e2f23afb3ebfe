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
		name := ""
		for word := range strings.SplitSeq(string(kind.Type), "_") {
			name += strings.ToUpper(word[:1]) + word[1:]
		}
		_, found := reflect.TypeFor[*Client]().MethodByName(name)
		require.True(t, found, name)
	}
}
