// Package payloads takes callers' JSON out of Temporal's payloads.
package payloads

import (
	"errors"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
)

// JSON takes the JSON out of a payload in the encoding that all SDKs use for it. An
// absent payload, or a null one, is empty JSON, which the decoders refuse by name. One
// that is still encrypted is a *codec.UnreadableError, but to a program without keys it is
// an encoding like any other that it does not have.
func JSON(value converter.RawValue) ([]byte, error) {
	var unreadable *codec.UnreadableError
	if errors.As(codec.Unreadable(value.Payload()), &unreadable) {
		if unreadable.NoKeys() {
			return nil, wallet.InvalidEncoding(codec.Encoding, converter.MetadataEncodingJSON+", or give the workers the key ("+codec.Setting+")")
		}
		return nil, unreadable
	}
	encoding := Encoding(value.Payload())
	if value.Payload() == nil || encoding == converter.MetadataEncodingNil {
		return nil, nil
	}
	if encoding != converter.MetadataEncodingJSON {
		return nil, wallet.InvalidEncoding(encoding, converter.MetadataEncodingJSON)
	}
	return value.Payload().GetData(), nil
}

// Encoding is a payload's own word for how it is encoded.
func Encoding(p *commonpb.Payload) string {
	return string(p.GetMetadata()[converter.MetadataEncoding])
}
