package webhooks

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/valueledger/wallet/codec"
)

const (
	secretPrefix = "whsec_"
	secretBytes  = 32
)

func newSecret() string {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // never fails
	return secretPrefix + base64.StdEncoding.EncodeToString(secret)
}

// seal encrypts a secret as payloads are, if there are keys.
func seal(keys *codec.Keys, secret string) ([]byte, error) {
	sealed, err := keys.Encode([]*commonpb.Payload{{Data: []byte(secret)}})
	if err != nil {
		return nil, err
	}
	return proto.Marshal(sealed[0])
}

var errSealed = errors.New("the secret of the endpoint is encrypted with a key that is not here: give " + codec.Setting + " the keys it had when the secret was made")

func open(keys *codec.Keys, sealed []byte) (string, error) {
	payload := &commonpb.Payload{}
	if err := proto.Unmarshal(sealed, payload); err != nil {
		return "", fmt.Errorf("read the secret of the endpoint: %w", err)
	}
	opened, err := keys.Decode([]*commonpb.Payload{payload})
	if err != nil {
		return "", err
	}
	if len(opened[0].GetMetadata()) > 0 {
		return "", errSealed
	}
	return string(opened[0].GetData()), nil
}
